"""Sharpness: losses on pixels blur, and no mean error shows it."""

import torch
from torch import Tensor
from torch.nn import functional

LUMINANCE = (0.299, 0.587, 0.114)
LAPLACIAN = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


def laplacian(images: Tensor) -> Tensor:
    """Laplacian of the luminance, `[B, 1, H - 2, W - 2]`, of pictures `[B, 3, H, W]` in [0, 1]."""
    weights = images.new_tensor(LUMINANCE).view(1, 3, 1, 1)
    grey = (images * weights).sum(1, keepdim=True)
    kernel = torch.tensor(LAPLACIAN, dtype=images.dtype, device=images.device).view(1, 1, 3, 3)
    return functional.conv2d(grey, kernel)


def laplacian_energy(images: Tensor) -> Tensor:
    """Mean square of the Laplacian of the luminance, `[B]`, of pictures `[B, 3, H, W]` in [0, 1].

    A picture's sharpness is its energy in the face box as a share of the true picture's: 1 is as sharp, less is blurred.
    """
    return laplacian(images).square().flatten(1).mean(1)
