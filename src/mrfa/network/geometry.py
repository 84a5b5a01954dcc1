"""Coordinate grids, warping, heatmaps and random transforms: the one home of every coordinate convention.

Positions are `(x, y)`, normalised to [-1, 1] over pixel *centres*: -1 is the centre of the first pixel and 1 that of the last
one (`align_corners=True`), at every resolution; `Conventions` lists where the authors' released weights need something else. A
backward flow gives, at each driving position, the source position that it shows. Inside the network flows travel as
*displacements*, flow minus identity, `[B, 2, h, w]`, because these can be resized, added and pooled without care for the grid.
Names that end in `_px` hold pixels of the grid at hand.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Conventions(NamedTuple):
    """How coordinates and resolutions are read, where the authors' released weights and new models differ.

    `CONSISTENT` is for new models, `OFFICIAL` for the released weights; `docs/paper-to-code.md` names each difference.

    Attributes:
        corner_aligned_warps: warps by the coarse flow read -1 and 1 as the centres of the first and the last pixel, as all
            grids do, otherwise as their outer edges.
        averaged_downsampling: flow and occlusion are averaged to a lower resolution, otherwise only sampled there.
        exact_resizing: a resized flow keeps its normalised values; otherwise its values in pixels grow with the number of
            pixels a side, not with that of the gaps between them.
        exact_lookup: the correlation is looked up where the normalised flow points to; otherwise a position in pixels is
            multiplied by the ratio of the sides.
        row_first_patches: a looked-up patch is read row by row, otherwise column by column.
        blend_refined_flow: the directly warped source picture, which is blended into the output, is warped by the last refined
            flow and continued beyond its border; otherwise by the flow before the last refinement, with black beyond.
    """

    corner_aligned_warps: bool = True
    averaged_downsampling: bool = True
    exact_resizing: bool = True
    exact_lookup: bool = True
    row_first_patches: bool = True
    blend_refined_flow: bool = True


CONSISTENT = Conventions()
OFFICIAL = Conventions(False, False, False, False, False, False)


def full_precision(like: Tensor) -> torch.autocast:
    """A context without mixed precision, which would round positions to 8 bits, less than a pixel; for a tensor's device."""
    return torch.autocast(like.device.type, enabled=False)


def identity_grid(height: int, width: int, like: Tensor) -> Tensor:
    """Normalised position of each pixel, `[h, w, 2]`, on the device of `like`, in float32."""
    y = torch.linspace(-1, 1, height, device=like.device)
    x = torch.linspace(-1, 1, width, device=like.device)
    return torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)


def to_flow(displacement: Tensor) -> Tensor:
    """Displacement `[B, 2, h, w]` to backward flow `[B, h, w, 2]`, both normalised."""
    return displacement.permute(0, 2, 3, 1).float() + identity_grid(displacement.shape[2], displacement.shape[3], displacement)


def to_displacement(flow: Tensor) -> Tensor:
    """Backward flow `[B, h, w, 2]` to displacement `[B, 2, h, w]`, both normalised."""
    return (flow - identity_grid(flow.shape[1], flow.shape[2], flow)).permute(0, 3, 1, 2)


def pixel_scale(size: Sequence[int], like: Tensor) -> Tensor:
    """`[1, 2, 1, 1]`: multiplies a normalised displacement to give pixels of a grid of this size (h, w)."""
    return torch.tensor([(size[1] - 1) / 2, (size[0] - 1) / 2], device=like.device).view(1, 2, 1, 1)


def resize(field: Tensor, size: Sequence[int], conventions: Conventions = CONSISTENT) -> Tensor:
    """Resize a field `[B, C, h, w]` of values that do not depend on the resolution.

    Bilinear and corner-aligned upwards; downwards by averaging, so that nothing is skipped.
    """
    height, width = field.shape[2:]
    if (height, width) == tuple(size):
        return field
    if size[0] < height and conventions.averaged_downsampling:
        return F.adaptive_avg_pool2d(field, (size[0], size[1]))
    return F.interpolate(field, size=(size[0], size[1]), mode="bilinear", align_corners=True)


def resize_displacement(displacement: Tensor, size: Sequence[int], conventions: Conventions) -> Tensor:
    """Resize a normalised displacement `[B, 2, h, w]`."""
    resized = resize(displacement, size, conventions)
    if conventions.exact_resizing:
        return resized
    (height, width), (new_height, new_width) = displacement.shape[2:], size
    x, y = (1 - 1 / width) / (1 - 1 / new_width), (1 - 1 / height) / (1 - 1 / new_height)
    return resized * torch.tensor([x, y], device=resized.device).view(1, 2, 1, 1)


