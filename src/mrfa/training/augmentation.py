"""Augmentation of pairs on the device (paper 3.4), with stronger options for small data sets."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.data.guidance import MIRRORED_GROUPS
from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.backgrounds import replace_backgrounds
from mrfa.training.config import AugmentationConfig, DegradationConfig, StillsConfig
from mrfa.training.degradation import Look, damage
from mrfa.training.pairs import PairBatch
from mrfa.training.stills import FIELD_SIDE, turn

_INVERSE_STEPS = 8


class Pair(NamedTuple):
    """An augmented batch of pairs.

    Attributes:
        source, driving: `[B, 3, H, W]` in [0, 1], as the network sees them.
        target: the picture to generate: the driving picture, undamaged and taken like the source.
        source_groups, driving_groups: `[B, G, 2]` half-pixel normalised landmark groups.
        found: `[B]` bool, whether the groups are to be believed.
        uncovered: `[B, 1, H, W]` in [0, 1], where a person is in the source picture and none in the driving picture.
    """

    source: Tensor
    driving: Tensor
    target: Tensor
    source_groups: Tensor
    driving_groups: Tensor
    found: Tensor
    uncovered: Tensor


class _Warp(NamedTuple):
    """Maps of N pictures, from places in the new picture to places in the old: z M^T + shift + field(z).

    Attributes:
        matrix: M, `[N, 2, 2]`.
        shift: `[N, 2]`.
        field: a smooth displacement, `[N, 2, h, w]`.
    """

    matrix: Tensor
    shift: Tensor
    field: Tensor

    def positions(self, places: Tensor) -> Tensor:
        """`[N, h, w, 2]` to the same."""
        flat = places.flatten(1, 2) @ self.matrix.transpose(1, 2) + self.shift[:, None]
        return flat.view_as(places) + self._offsets(places)

    def inverse(self, points: Tensor) -> Tensor:
        """Where landmarks `[N, n, 2]` of the old picture are in the new: the field is smooth enough for fixed-point steps."""
        inverse = torch.linalg.inv(self.matrix).transpose(1, 2)
        moved = points - self.shift[:, None]
        guess = moved @ inverse
        for _ in range(_INVERSE_STEPS):
            guess = (moved - self._offsets(guess[:, None])[:, 0]) @ inverse
        return guess

    def _offsets(self, places: Tensor) -> Tensor:
        return HALF_PIXEL.sample(self.field, places, "border", "bicubic").permute(0, 2, 3, 1)


def augment(batch: PairBatch, config: AugmentationConfig) -> Pair:
    """Flip in time, flip in space, replace backgrounds, move and bend, change colours, and make worse.

    The paper never flips a pair in both ways. The driving picture of a still is the same picture with its head turned; flipped in
    time, the source is.
    """
    frames = [with_person(batch["source"], batch["source_person"]), with_person(batch["driving"], batch["driving_person"])]
    images = torch.stack(frames, dim=1)
    groups = torch.stack([batch["source_groups"], batch["driving_groups"]], dim=1).float()
    count = len(images)
    draw = torch.rand(count, device=images.device)
    swap = (draw < 0.5) & config.time_flip
    mirror = (draw >= 0.5) & config.horizontal_flip
    images = torch.where(swap.view(-1, 1, 1, 1, 1), images.flip(1), images)
    groups = torch.where(swap.view(-1, 1, 1, 1), groups.flip(1), groups)
    images = torch.where(mirror.view(-1, 1, 1, 1, 1), images.flip(-1), images)
    groups = torch.where(mirror.view(-1, 1, 1, 1), _mirror(groups), groups)
    if config.backgrounds.share:
        # The picture that no still's turn changes: the landmarks of a head to be turned stay where they are.
        images, groups = replace_backgrounds(images, groups, swap.long(), config.backgrounds)
    warps = []
    if config.rotation or config.scale or config.shift or config.bend:
        warps.append(_crops(count, images.device, config))
    if batch["still"].any():
        warps.append(_turns(batch, mirror, swap, config.stills))
    images, groups = _move(images, groups, warps)
    images, people = images.split([3, 1], 2)
    source, driving = _colours(images, config).unbind(1)
    target = driving
    if config.degradation.any:
        source, driving, target = _degraded(source, driving, config.degradation)
    found = batch["found"] & (groups.abs().amax(dim=(1, 2, 3)) < 1.2)
    return Pair(source, driving, target, groups[:, 0], groups[:, 1], found, people[:, 0] * (1 - people[:, 1]))


def plain(batch: PairBatch) -> Pair:
    """The pair as it is, as float images."""
    source, driving = (batch[name].float() / 255 for name in ("source", "driving"))
    return Pair(
        source,
        driving,
        driving,
        batch["source_groups"].float(),
        batch["driving_groups"].float(),
        batch["found"],
        torch.zeros_like(source[:, :1]),
    )


def with_person(image: Tensor, person: Tensor) -> Tensor:
    """Pictures and masks of people, uint8 `[B, 3, H, W]` and `[B, 1, h, w]`, as `[B, 4, H, W]` in [0, 1]."""
    mask = F.interpolate(person.float(), size=image.shape[2:], mode="bilinear")
    return torch.cat([image.float(), mask], 1) / 255


def _mirror(groups: Tensor) -> Tensor:
    """Negate x, and let left and right groups change names."""
    return groups[:, :, list(MIRRORED_GROUPS)] * torch.tensor([-1.0, 1.0], device=groups.device)


def _crops(count: int, device: torch.device, config: AugmentationConfig) -> _Warp:
    """Similarities and one smooth bend for both frames of each pair: a new crop of a face of new proportions."""

    def uniform(limit: float, *size: int) -> Tensor:
        both, each = (torch.rand(count, frames, *size, device=device) * 2 - 1 for frames in (1, 2))
        return ((both + config.apart * (each - both)) * limit).flatten(0, 1)

    angle, scale = uniform(math.radians(config.rotation)), torch.exp(uniform(math.log1p(config.scale)))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return _Warp(matrix, uniform(2 * config.shift, 2), _bends(count, device, config.bend).repeat_interleave(2, 0))


def _turns(batch: PairBatch, mirror: Tensor, swap: Tensor, config: StillsConfig) -> _Warp:
    """Turned heads, for one picture of each pair of a still: the driving picture, or, where time is flipped, the source."""
    count, device = len(mirror), mirror.device
    side = torch.stack([torch.where(mirror, -1.0, 1.0), *torch.ones(2, count, device=device)], -1)
    known = batch["still"] & batch["found"]
    bend = _bends(count, device, config.bend) * batch["still"].view(-1, 1, 1, 1)
    field = F.interpolate(bend, size=(FIELD_SIDE, FIELD_SIDE), mode="bicubic")
    field[known] += turn((batch["heads"] * side[:, None])[known], config)
    source = torch.where(swap.view(-1, 1, 1, 1), field, 0.0)
    fields = torch.stack([source, field - source], 1).flatten(0, 1)
    return _Warp(torch.eye(2, device=device).expand(2 * count, 2, 2), torch.zeros(2 * count, 2, device=device), fields)


def _bends(count: int, device: torch.device, deviation: float) -> Tensor:
    """Smooth random displacements, `[B, 2, 5, 5]`."""
    return torch.randn(count, 2, 5, 5, device=device) * deviation


def _move(images: Tensor, groups: Tensor, warps: list[_Warp]) -> tuple[Tensor, Tensor]:
    """Pictures and masks `[B, 2, 4, H, W]` seen through one warp after the other, sampled once; landmarks `[B, 2, G, 2]`."""
    if not warps:
        return images, groups
    flat, points = images.flatten(0, 1), groups.flatten(0, 1)
    height, width = images.shape[3:]
    positions = HALF_PIXEL.grid(height, width, images).expand(len(flat), -1, -1, -1)
    for warp in warps:
        positions = warp.positions(positions)
    for warp in reversed(warps):
        points = warp.inverse(points)
    moved = HALF_PIXEL.sample(flat, positions, "reflection", "bicubic").clamp(0, 1)
    return moved.view_as(images), points.view_as(groups)


def _degraded(source: Tensor, driving: Tensor, config: DegradationConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Source, driving picture and target, see `mrfa.training.degradation`."""
    kept, unkept = Look.draw(source, config), Look.draw(driving, config)
    return damage(kept.apply(source), config), damage(unkept.apply(driving), config), kept.apply(driving)


