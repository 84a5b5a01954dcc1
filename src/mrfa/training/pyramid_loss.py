"""Image loss that needs no pretrained weights: L1 over a Laplacian pyramid, and structural
similarity at half the size.

It stands in for the perceptual loss where VGG-19 cannot be had. Plain L1 blurs, because a small error of position costs less
when edges are soft; the bands of the pyramid weigh edges of every size alike, and structural similarity asks for the right
contrast. It knows nothing of faces and is no perceptual loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.training.importance import weighted_mean

LEVELS = 4
SSIM_WEIGHT = 0.15


def pyramid_loss(image: Tensor, target: Tensor, weight: Tensor, pixel_weight: float = 1.0) -> Tensor:
    """Scalar loss between `[B, 3, H, W]` images in [0, 1].

    Args:
        image, target: the pair.
        weight: `[B, 1, H, W]`, importance of each pixel.
        pixel_weight: of plain L1, beside the bands.
    """
    difference = image - target
    loss = pixel_weight * weighted_mean(difference.abs(), weight)
    halves = [F.avg_pool2d(x, 2) for x in (image, target, weight)]
    loss = loss + SSIM_WEIGHT * weighted_mean(_dissimilarity(halves[0], halves[1]), halves[2])
    for _ in range(LEVELS):
        small = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        loss = loss + weighted_mean(band.abs(), weight)
        difference, weight = small, F.avg_pool2d(weight, 2)
    return loss + weighted_mean(difference.abs(), weight)


def _dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """1 - SSIM at each pixel, over 5x5 boxes: `[B, 3, H, W]`."""

    def mean(value: Tensor) -> Tensor:
        return F.avg_pool2d(value, 5, stride=1, padding=2, count_include_pad=False)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return 1 - torch.clamp(similarity, -1, 1)
