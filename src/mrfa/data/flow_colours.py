"""Motion as colours: the direction is the hue, the length the saturation."""

import math

import torch
from torch import Tensor

from mrfa.network.geometry import CORNER_ALIGNED, Conventions


def displacement_colours(displacement: Tensor, full: float) -> Tensor:
    """Displacements as colours of a wheel: white is still, to the right red, down yellow-green, left cyan, up violet.

    The hue is the HSV colour of the angle from the x axis towards the y axis, which points down.

    Args:
        displacement: `[B, 2, h, w]`, (x, y) in any unit.
        full: length at which colours are fully saturated, as those of longer ones are.

    Returns:
        `[B, 3, h, w]`, RGB in [0, 1].
    """
    x, y = displacement.float().unbind(1)
    length = torch.hypot(x, y)[:, None] / full
    sixths = torch.atan2(y, x)[:, None] * (3 / math.pi)
    offset = torch.tensor([0.0, 4.0, 2.0], device=displacement.device).view(1, 3, 1, 1)
    pure = ((torch.remainder(sixths + offset, 6) - 3).abs() - 1).clamp(0, 1)
    return 1 - length.clamp(max=1) * (1 - pure)


def flow_colours(flow: Tensor, full: float, conventions: Conventions) -> Tensor:
    """Displacement of a backward flow `[B, h, w, 2]`, normalised, as colours `[B, 3, h, w]`; see `displacement_colours`."""
    return displacement_colours(conventions.to_displacement(flow), full)


def colour_wheel(side: int) -> Tensor:
    """What each displacement looks like: a disc with full colour at its edge, on white, `[3, side, side]` in [0, 1]."""
    position = CORNER_ALIGNED.grid(side, side, torch.empty(0)).permute(2, 0, 1)
    colours = displacement_colours(position[None], 1.0)[0]
    return torch.where(torch.hypot(position[0], position[1]) <= 1, colours, torch.ones_like(colours))
