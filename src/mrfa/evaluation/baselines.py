"""What a model has to beat: the source frame repeated, a warp through landmarks, and its own coarse motion."""

import cv2
import numpy as np
import torch
from torch import Tensor

from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Source

# Every fourth of the mesh's 468 points (without the irises) spreads 117 over the whole face.
WARP_LANDMARKS = tuple(range(0, 468, 4))
BORDER_POINTS_A_SIDE = 4
# Landmarks of closed lips all but coincide: without some smoothing they would tear the warp, or leave it unsolvable.
SMOOTHING = 1e-5
PIXELS_AT_ONCE = 2048


def repeated_source(source: np.ndarray, count: int) -> np.ndarray:
    """The source picture `[H, W, 3]` for every one of `count` frames: `[count, H, W, 3]`."""
    return np.broadcast_to(source, (count, *source.shape))


def thin_plate_warp(source: np.ndarray, source_landmarks: np.ndarray, driving_landmarks: np.ndarray) -> np.ndarray:
    """The source picture, warped so that its landmarks come to lie where the driving frame's are; the border stays.

    Args:
        source: uint8 RGB `[H, W, 3]`.
        source_landmarks, driving_landmarks: `[478, 2]` in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    height, width = source.shape[:2]
    border = _border_points(height, width)
    chosen = list(WARP_LANDMARKS)
    backward = thin_plate_map(
        torch.from_numpy(np.concatenate([driving_landmarks[chosen], border])),
        torch.from_numpy(np.concatenate([source_landmarks[chosen], border])),
        height,
        width,
    ).numpy()
    return cv2.remap(source, backward[..., 0], backward[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def thin_plate_map(points: Tensor, targets: Tensor, height: int, width: int) -> Tensor:
    """The smoothest map of the plane that takes `points` to `targets`, at every pixel.

    Args:
        points: `[P, 2]`, (x, y) in pixels.
        targets: `[P, 2]`, where they go, in pixels.
        height, width: of the map.

    Returns:
        float32 `[height, width, 2]`: where each pixel goes, in pixels.
    """
    # In units of half the picture the smoothing means the same at every size, and the system is well scaled.
    scale = 2 / max(height, width)
    knots, values = points.double() * scale, (targets - points).double() * scale
    count = knots.shape[0]
    kernel = _thin_plate_kernel((knots[:, None] - knots[None]).square().sum(-1))
    affine = torch.cat([torch.ones_like(knots[:, :1]), knots], 1)
    system = torch.zeros(count + 3, count + 3, dtype=torch.float64)
    system[:count, :count] = kernel + SMOOTHING * torch.eye(count, dtype=torch.float64)
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    right = torch.cat([values, values.new_zeros(3, 2)])
    # Least squares: also defined where all points lie on one line.
    solution = torch.linalg.lstsq(system, right, driver="gelsd").solution.float()

    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32), indexing="ij"
    )
    pixels = torch.stack([columns, rows], -1).view(-1, 2)
    centres = knots.float()
    moved = []
    # In pieces that stay in the processor's cache.
    for places in (pixels * scale).split(PIXELS_AT_ONCE):
        distances = (places[:, :1] - centres[:, 0]).square_().add_((places[:, 1:] - centres[:, 1]).square_())
        bent = _thin_plate_kernel(distances) @ solution[:count]
        moved.append(bent + solution[count] + places @ solution[count + 1 :])
    return (pixels + torch.cat(moved) / scale).view(height, width, 2)


def coarse_motion(network: Network, source: Source, driving: Keypoints, background: Tensor | None = None) -> Tensor:
    """The picture by the network's prior motion alone, without its refinement: `[B, 3, H, W]` in [0, 1]."""
    return network.animate(source, driving, coarse_only=True, background=background).image


def _thin_plate_kernel(squared: Tensor) -> Tensor:
    """r^2 log r^2 of squared distances, zero at zero."""
    return squared.clamp(min=1e-12).log_().mul_(squared)


def _border_points(height: int, width: int) -> np.ndarray:
    """Evenly spaced pixels along the border: float32 `[16, 2]`."""
    steps = np.arange(BORDER_POINTS_A_SIDE) / BORDER_POINTS_A_SIDE
    top = np.stack([steps, np.zeros_like(steps)], 1)
    right = np.stack([np.ones_like(steps), steps], 1)
    around = np.concatenate([top, right, 1 - top, 1 - right])
    return (around * (width - 1, height - 1)).astype(np.float32)
