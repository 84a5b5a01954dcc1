"""Pictures as the network takes and gives them."""

import numpy as np
import torch
from torch import Tensor


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 RGB `[B, H, W, 3]` to float `[B, 3, H, W]` in [0, 1], on a device."""
    # A copy: pictures may be read-only views, which torch does not take.
    pixels = torch.from_numpy(np.array(images)).to(device)
    return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)


def to_pictures(images: Tensor) -> np.ndarray:
    """`[B, 3, H, W]` in [0, 1] to uint8 RGB `[B, H, W, 3]`, rounded."""
    rounded = images.float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy()