def _colours(images: Tensor, config: AugmentationConfig) -> Tensor:
    """Brightness, contrast, saturation, hue, and a mixing of the channels."""
    count = len(images)
    shape = (count, 1, 1, 1, 1)

    def factor() -> Tensor:
        return 1 + (torch.rand(shape, device=images.device) * 2 - 1) * config.colour_jitter

    images = images * factor()
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    images = (images - mean) * factor() + mean
    hue = config.colour_jitter if config.hue is None else config.hue
    matrix = _saturation_and_hue(factor().view(count), hue)
    matrix = matrix + torch.randn(count, 3, 3, device=images.device) * config.colour_mix
    return torch.einsum("bij,bnjhw->bnihw", matrix, images).clamp(0, 1)


def _saturation_and_hue(saturation: Tensor, hue: float) -> Tensor:
    """Colour matrices `[B, 3, 3]`: scale the distance to grey, and turn around the grey axis (0.1 is 36 degrees)."""
    count, device = len(saturation), saturation.device
    turn = (torch.rand(count, device=device) * 2 - 1) * hue * 2 * math.pi
    axis = torch.full((3, 3), 1 / 3, device=device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
    cos, sin = torch.cos(turn).view(-1, 1, 1), torch.sin(turn).view(-1, 1, 1)
    rotation = axis + (torch.eye(3, device=device) - axis) * cos + cross * sin
    grey = torch.tensor([0.299, 0.587, 0.114], device=device).expand(3, 3)
    scale = saturation.view(-1, 1, 1)
    return (torch.eye(3, device=device) * scale + grey * (1 - scale)) @ rotation
