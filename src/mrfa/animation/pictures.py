"""Pictures as callers have them, NumPy arrays or tensors of any size, as a batch that the network takes."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.animation.crop import crop_image, whole_picture
from mrfa.data.tensors import to_tensor

# uint8 RGB `[H, W, 3]`, or RGB in [0, 1], `[3, H, W]`; in a batch or a list there are several.
Picture = np.ndarray | Tensor
Pictures = Picture | Sequence[Picture]


def as_batch(pictures: Pictures, size: int, device: torch.device | str = "cpu") -> Tensor:
    """Pictures as the network takes them.

    Of each the middle square is taken and resized, as `crop_image` does.

    Args:
        pictures: uint8 RGB `[H, W, 3]` or `[B, H, W, 3]`; a tensor in [0, 1], `[3, H, W]` or `[B, 3, H, W]`; or a list of
            single pictures, each of its own size and kind.
        size: side of the squares, in pixels.
        device: where they go.

    Returns:
        float32 `[B, 3, size, size]` in [0, 1].

    Raises:
        ValueError: another shape or type, or no pictures.
    """
    if isinstance(pictures, Tensor):
        check_picture(pictures, batched=pictures.ndim == 4)
        return _middle_square(pictures if pictures.ndim == 4 else pictures[None], size, device)
    if isinstance(pictures, np.ndarray):
        check_picture(pictures, batched=pictures.ndim == 4)
        pictures = list(pictures) if pictures.ndim == 4 else [pictures]
    if len(pictures) == 0:
        raise ValueError("expected at least one picture, got none")
    for picture in pictures:
        check_picture(picture)
    arrays = [_crop(picture, size) for picture in pictures if isinstance(picture, np.ndarray)]
    if len(arrays) == len(pictures):
        return to_tensor(np.stack(arrays), device)
    return torch.cat([as_batch(picture, size, device) for picture in pictures])


def check_picture(picture: object, *, batched: bool = False) -> None:
    """Check type and shape of a picture, or of a batch of pictures.

    Raises:
        ValueError: it is neither uint8 `[H, W, 3]` nor a floating-point tensor `[3, H, W]`; says what it is.
    """
    dimensions, more = (4, "B, ") if batched else (3, "")
    if isinstance(picture, np.ndarray):
        good = picture.dtype == np.uint8 and picture.ndim == dimensions and picture.shape[-1] == 3
        expected = f"a uint8 array [{more}H, W, 3]"
    elif isinstance(picture, Tensor):
        good = picture.is_floating_point() and picture.ndim == dimensions and picture.shape[-3] == 3
        expected = f"a floating-point tensor [{more}3, H, W] in [0, 1]"
    else:
        raise ValueError(f"expected a picture, an array or a tensor, got {type(picture).__name__}")
    if not good or 0 in picture.shape:
        raise ValueError(f"expected {expected}, got {picture.dtype} {list(picture.shape)}")


def _crop(picture: np.ndarray, size: int) -> np.ndarray:
    return crop_image(picture, whole_picture(picture.shape[1], picture.shape[0]), size)


def _middle_square(pictures: Tensor, size: int, device: torch.device | str) -> Tensor:
    """What `crop_image` makes of the middle squares, for `[B, 3, H, W]`: the same filters, without rounding to whole values."""
    height, width = pictures.shape[2:]
    box = whole_picture(width, height)
    square = pictures[:, :, box.y : box.y + box.side, box.x : box.x + box.side].to(device).float()
    if box.side == size:
        return square.contiguous()
    if box.side < size:
        return F.interpolate(square, size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)
    shares = _area_shares(box.side, size, square.device)
    return shares @ square @ shares.T


def _area_shares(length: int, size: int, device: torch.device) -> Tensor:
    """`[size, length]`: how much each pixel of a line counts in each of fewer pixels, by the part of it that these cover."""
    edges = torch.arange(size + 1, device=device) * (length / size)
    pixel = torch.arange(length, device=device)
    covered = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return covered.clamp_min(0) * (size / length)
