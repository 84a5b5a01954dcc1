"""Motion of the background by robust alignment of both pictures: no weights, sub-pixel accuracy; not in the paper.

Where a camera pans or shakes, no keypoint can say so. The affine map is found as Lucas and Kanade did (1981), coarse to fine,
with the weights of an M-estimator, on what lies away from the keypoints of either picture.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.network.background import background_flow
from mrfa.network.geometry import Conventions, full_precision

# Side of the picture and Gauss-Newton steps of each level.
LEVELS = ((16, 6), (32, 6), (64, 4))
# Keypoints spread evenly over a face end at 1.7 standard deviations from their mean; hair and ears lie around them.
FACE_DEVIATIONS = 2.25
FACE_MARGIN = 0.05
# Pulls the map to the identity where there is little to see; per pixel, in squared intensity.
PRIOR = 1e-3
# Mean errors below this are noise.
NOISE = 0.004
FARTHEST = 0.5


class _Level(NamedTuple):
    """What no step changes: pictures `[B, 3, h, w]`, weights `[B, 1, h, w]`, gradients of `driving` along x and y."""

    source: Tensor
    driving: Tensor
    weight: Tensor
    gradients: tuple[Tensor, Tensor]


@torch.compiler.disable  # type: ignore[untyped-decorator]
@torch.no_grad()
def align_background(
    source: Tensor, driving: Tensor, source_positions: Tensor, driving_positions: Tensor, conventions: Conventions
) -> Tensor:
    """The affine map of the background between two pictures of one video.

    Args:
        source: `[B, 3, H, W]` in [0, 1].
        driving: likewise.
        source_positions: keypoints `[B, K, 2]`, normalised; what lies among them is left out.
        driving_positions: likewise.
        conventions: of the positions and of the map.

    Returns:
        `[B, 3, 3]`, from driving to source positions, homogeneous, normalised; the identity where no map fits. No gradient.
    """
    with full_precision(source):
        source, driving = source.float(), driving.float()
        side = LEVELS[-1][0]
        weights = (away_from_face(positions.float(), side, conventions) for positions in (source_positions, driving_positions))
        weight = next(weights) * next(weights)
        affine = torch.eye(3, device=source.device).expand(len(source), 3, 3)
        for size, steps in LEVELS:
            small, target = (_smooth(conventions.resize(picture, (size, size))) for picture in (source, driving))
            level = _Level(small, target, conventions.resize(weight, (size, size)), _gradients(target, conventions))
            for _ in range(steps):
                affine = _step(level, affine, conventions)
    return affine


def away_from_face(positions: Tensor, size: int, conventions: Conventions) -> Tensor:
    """Weights `[B, 1, size, size]`: 0 in an ellipse about the keypoints `[B, K, 2]`, 1 far from it, smooth between."""
    middle = positions.mean(1)[:, None, None]
    radii = FACE_DEVIATIONS * positions.std(1, correction=0)[:, None, None] + FACE_MARGIN
    distance = ((conventions.grid(size, size, positions) - middle) / radii).norm(dim=-1)
    return torch.sigmoid(8 * (distance - 1))[:, None]


def _step(level: _Level, affine: Tensor, conventions: Conventions) -> Tensor:
    """One Gauss-Newton step from `[B, 3, 3]`."""
    batch, channels, height, width = level.source.shape
    identity = torch.eye(3, device=affine.device)
    flow = background_flow(affine, (height, width), conventions)
    warped = conventions.sample(level.source, flow, padding="border")
    error = level.driving - warped
    weight = level.weight * (flow.abs() <= 1).all(-1)[:, None]
    weight = weight * _robust(error.abs().mean(1, keepdim=True), weight)

    # The mean of both pictures' gradients converges faster than either.
    x, y = ((a + b) / 2 for a, b in zip(_gradients(warped, conventions), level.gradients, strict=True))
    grid = conventions.grid(height, width, affine).view(-1, 2)
    places = torch.cat([grid, torch.ones_like(grid[:, :1])], dim=1)
    jacobian = torch.cat([x.flatten(2)[..., None] * places, y.flatten(2)[..., None] * places], dim=-1).flatten(1, 2)
    weighted = jacobian * weight.expand(-1, channels, -1, -1).flatten(1)[..., None]

    prior = PRIOR * height * width * channels
    away = (affine - identity)[:, :2].reshape(batch, 6, 1)
    normal = weighted.transpose(1, 2) @ jacobian + prior * torch.eye(6, device=affine.device)
    right = weighted.transpose(1, 2) @ error.flatten(1)[..., None] - prior * away
    change = F.pad(torch.linalg.solve_ex(normal, right).result.view(batch, 2, 3), (0, 0, 0, 1))
    moved = affine @ (identity + change)
    # Also where a number is not finite.
    near = (moved - identity).abs().amax((1, 2)) <= FARTHEST
    return torch.where(near[:, None, None], moved, identity)


def _robust(error: Tensor, weight: Tensor) -> Tensor:
    """Weights of Geman and McClure: errors well above the weighted mean do not count. `[B, 1, h, w]`."""
    scale = (error * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp_min(1e-6)
    return (1 + (error / scale.clamp_min(NOISE)) ** 2) ** -2


def _smooth(picture: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _gradients(picture: Tensor, conventions: Conventions) -> tuple[Tensor, Tensor]:
    """Central differences along x and y, per normalised unit."""
    across, down = conventions.pixel_scale(picture.shape[2:], picture).flatten()
    wide, tall = F.pad(picture, (1, 1, 0, 0), mode="replicate"), F.pad(picture, (0, 0, 1, 1), mode="replicate")
    x = (wide[..., 2:] - wide[..., :-2]) * (across / 2)
    return x, (tall[..., 2:, :] - tall[..., :-2, :]) * (down / 2)
