"""Pairs of stills: the same picture once more with the head turned in space. Not in the paper.

A face that was found gives the head's pose, and the mean face its depth. The landmark groups and the outline of the head turn
about the head's centre; a thin-plate spline carries the picture along, and the surroundings stay where they are.
"""

import math

import torch
from torch import Tensor

from mrfa.animation.head import face_statistics, fit_pose, rotation_of
from mrfa.data.guidance import GROUPS
from mrfa.network.geometry import HALF_PIXEL
from mrfa.network.thin_plate import evaluate_thin_plate, solve_thin_plate
from mrfa.training.config import StillsConfig

# Crown, hair, ears and neck in the frame of `mrfa.animation.head`, in which the outer eye corners are 1 apart, and the depth of
# the head's axis, where they lie.
_HALF_OUTLINE = ((0.55, -1.35), (0.95, -0.8), (1.05, -0.1), (1.0, 0.6), (0.9, 1.3), (0.5, 1.7))
OUTLINE = ((0.0, -1.5), (0.0, 1.85), *_HALF_OUTLINE, *((-x, y) for x, y in _HALF_OUTLINE))
AXIS_DEPTH = 0.85
HEAD_POINTS = GROUPS + len(OUTLINE)

# Where nothing moves: the outline, enlarged.
_STILL_RINGS = (1.6, 2.6)
# The spline is smooth: it is evaluated on this many points a side.
FIELD_SIDE = 48
_REGULARISATION = 1e-3
# Nothing comes in over the picture's edges: displacements across them end there, by this power of the distance to the middle.
_PINNED = 4
# A warp that compresses to less than this share of the area somewhere, as where landmarks are wrong, is not made.
_SMALLEST_AREA = 0.2


def head_points(groups: Tensor) -> Tensor:
    """Points of heads in space.

    Args:
        groups: landmark groups `[B, G, 2]`, half-pixel normalised.

    Returns:
        float32 `[B, HEAD_POINTS, 3]`: the groups, then the outline; x and y as in the picture, z away from the viewer in the same
        unit.
    """
    places, mean = groups.double(), face_statistics().mean
    pose = fit_pose(places, mean)
    outline = torch.tensor([(x, y, AXIS_DEPTH) for x, y in OUTLINE], dtype=mean.dtype)
    turned = pose.scale[:, None, None] * torch.cat([mean, outline]) @ pose.rotation.transpose(1, 2)
    turned[..., :2] += pose.place[:, None]
    turned[:, :GROUPS, :2] = places
    return turned.float()


def turn(heads: Tensor, config: StillsConfig) -> Tensor:
    """Random turns of heads `[B, HEAD_POINTS, 3]`: displacements `[B, 2, h, w]` from a turned picture's places to the still's."""
    count, device = len(heads), heads.device

    def uniform(*size: int) -> Tensor:
        return torch.rand(count, *size, device=device) * 2 - 1

    limits = math.radians(config.turn) * torch.tensor([0.7, 1.0, 0.4], device=device)  # nods are smaller than turns to a side
    centre = heads[:, GROUPS:].mean(1, keepdim=True)
    moved = ((heads - centre) @ rotation_of(uniform(3) * limits).transpose(1, 2) + centre)[..., :2]
    moved = moved + 2 * config.shift * uniform(1, 2)
    outline, middle = heads[:, GROUPS:, :2], centre[..., :2]
    rings = torch.cat([middle + factor * (outline - middle) for factor in _STILL_RINGS], 1)
    places, targets = torch.cat([moved, rings], 1), torch.cat([heads[..., :2], rings], 1)
    spline = solve_thin_plate(places, targets, _REGULARISATION)
    grid = HALF_PIXEL.grid(FIELD_SIDE, FIELD_SIDE, heads)
    field = evaluate_thin_plate(spline, places, grid.view(-1, 2)).view(count, FIELD_SIDE, FIELD_SIDE, 2) - grid
    field = field * (1 - grid.abs() ** _PINNED)
    return torch.where(_smallest_area(field + grid)[:, None, None, None] > _SMALLEST_AREA, field.permute(0, 3, 1, 2), 0.0)


def _smallest_area(positions: Tensor) -> Tensor:
    """Least change of area, `[B]`, of a map of a grid, `[B, n, n, 2]`; negative where it folds."""
    across, down = positions.diff(dim=2)[:, :-1], positions.diff(dim=1)[:, :, :-1]
    area = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    return area.flatten(1).amin(1) * (FIELD_SIDE / 2) ** 2
