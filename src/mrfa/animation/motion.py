"""Which keypoints the animated portrait gets from the driver's."""

import cv2
import numpy as np
import torch
from torch import Tensor

from mrfa.network.keypoints import Keypoints


def transfer_motion(
    source: Keypoints,
    driving: Keypoints,
    initial: Keypoints,
    *,
    relative: bool = True,
    adapt_scale: bool = False,
) -> Keypoints:
    """Keypoints that move the source as the driver moves.

    Relative motion adds to the source what changed since the driver's initial frame, so that the portrait keeps its own
    proportions: `p = p_source + s (p_driving - p_initial)` and `A = A_driving A_initial^-1 A_source`. Absolute motion takes
    the driver's keypoints as they are.

    Args:
        source: of the portrait, positions `[1, K, 2]` or `[B, K, 2]`, normalised to [-1, 1].
        driving: of the driving frames, `[B, K, 2]`.
        initial: of the driver's frame in which pose and expression are nearest to the portrait's, `[1, K, 2]`.
        relative: relative motion, otherwise absolute.
        adapt_scale: with relative motion, scale it by the size of the source's face over the driver's, the square root of
            the ratio of the areas of the keypoints' convex hulls; otherwise s = 1.

    Returns:
        Keypoints `[B, K, 2]`; affine maps are None where the driver has none.
    """
    if not relative:
        return driving
    shift = driving.positions - initial.positions
    if adapt_scale:
        shift = shift * motion_scale(source.positions, initial.positions)
    positions = source.positions + shift
    if driving.affine is None or initial.affine is None or source.affine is None:
        return Keypoints(positions, None)
    return Keypoints(positions, driving.affine @ torch.linalg.inv(initial.affine) @ source.affine)


def motion_scale(source: Tensor, initial: Tensor) -> Tensor:
    """Size of the source's face over the driver's, from positions `[B, K, 2]`: `[B, 1, 1]`; 1 where a hull is flat."""
    source_areas, initial_areas = hull_areas(source), hull_areas(initial)
    valid = (source_areas > 0) & (initial_areas > 0)
    ratio = torch.where(valid, source_areas / initial_areas.clamp(min=1e-12), torch.ones_like(source_areas))
    return ratio.sqrt().to(source)[:, None, None]


def hull_areas(positions: Tensor) -> Tensor:
    """Area of the convex hull of each point set: `[B, K, 2]` to float32 `[B]` on the CPU."""
    points = positions.detach().float().cpu().numpy()
    return torch.tensor([float(cv2.contourArea(cv2.convexHull(np.ascontiguousarray(p)))) for p in points])
