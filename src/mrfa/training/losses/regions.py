"""Where losses look: the importance of each place of a picture, and the mean that heeds it.

Landmark groups are half-pixel normalised here, whatever the network's coordinates are.
"""

import torch
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX
from mrfa.network.geometry import HALF_PIXEL


def weighted_mean(value: Tensor, weight: Tensor) -> Tensor:
    """Mean of `[B, C, h, w]`, places weighed by `[B, 1, H, W]`, which is resized where it has another size."""
    weight = HALF_PIXEL.resize(weight, value.shape[2:])
    return (value * weight).sum() / (weight.sum() * value.shape[1]).clamp_min(1e-6)


def region_weights(groups: Tensor, found: Tensor, size: tuple[int, int], weight: float) -> Tensor:
    """Importance of each pixel `[B, 1, H, W]`: `weight` around eyes and lips, 1 elsewhere, smooth between.

    Args:
        groups: `[B, G, 2]`, half-pixel normalised.
        found: `[B]`, whether the groups are to be believed.
        size: (H, W).
        weight: at least 1.
    """
    maps = torch.ones(len(groups), 1, *size, device=groups.device)
    if weight <= 1:
        return maps
    grid = HALF_PIXEL.grid(*size, groups)
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


def face_weights(groups: Tensor, found: Tensor, size: tuple[int, int], away: float) -> Tensor:
    """Importance of each pixel `[B, 1, H, W]`: 1 on the face, `away` far from it and where no face was found, smooth between.

    Args:
        groups: `[B, G, 2]`, half-pixel normalised.
        found: `[B]`, whether the groups are to be believed.
        size: (H, W).
        away: in [0, 1].
    """
    middle, up = middle_and_up(groups)
    face = _bump(HALF_PIXEL.grid(*size, groups), middle, up) * found.view(-1, 1, 1)
    return (away + (1 - away) * face)[:, None]


def middle_and_up(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The middle between forehead and chin, and the way from chin to forehead, which is as long as the face: both `[B, 2]`."""
    forehead, chin = groups[:, GROUP_INDEX["forehead"]], groups[:, GROUP_INDEX["chin"]]
    return (forehead + chin) / 2, forehead - chin


def _blob(groups: Tensor, grid: Tensor, ends: tuple[str, str]) -> Tensor:
    """A bump of height 1 around the middle of two groups, as wide as they are apart: `[B, H, W]`."""
    a, b = (groups[:, GROUP_INDEX[name]] for name in ends)
    if ends[0].endswith("corner"):
        lips = [groups[:, GROUP_INDEX[name]] for name in ("upper_lip_outer", "lower_lip_outer")]
        centre = (lips[0] + lips[1] + a + b) / 4
    else:
        centre = (a + b) / 2
    return _bump(grid, centre, a - b)


def _bump(grid: Tensor, centre: Tensor, across: Tensor) -> Tensor:
    """Height 1 at `centre` `[B, 2]`, falling off at three quarters of the length of `across` `[B, 2]`: `[B, H, W]`."""
    radius = across.norm(dim=-1).clamp_min(0.05) * 0.75
    distance = (grid - centre.view(-1, 1, 1, 2)).norm(dim=-1) / radius.view(-1, 1, 1)
    return torch.exp(-(distance**4))
