"""Coordinates, warps and resizing: the one home of every coordinate convention.

Convention block
    Positions are `(x, y)`, normalised to [-1, 1]. In new models (`HALF_PIXEL`) -1 and 1 are the picture's outer *edges*, so pixel
    i of n has its centre at (2i + 1)/n - 1, as in `cv2.resize` and torch's `align_corners=False`. A cell that averages 2x2 pixels
    then lies at the mean of their positions: maps of every resolution agree, however they were pooled or resized.
    A *backward flow* `[B, h, w, 2]` gives, at each driving position, the source position that it shows. Inside the network flows
    travel as *displacements*, flow minus identity, `[B, 2, h, w]`, because these can be resized, added and pooled without care
    for the grid. Names that end in `_px` hold pixels of the grid at hand.

The released weights of the authors, and models trained before version 2 of the model folder, read positions otherwise; so every
function that meets a grid is a method of `Conventions`, and no default hides which ones are meant.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Conventions(NamedTuple):
    """How coordinates and resolutions are read.

    `HALF_PIXEL` is for new models, `CORNER_ALIGNED` for those trained with corner-aligned grids, `OFFICIAL` for the authors'
    released weights; `docs/paper-to-code.md` names each difference.

    Attributes:
        corner_aligned: -1 and 1 are the centres of the first and the last pixel, otherwise the outer edges of both.
        corner_aligned_warps: the same for warps by the coarse flow alone, which in the released weights differs from the grids.
        averaged_downsampling: flow and occlusion are averaged to a lower resolution, otherwise only sampled there.
        exact_resizing: a resized flow keeps its normalised values; otherwise its values in pixels grow with the number of
            pixels a side, not with that of the gaps between them.
        exact_lookup: the correlation is looked up where the normalised flow points to; otherwise a position in pixels is
            multiplied by the ratio of the sides.
        row_first_patches: a looked-up patch is read row by row, otherwise column by column.
        blend_refined_flow: the directly warped source picture, which is blended into the output, is warped by the last refined
            flow and continued beyond its border; otherwise by the flow before the last refinement, with black beyond.
    """

    corner_aligned: bool
    corner_aligned_warps: bool
    averaged_downsampling: bool
    exact_resizing: bool
    exact_lookup: bool
    row_first_patches: bool
    blend_refined_flow: bool

    def grid(self, height: int, width: int, like: Tensor) -> Tensor:
        """Normalised position of each pixel, `[h, w, 2]`, on the device of `like`, in float32 (float64 where that is)."""
        x, y = self._line(width, like), self._line(height, like)
        return torch.stack([x[None, :].expand(height, width), y[:, None].expand(height, width)], dim=-1)

    def to_flow(self, displacement: Tensor) -> Tensor:
        """Displacement `[B, 2, h, w]` to backward flow `[B, h, w, 2]`, both normalised."""
        return at_least_float(displacement).permute(0, 2, 3, 1) + self.grid(
            displacement.shape[2], displacement.shape[3], displacement
        )

    def to_displacement(self, flow: Tensor) -> Tensor:
        """Backward flow `[B, h, w, 2]` to displacement `[B, 2, h, w]`, both normalised."""
        return (flow - self.grid(flow.shape[1], flow.shape[2], flow)).permute(0, 3, 1, 2)

    def pixel_scale(self, size: Sequence[int], like: Tensor) -> Tensor:
        """`[1, 2, 1, 1]`: multiplies a normalised displacement to give pixels of a grid of this size (h, w)."""
        height, width = (side - int(self.corner_aligned) for side in size)
        return _two(width / 2, height / 2, like).view(1, 2, 1, 1)

    def resize(self, field: Tensor, size: Sequence[int]) -> Tensor:
        """Resize a field `[B, C, h, w]` of values that do not depend on the resolution.

        Bilinear upwards; downwards by averaging, so that nothing is skipped.
        """
        height, width = field.shape[2:]
        if (height, width) == tuple(size):
            return field
        if size[0] < height and self.averaged_downsampling:
            return F.adaptive_avg_pool2d(field, (size[0], size[1]))
        return F.interpolate(field, size=(size[0], size[1]), mode="bilinear", align_corners=self.corner_aligned)

    def resize_displacement(self, displacement: Tensor, size: Sequence[int]) -> Tensor:
        """Resize a normalised displacement `[B, 2, h, w]`."""
        resized = self.resize(displacement, size)
        return resized if self.exact_resizing else resized * ratio_of_gaps(displacement.shape[2:], size, resized).view(1, 2, 1, 1)

    def to_pixels(self, positions: Tensor, size: Sequence[int]) -> Tensor:
        """Normalised positions `[..., 2]` in pixels of a grid of this size (h, w), whose first is at 0."""
        return _in_pixels(positions, size, corner_aligned=self.corner_aligned)

    def sample(self, features: Tensor, positions: Tensor, padding: str = "zeros", mode: str = "bilinear") -> Tensor:
        """Values of `[B, C, h, w]` at normalised positions `[B, h', w', 2]`: `[B, C, h', w']`, of the same precision."""
        return _sample(features, positions, padding, mode, corner_aligned=self.corner_aligned)

    def sample_coarsely(self, features: Tensor, positions: Tensor, padding: str = "zeros") -> Tensor:
        """The same for positions of the coarse flow, see `corner_aligned_warps`."""
        return _sample(features, positions, padding, "bilinear", corner_aligned=self.corner_aligned_warps)

    def warp(self, features: Tensor, displacement: Tensor) -> Tensor:
        """Features `[B, C, h, w]` seen through a displacement of the same size; zero outside the picture."""
        return self.sample(features, self.to_flow(displacement))

    def heatmaps(self, positions: Tensor, size: Sequence[int], variance: float) -> Tensor:
        """exp(-|z - p|^2 / (2 variance)) for positions `[B, K, 2]`: `[B, K, h, w]`, unnormalised, peak 1."""
        positions = at_least_float(positions)
        x = (self._line(size[1], positions) - positions[..., 0:1]) ** 2
        y = (self._line(size[0], positions) - positions[..., 1:2]) ** 2
        # exp(-(x + y)) is the product of a row and a column.
        row, column = torch.exp(-x / (2 * variance)), torch.exp(-y / (2 * variance))
        return column[..., :, None] * row[..., None, :]

    def from_half_pixel(self, positions: Tensor, size: Sequence[int]) -> Tensor:
        """Positions `[..., 2]` of `HALF_PIXEL` in a picture of this size (h, w) as these conventions have them."""
        return positions * self._half_pixel_ratio(size, positions)

    def to_half_pixel(self, positions: Tensor, size: Sequence[int]) -> Tensor:
        """The inverse of `from_half_pixel`."""
        return positions / self._half_pixel_ratio(size, positions)

    def _half_pixel_ratio(self, size: Sequence[int], like: Tensor) -> Tensor:
        x, y = (side / (side - int(self.corner_aligned)) for side in (size[1], size[0]))
        return _two(x, y, like)

    def _line(self, count: int, like: Tensor) -> Tensor:
        """Normalised positions along a side of `count` pixels."""
        outermost = 1.0 if self.corner_aligned else 1 - 1 / count
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        return torch.linspace(-outermost, outermost, count, device=like.device, dtype=dtype)


HALF_PIXEL = Conventions(False, False, True, True, True, True, True)
CORNER_ALIGNED = Conventions(True, True, True, True, True, True, True)
OFFICIAL = Conventions(True, False, False, False, False, False, False)


def ratio_of_gaps(size: Sequence[int], new_size: Sequence[int], like: Tensor) -> Tensor:
    """`[2]`, for x and y: by how much a normalised value errs that is carried from (h, w) to (h', w') by the ratio of the sides.

    On corner-aligned grids the gaps between pixels span the picture, one fewer than pixels.
    """
    (height, width), (new_height, new_width) = size, new_size
    x, y = (1 - 1 / width) / (1 - 1 / new_width), (1 - 1 / height) / (1 - 1 / new_height)
    return _two(x, y, like)


def invert_2x2(matrix: Tensor) -> Tensor:
    """Inverse of `[..., 2, 2]` by the adjugate; a determinant near zero is pushed away from it."""
    matrix = at_least_float(matrix)
    a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
    determinant = a * d - b * c
    sign = torch.where(determinant < 0, -1.0, 1.0)
    safe = sign * determinant.abs().clamp_min(1e-6)
    adjugate = torch.stack([d, -b, -c, a], dim=-1).view(matrix.shape)
    return adjugate / safe[..., None, None]


def full_precision(like: Tensor) -> torch.autocast:
    """A context without mixed precision, which would round positions to 8 bits, less than a pixel; for a tensor's device."""
    return torch.autocast(like.device.type, enabled=False)


