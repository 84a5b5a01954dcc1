"""Augmentation of pairs on the device (paper 3.4), with stronger options for small data sets."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.data.guidance import MIRRORED_GROUPS
from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.config import AugmentationConfig
from mrfa.training.pairs import PairBatch


class Pair(NamedTuple):
    """An augmented batch of pairs.

    Attributes:
        source, driving: `[B, 3, H, W]` in [0, 1], as the network sees them.
        target: the picture to generate: the driving picture.
        source_groups, driving_groups: `[B, G, 2]` half-pixel normalised landmark groups.
        found: `[B]` bool, whether the groups are to be believed.
    """

    source: Tensor
    driving: Tensor
    target: Tensor
    source_groups: Tensor
    driving_groups: Tensor
    found: Tensor


def augment(batch: PairBatch, config: AugmentationConfig) -> Pair:
    """Flip in time, flip in space, move and bend, and change colours; both frames of a pair alike.

    The paper never flips a pair in both ways.
    """
    images = torch.stack([batch["source"], batch["driving"]], dim=1).float() / 255
    groups = torch.stack([batch["source_groups"], batch["driving_groups"]], dim=1).float()
    count = len(images)
    draw = torch.rand(count, device=images.device)
    swap = (draw < 0.5) & config.time_flip
    mirror = (draw >= 0.5) & config.horizontal_flip
    images = torch.where(swap.view(-1, 1, 1, 1, 1), images.flip(1), images)
    groups = torch.where(swap.view(-1, 1, 1, 1), groups.flip(1), groups)
    images = torch.where(mirror.view(-1, 1, 1, 1, 1), images.flip(-1), images)
    groups = torch.where(mirror.view(-1, 1, 1, 1), _mirror(groups), groups)
    if config.rotation or config.scale or config.shift or config.bend:
        images, groups = _move(images, groups, config)
    images = _colours(images, config)
    found = batch["found"] & (groups.abs().amax(dim=(1, 2, 3)) < 1.2)
    return Pair(images[:, 0], images[:, 1], images[:, 1], groups[:, 0], groups[:, 1], found)


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
    )


def _mirror(groups: Tensor) -> Tensor:
    """Negate x, and let left and right groups change names."""
    return groups[:, :, list(MIRRORED_GROUPS)] * torch.tensor([-1.0, 1.0], device=groups.device)


def _move(images: Tensor, groups: Tensor, config: AugmentationConfig) -> tuple[Tensor, Tensor]:
    """One similarity and one smooth bend for both frames: a new crop of a face of new proportions.

    A picture is sampled at T(z), so a landmark moves to T^-1(p); the bend is small and smooth enough for a few fixed-point
    steps to invert it.
    """
    count, _, _, height, width = images.shape
    device = images.device

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, device=device) * 2 - 1) * limit

    angle, scale = uniform(math.radians(config.rotation)), torch.exp(uniform(math.log1p(config.scale)))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    shift = torch.stack([uniform(2 * config.shift), uniform(2 * config.shift)], -1)
    bend = torch.randn(count, 2, 5, 5, device=device) * config.bend
    grid = HALF_PIXEL.grid(height, width, images)
    field = F.interpolate(bend, size=(height, width), mode="bicubic")
    positions = grid.view(1, -1, 2) @ matrix.transpose(1, 2) + shift[:, None]
    positions = positions.view(count, height, width, 2) + field.permute(0, 2, 3, 1)
    moved = HALF_PIXEL.sample(images.flatten(1, 2), positions, padding="reflection").view_as(images)
    flat = groups.flatten(1, 2)
    inverse = torch.linalg.inv(matrix)
    guess = (flat - shift[:, None]) @ inverse.transpose(1, 2)
    for _ in range(3):
        offset = HALF_PIXEL.sample(field, guess[:, None])[:, :, 0].transpose(1, 2)
        guess = (flat - shift[:, None] - offset) @ inverse.transpose(1, 2)
    return moved, guess.view_as(groups)


def _colours(images: Tensor, config: AugmentationConfig) -> Tensor:
    """Brightness, contrast, saturation, hue, and a mixing of the channels."""
    count = len(images)
    shape = (count, 1, 1, 1, 1)

    def factor() -> Tensor:
        return 1 + (torch.rand(shape, device=images.device) * 2 - 1) * config.colour_jitter

    images = images * factor()
    mean = images.mean(dim=(2, 3, 4), keepdim=True)
    images = (images - mean) * factor() + mean
    matrix = _saturation_and_hue(factor().view(count), config.colour_jitter)
    matrix = matrix + torch.randn(count, 3, 3, device=images.device) * config.colour_mix
    return torch.einsum("bij,bnjhw->bnihw", matrix, images).clamp(0, 1)


def _saturation_and_hue(saturation: Tensor, jitter: float) -> Tensor:
    """Colour matrices `[B, 3, 3]`: scale the distance to grey, and turn around the grey axis (0.1 is 36 degrees)."""
    count, device = len(saturation), saturation.device
    turn = (torch.rand(count, device=device) * 2 - 1) * jitter * 2 * math.pi
    axis = torch.full((3, 3), 1 / 3, device=device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
    cos, sin = torch.cos(turn).view(-1, 1, 1), torch.sin(turn).view(-1, 1, 1)
    rotation = axis + (torch.eye(3, device=device) - axis) * cos + cross * sin
    grey = torch.tensor([0.299, 0.587, 0.114], device=device).expand(3, 3)
    scale = saturation.view(-1, 1, 1)
    return (torch.eye(3, device=device) * scale + grey * (1 - scale)) @ rotation
