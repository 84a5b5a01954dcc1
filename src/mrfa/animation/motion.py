"""Which keypoints the animated portrait gets from the driver's."""

from collections.abc import Callable

import torch
from torch import Tensor

from mrfa.network.geometry import invert_2x2
from mrfa.network.keypoints import Keypoints

# What moves a portrait: the driver's keypoints to those that the portrait gets.
Transfer = Callable[[Keypoints], Keypoints]

# Hulls below this area are taken as flat; that of a face is 0.1 to 2.
FLAT = 1e-6


class RelativeMotion:
    """Adds to portraits what changed since the driver's initial frame, so that each keeps its own proportions.

    `p = p_source + s (p_driving - p_initial)` and `A = A_driving A_initial^-1 A_source`. What does not depend on the driving
    frame is computed once. Nothing waits for the device, and singular maps raise no error.

    Args:
        source: of S portraits, positions `[S, K, 2]`, normalised to [-1, 1].
        initial: of the driver's frame in which pose and expression are nearest to the portraits'; of several the first,
            `[1, K, 2]` or more.
        adapt_scale: scale the motion by the size of a portrait's face over the driver's, the square root of the ratio of the
            areas of the keypoints' convex hulls; otherwise s = 1.
    """

    def __init__(self, source: Keypoints, initial: Keypoints, adapt_scale: bool = False) -> None:
        self._source, self._adapt_scale = source, adapt_scale
        self.begin_at(initial)

    def begin_at(self, initial: Keypoints) -> None:
        """Let another of the driver's frames count as the portraits' pose from now on, as at first."""
        source, self._initial = self._source, initial.positions[:1]
        self._scale = motion_scale(source.positions, self._initial)[:, None] if self._adapt_scale else None
        self._maps: Tensor | None = None
        if source.affine is not None and initial.affine is not None:
            self._maps = (invert_2x2(initial.affine[:1]) @ source.affine)[:, None]

    def __call__(self, driving: Keypoints) -> Keypoints:
        """Keypoints for driving frames `[B, K, 2]`: `[S * B, K, 2]`, portrait by portrait.

        Affine maps are None where the driver has none.
        """
        shift = driving.positions - self._initial
        if self._scale is not None:
            shift = shift * self._scale
        positions = (self._source.positions[:, None] + shift).flatten(0, 1)
        if driving.affine is None or self._maps is None:
            return Keypoints(positions, None)
        return Keypoints(positions, (driving.affine @ self._maps).flatten(0, 1))


def motion_scale(source: Tensor, initial: Tensor) -> Tensor:
    """Size of the source's face over the driver's, from positions `[B, K, 2]`: `[B, 1, 1]`; 1 where a hull is flat."""
    source_areas, initial_areas = hull_areas(source), hull_areas(initial)
    valid = (source_areas > FLAT) & (initial_areas > FLAT)
    ratio = torch.where(valid, source_areas / initial_areas.clamp_min(FLAT), 1.0)
    return ratio.sqrt()[:, None, None]


def hull_areas(positions: Tensor) -> Tensor:
    """Area of the convex hull of each point set, `[B, K, 2]` to float32 `[B]`.

    Between the outermost points the hull's upper border is, at every point's x, the highest of all lines between two points
    that pass there, and its lower border the lowest; in between both are straight. So neither points that coincide nor points
    on a line need care, and nothing depends on an order of the points that would have to be found step by step.
    """
    x, order = positions.float()[..., 0].sort(dim=-1)
    y = positions.float()[..., 1].gather(-1, order)
    left, right, here = x[:, :, None, None], x[:, None, :, None], x[:, None, None, :]
    share = (here - left) / (right - left).clamp_min(torch.finfo(x.dtype).tiny)
    heights = torch.lerp(y[:, :, None, None], y[:, None, :, None], share)
    passes = (left <= here) & (here <= right)
    upper = heights.masked_fill(~passes, -torch.inf).amax((1, 2))
    lower = heights.masked_fill(~passes, torch.inf).amin((1, 2))
    return torch.trapezoid(upper - lower, x, dim=-1)


def nearest_shape(source: Tensor, clip: Tensor) -> int:
    """The frame of a driver `[N, K, 2]` whose keypoints lie nearest to the portraits' `[S, K, 2]`, each moved to its mean and
    scaled to unit size: for keypoints without meaning."""
    source, clip = (_normalised(positions.float()) for positions in (source, clip))
    return int((source[:, None] - clip).square().sum((0, 2, 3)).argmin())


def _normalised(positions: Tensor) -> Tensor:
    centred = positions - positions.mean(1, keepdim=True)
    return centred / centred.square().sum((1, 2), keepdim=True).sqrt().clamp_min(FLAT)