def _two(x: float, y: float, like: Tensor) -> Tensor:
    """`[2]` in float32, made on the device of `like`: to copy it there, a GPU would have to stop."""
    return torch.linspace(x, y, 2, device=like.device)


def at_least_float(values: Tensor) -> Tensor:
    """Values in float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def _in_pixels(positions: Tensor, size: Sequence[int], *, corner_aligned: bool) -> Tensor:
    sides = _two(size[1], size[0], positions)
    return (positions + 1) * ((sides - 1) / 2) if corner_aligned else ((positions + 1) * sides - 1) / 2


def _sample(features: Tensor, positions: Tensor, padding: str, mode: str, *, corner_aligned: bool) -> Tensor:
    if padding == "zeros" and mode == "bilinear" and _lies_in_rows(features):
        return _gather(features, positions.float(), corner_aligned=corner_aligned)
    with full_precision(features):
        sampled = F.grid_sample(
            at_least_float(features), at_least_float(positions), mode=mode, padding_mode=padding, align_corners=corner_aligned
        )
        if sampled.dtype == features.dtype:
            return sampled
        channels_last = features.is_contiguous(memory_format=torch.channels_last)
        return sampled.to(features.dtype, memory_format=torch.channels_last if channels_last else torch.contiguous_format)


# Fewer channels are sampled no faster by rows.
_CHANNELS_OF_A_ROW = 64


def _lies_in_rows(features: Tensor) -> bool:
    """Whether `_gather` samples these features faster than torch does: on a CPU, channels last and many of them, in inference."""
    if features.device.type != "cpu" or features.shape[1] < _CHANNELS_OF_A_ROW or torch.is_grad_enabled():
        return False
    if features.dtype not in (torch.float32, torch.bfloat16) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    return features[:1].is_contiguous(memory_format=torch.channels_last)


def _gather(features: Tensor, positions: Tensor, *, corner_aligned: bool) -> Tensor:
    """`grid_sample` by rows of all channels: each value is the weighted sum of four of them. Positions are float32."""
    batch, channels, height, width = features.shape
    one = features.stride(0) == 0
    rows = (features[:1] if one else features).permute(0, 2, 3, 1).reshape(-1, channels)
    places = _in_pixels(positions, (height, width), corner_aligned=corner_aligned)
    # What is not finite lies outside.
    low = places.nan_to_num(-2, width + height, -2).floor()
    corners = torch.stack([low, low + 1], dim=-2)
    inside = torch.minimum(corners.clamp_min(0), _two(width - 1, height - 1, positions))
    weights = (1 - (places[..., None, :] - corners).abs()) * (corners == inside)
    x, y = inside.unbind(-1)
    index = torch.add(x[..., None, :], y[..., :, None], alpha=width).int()
    if not one and batch > 1:
        index = index + torch.arange(0, batch * height * width, height * width, dtype=torch.int32).view(-1, 1, 1, 1, 1)
    x, y = weights.unbind(-1)
    weight = (y[..., :, None] * x[..., None, :]).to(rows.dtype)
    sampled = F.embedding_bag(index.reshape(-1, 4), rows, per_sample_weights=weight.reshape(-1, 4), mode="sum")
    return sampled.view(*positions.shape[:3], channels).permute(0, 3, 1, 2)