def sample(features: Tensor, positions: Tensor, padding: str = "zeros", *, corner_aligned: bool = True) -> Tensor:
    """Bilinear values of `[B, C, h, w]` at normalised positions `[B, h', w', 2]`: `[B, C, h', w']`.

    Without `corner_aligned`, -1 and 1 are the picture's outer edges instead of the centres of its outer pixels.
    """
    with full_precision(features):
        return F.grid_sample(features.float(), positions.float(), padding_mode=padding, align_corners=corner_aligned)


def warp(features: Tensor, displacement: Tensor) -> Tensor:
    """Features `[B, C, h, w]` seen through a displacement of the same size; zero outside the picture."""
    return sample(features, to_flow(displacement))


def gaussian_heatmaps(positions: Tensor, size: Sequence[int], variance: float) -> Tensor:
    """exp(-|z - p|^2 / (2 variance)) for positions `[B, K, 2]`: `[B, K, h, w]`, unnormalised, peak 1."""
    positions = positions.float()
    grid = identity_grid(size[0], size[1], positions)
    x = (grid[0, :, 0] - positions[..., 0:1]) ** 2
    y = (grid[:, 0, 1] - positions[..., 1:2]) ** 2
    # exp(-(x + y)) is the product of a row and a column.
    row, column = torch.exp(-x / (2 * variance)), torch.exp(-y / (2 * variance))
    return column[..., :, None] * row[..., None, :]


def invert_2x2(matrix: Tensor) -> Tensor:
    """Inverse of `[..., 2, 2]` by the adjugate; a determinant near zero is pushed away from it."""
    matrix = matrix.float()
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    sign = torch.where(determinant < 0, -1.0, 1.0)
    safe = sign * determinant.abs().clamp_min(1e-6)
    adjugate = torch.stack([d, -b, -c, a], dim=-1).view(matrix.shape)
    return adjugate / safe[..., None, None]


class RandomTransform(NamedTuple):
    """A random affine map plus a thin-plate part, for the equivariance loss (paper Eq. 12).

    Identity plus N(0, 0.05) affine, plus a thin-plate part over a 5x5 grid of control points with N(0, 0.005) weights and the
    kernel d^2 log(d + 1e-6) of the L1 distance d.

    Attributes:
        theta: affine part, `[B, 2, 3]`.
        weights: weight of each control point, `[B, 25]`, added to both coordinates.
    """

    theta: Tensor
    weights: Tensor

    @staticmethod
    def draw(batch: int, like: Tensor, affine: float = 0.05, bend: float = 0.005) -> "RandomTransform":
        """One transform for each picture of a batch."""
        noise = torch.randn(batch, 2, 3, device=like.device) * affine
        theta = noise + torch.eye(2, 3, device=like.device)
        return RandomTransform(theta, torch.randn(batch, 25, device=like.device) * bend)

    def positions(self, positions: Tensor) -> Tensor:
        """Transformed positions, `[B, n, 2]` (or `[1, n, 2]`, the same for all) to `[B, n, 2]`."""
        affine = positions @ self.theta[:, :, :2].transpose(1, 2) + self.theta[:, None, :, 2]
        return affine + self._bend(positions)[..., None]

    def image(self, image: Tensor) -> Tensor:
        """The picture `[B, C, H, W]` sampled at the transformed grid, reflected at its borders."""
        batch, _, height, width = image.shape
        grid = identity_grid(height, width, image).view(1, -1, 2)
        return sample(image, self.positions(grid).view(batch, height, width, 2), padding="reflection")

    def jacobian(self, positions: Tensor) -> Tensor:
        """Derivative of the transform at `[B, n, 2]`: `[B, n, 2, 2]`, rows the outputs, by central differences."""
        step = 1e-2
        offset = torch.eye(2, device=positions.device) * step
        columns = [(self.positions(positions + offset[i]) - self.positions(positions - offset[i])) / (2 * step) for i in range(2)]
        return torch.stack(columns, dim=-1)

    def _bend(self, positions: Tensor) -> Tensor:
        control = identity_grid(5, 5, positions).view(25, 2)
        distance = (positions[:, :, None] - control).abs().sum(-1)
        kernel = distance**2 * torch.log(distance + 1e-6)
        return (kernel @ self.weights[..., None])[..., 0]
