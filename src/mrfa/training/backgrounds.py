"""Pairs before another background, which stands still and which people move before. Not in the paper.

Where a driver moves a portrait far aside, what was hidden behind its head has to be invented. Clips hardly teach it: heads move
little, and cameras follow them. Here both people of a pair are cut out and put before one background, and one of them is moved.
The background is that of the pair or of another one, filled smoothly where its own person was, so that there is a true picture
of what comes to light, and no ear of the portrait in it.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.config import BackgroundsConfig

# A mask's values between which a cut-out fades, so that it takes little of its old background along.
_FADE = (0.4, 0.85)
# Above this a mask's place, and what lies so many pixels of 256 around it, belongs to no background.
_PERSON = 0.1
_MARGIN = 6


def replace_backgrounds(images: Tensor, groups: Tensor, moved: Tensor, config: BackgroundsConfig) -> tuple[Tensor, Tensor]:
    """Put a share of the pairs before another background.

    Args:
        images: pictures and, as the last channel, masks of people, `[B, 2, 4, H, W]` in [0, 1].
        groups: `[B, 2, G, 2]` half-pixel normalised landmark groups.
        moved: `[B]`, number of the picture whose person is moved.
        config: how many, and how far.

    Returns:
        Pictures with masks, and landmark groups.
    """
    chosen = (torch.rand(len(images), device=images.device) < config.share).nonzero()[:, 0]
    if not len(chosen):
        return images, groups
    backgrounds = _backgrounds(images[chosen, 0, :3], images[chosen, 0, 3:])
    other = torch.rand(len(chosen), 1, 1, 1, device=images.device) < 0.5
    backgrounds = torch.where(other, backgrounds.roll(1, 0), backgrounds)
    scale, shift = _moves(moved[chosen], config)
    shift = _within_top(shift, scale, images[chosen, :, 3])
    pictures, masks = _move(images[chosen], scale, shift).split([3, 1], 2)
    opacity = ((masks - _FADE[0]) / (_FADE[1] - _FADE[0])).clamp(0, 1)
    images, groups = images.clone(), groups.clone()
    images[chosen] = torch.cat([opacity * pictures + (1 - opacity) * backgrounds[:, None], masks], 2)
    groups[chosen] = groups[chosen] * scale[:, :, None, None] + shift[:, :, None]
    return images, groups


def fill(image: Tensor, known: Tensor) -> Tensor:
    """Fill a picture `[N, C, H, W]` smoothly from where it is known, `[N, 1, H, W]` in [0, 1]: by push and pull.

    Gortler et al., "The Lumigraph" (1996), section 3.5. Where nothing is known, it is black.
    """
    if min(image.shape[2:]) < 2:
        return image * (known > 0)
    weight = F.avg_pool2d(known, 2, ceil_mode=True)
    small = F.avg_pool2d(image * known, 2, ceil_mode=True) / weight.clamp_min(1e-6)
    coarse = F.interpolate(fill(small, (4 * weight).clamp(max=1)), size=image.shape[2:], mode="bilinear")
    return known * image + (1 - known) * coarse


def _backgrounds(images: Tensor, masks: Tensor) -> Tensor:
    """What is behind people: pictures `[N, 3, H, W]`, filled where their masks `[N, 1, H, W]` are, and a little around."""
    margin = math.ceil(_MARGIN * images.shape[3] / 256)
    person = F.max_pool2d((masks > _PERSON).float(), 2 * margin + 1, 1, margin)
    return fill(images, 1 - person)


def _moves(moved: Tensor, config: BackgroundsConfig) -> tuple[Tensor, Tensor]:
    """Scales `[N, 2]` and shifts `[N, 2, 2]`, normalised, of both pictures of N pairs; one of each moves."""
    moves = F.one_hot(moved, 2).float()
    draw = torch.rand(len(moved), 3, device=moved.device) * 2 - 1
    scale = torch.exp(math.log1p(config.scale) * draw[:, :1] * moves)
    return scale, 2 * config.shift * moves[..., None] * draw[:, None, 1:]


def _within_top(shift: Tensor, scale: Tensor, masks: Tensor) -> Tensor:
    """Shifts with which heads that the picture's upper edge cuts, by masks `[N, 2, H, W]`, are not seen to be cut."""
    cut = masks[:, :, 0].amax(-1) > _FADE[0]
    down = torch.where(cut, torch.minimum(shift[..., 1], scale - 1), shift[..., 1])
    return torch.stack([shift[..., 0], down], -1)


def _move(layers: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Pictures `[N, 2, C, H, W]` enlarged about their middle, then shifted."""
    grid = HALF_PIXEL.grid(layers.shape[3], layers.shape[4], layers)
    places = (grid - shift[:, :, None, None]) / scale[:, :, None, None, None]
    moved = HALF_PIXEL.sample(layers.flatten(0, 1), places.flatten(0, 1), "border", "bicubic")
    return moved.clamp(0, 1).view_as(layers)
