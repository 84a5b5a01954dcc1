"""Guidance of keypoints by facial landmarks, and the picture regions that matter most (the way out of the paper's Limitations).

The first keypoints are drawn to the means of landmark groups (eyes, lids, brows, nose, lips, chin, jaw, forehead) that a
face-mesh detector found on the training frames beforehand; the others stay free. At run time the network stands alone.
"""

import torch
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX
from mrfa.network.geometry import identity_grid


def guidance_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the first G keypoints `[B, K, 2]` to the landmark groups `[B, G, 2]` of frames with a face."""
    count = groups.shape[1]
    distance = (positions[:, :count] - groups).abs().mean(dim=(1, 2))
    return (distance * found).sum() / found.sum().clamp_min(1)


# Pairs whose distance is what an eye or a mouth says.
OPENINGS = (
    ("right_upper_lid", "right_lower_lid"),
    ("left_upper_lid", "left_lower_lid"),
    ("upper_lip_inner", "lower_lip_inner"),
    ("upper_lip_outer", "lower_lip_outer"),
)


def opening_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the vectors from upper to lower lids and lips, between keypoints and landmark groups."""
    upper = [GROUP_INDEX[pair[0]] for pair in OPENINGS]
    lower = [GROUP_INDEX[pair[1]] for pair in OPENINGS]
    got, expected = (points[:, upper] - points[:, lower] for points in (positions, groups))
    return ((got - expected).abs().mean(dim=(1, 2)) * found).sum() / found.sum().clamp_min(1)


def region_weights(groups: Tensor, found: Tensor, size: tuple[int, int], weight: float) -> Tensor:
    """Importance of each pixel `[B, 1, H, W]`: `weight` around eyes and lips, 1 elsewhere, smooth between."""
    maps = torch.ones(len(groups), 1, *size, device=groups.device)
    if weight <= 1:
        return maps
    grid = identity_grid(*size, groups)
    right, left, mouth = (
        _blob(groups, grid, ends)
        for ends in (
            ("right_eye_outer", "right_eye_inner"),
            ("left_eye_outer", "left_eye_inner"),
            ("right_mouth_corner", "left_mouth_corner"),
        )
    )
    blob = torch.maximum(torch.maximum(right, left), mouth) * found.view(-1, 1, 1)
    return maps + (weight - 1) * blob[:, None]


def _blob(groups: Tensor, grid: Tensor, ends: tuple[str, str]) -> Tensor:
    """A bump of height 1 around the middle of two groups, as wide as they are apart: `[B, H, W]`."""
    a, b = (groups[:, GROUP_INDEX[name]] for name in ends)
    if ends[0].endswith("corner"):
        lips = [groups[:, GROUP_INDEX[name]] for name in ("upper_lip_outer", "lower_lip_outer")]
        centre = (lips[0] + lips[1] + a + b) / 4
    else:
        centre = (a + b) / 2
    radius = (a - b).norm(dim=-1).clamp_min(0.05) * 0.75
    distance = (grid - centre.view(-1, 1, 1, 2)).norm(dim=-1) / radius.view(-1, 1, 1)
    return torch.exp(-(distance**4))
