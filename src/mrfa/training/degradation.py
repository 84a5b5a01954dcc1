"""What cameras, networks and web pages do to pictures, as augmentation on the device. Not in the paper.

Two kinds. Blur, low resolution and light make a picture's look, which the generated picture should keep: source and target get
the same, the driving picture its own. Noise, banding and compression are damage, which it should not keep: source and driving
picture get it, each its own, and the target stays clean. So nothing of the driving picture but its motion reaches the result.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.config import DegradationConfig

# The strongest of each; strengths are drawn evenly from nothing to these, and for compression between qualities.
BLUR = 1.6  # standard deviation in pixels of 256
RESOLUTIONS = (0.35, 0.5, 0.7)
GRADIENT = 0.35  # of light, from the middle to the brighter edge
TINT = 0.12  # gain of each channel
NOISE = 0.08  # standard deviation
LEVELS = (6, 40)  # grey levels a channel
QUALITIES = (12, 70)  # as libjpeg counts them
CODED_SIZES = (1.0, 0.75, 0.5)  # at which pictures are compressed: a block spans up to 16 pixels

# The example tables of ITU-T T.81 (JPEG), Annex K.1, for quality 50.
_LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
# RGB to luminance and colour differences (ITU-T T.871).
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# Thresholds of ordered dither (Bayer, 1973), in sixteenths.
_BAYER = ((0, 8, 2, 10), (12, 4, 14, 6), (3, 11, 1, 9), (15, 7, 13, 5))


class Look(NamedTuple):
    """How pictures were taken, drawn for each of B.

    Attributes:
        deviation: of the blur, `[B]`, in pixels.
        resolution: share of the side that low pictures have, the same for all that are.
        low: which are, `[B]` bool.
        gain: `[B, 3]` of each channel.
        gradient: `[B, 2]`, growth of the light along x and y, from the middle to the edge.
    """

    deviation: Tensor
    resolution: float
    low: Tensor
    gain: Tensor
    gradient: Tensor

    @staticmethod
    def draw(images: Tensor, config: DegradationConfig) -> "Look":
        """One for each of `[B, 3, H, W]`."""
        blurred, low, lit = (_chosen(images, share) for share in (config.blur, config.resolution, config.light))
        deviation = blurred * torch.rand_like(low, dtype=torch.float) * BLUR * images.shape[-1] / 256
        gain = 1 + lit[:, None] * TINT * _uniform(images, 3)
        gradient = lit[:, None] * GRADIENT * _uniform(images, 2) / math.sqrt(2)
        return Look(deviation, _one_of(RESOLUTIONS), low, gain, gradient)

    def apply(self, images: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in [0, 1] with this look."""
        height, width = images.shape[2:]
        images = _blur(images, self.deviation)
        small = F.interpolate(images, scale_factor=self.resolution, mode="bilinear", antialias=True)
        images = torch.where(_spread(self.low), F.interpolate(small, size=(height, width), mode="bicubic"), images)
        slope = (HALF_PIXEL.grid(height, width, images) * self.gradient[:, None, None]).sum(-1)
        return (images * _spread(self.gain) * (1 + slope)[:, None]).clamp(0, 1)


def damage(images: Tensor, config: DegradationConfig) -> Tensor:
    """Noise, banding and compression, for some of the pictures `[B, 3, H, W]` in [0, 1]."""
    deviation = _chosen(images, config.noise) * NOISE * torch.rand(len(images), device=images.device)
    grey = torch.rand(len(images), device=images.device)  # share of the noise that all channels have in common
    noise = _spread(grey) * torch.randn_like(images[:, :1]) + _spread(1 - grey) * torch.randn_like(images)
    images = (images + _spread(deviation) * noise).clamp(0, 1)
    return _some(_some(images, config.banding, _banded), config.compression, _compressed)


def jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """What JPEG leaves of pictures: blocks of 8x8 are quantised in frequency, colour differences at half the size.

    Args:
        images: `[B, 3, H, W]` in [0, 1].
        quality: `[B]`, in [1, 100], as libjpeg counts it.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (0, -width % 16, 0, -height % 16), mode="replicate")
    to_ycc = torch.tensor(_TO_YCC, device=images.device)
    ycc = torch.einsum("ij,bjhw->bihw", to_ycc, padded)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    luminance = _quantised(ycc[:, :1] - 0.5, _LUMINANCE, scale) + 0.5
    colours = _quantised(F.avg_pool2d(ycc[:, 1:], 2), _CHROMINANCE, scale)
    ycc = torch.cat([luminance, F.interpolate(colours, scale_factor=2, mode="bilinear")], 1)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_ycc), ycc)[..., :height, :width].clamp(0, 1)


def _quantised(planes: Tensor, table: tuple[tuple[int, ...], ...], scale: Tensor) -> Tensor:
    """Planes `[B, C, H, W]`, of sides divisible by 8, after the rounding of their blocks' cosine transforms."""
    count, channels, height, width = planes.shape
    frequency, place = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    basis = torch.cos((2 * place + 1) * frequency * math.pi / 16) / 2
    basis[0] /= math.sqrt(2)
    basis = basis.to(planes.device)
    steps = (torch.tensor(table, device=planes.device) * scale[:, None, None]).round().clamp(1, 255) / 255
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    waves = basis @ blocks @ basis.T
    steps = steps[:, None, None, None]
    blocks = basis.T @ ((waves / steps).round() * steps) @ basis
    return blocks.transpose(3, 4).reshape(planes.shape)


def _compressed(images: Tensor) -> Tensor:
    """Pictures with what their compression at some size adds, its blocks anywhere."""
    low, high = QUALITIES
    quality = low + (high - low) * torch.rand(len(images), device=images.device)
    down, right = (int(value) for value in torch.randint(8, (2,)))
    height, width = images.shape[2:]
    scale = _one_of(CODED_SIZES)
    small = F.interpolate(images, size=(round(scale * height), round(scale * width)), mode="bilinear", antialias=True)
    small = small.roll((down, right), (2, 3))
    change = (jpeg(small, quality) - small).roll((-down, -right), (2, 3))
    return (images + F.interpolate(change, size=(height, width), mode="bilinear")).clamp(0, 1)


def _banded(images: Tensor) -> Tensor:
    """Few grey levels; half of the pictures are dithered."""
    count, _, height, width = images.shape
    low, high = LEVELS
    levels = _spread((low * (high / low) ** torch.rand(count, device=images.device)).round() - 1)
    pattern = (torch.tensor(_BAYER, device=images.device) + 0.5) / 16 - 0.5
    pattern = pattern.repeat(-(-height // 4), -(-width // 4))[:height, :width]
    dither = _spread(_chosen(images, 0.5)) * pattern
    return ((images * levels + dither).round() / levels).clamp(0, 1)


def _blur(images: Tensor, deviation: Tensor) -> Tensor:
    """Gaussian blur of pictures `[B, 3, H, W]`, each with its deviation in pixels; 0: none."""
    radius = math.ceil(3 * BLUR * images.shape[-1] / 256)
    distance = torch.arange(-radius, radius + 1, device=images.device)
    kernels = torch.exp(-(distance**2) / (2 * deviation.clamp_min(0.05)[:, None] ** 2))
    kernels = (kernels / kernels.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    count, _, height, width = images.shape
    planes = images.reshape(1, count * 3, height, width)
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="reflect"), kernels[:, :, None], groups=count * 3)
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="reflect"), kernels[..., None], groups=count * 3)
    return planes.view(images.shape)


def _chosen(images: Tensor, share: float) -> Tensor:
    """A share of the pictures, `[B]` bool."""
    return torch.rand(len(images), device=images.device) < share


def _some(images: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> Tensor:
    """A share of the pictures `[B, 3, H, W]` changed: costly changes are not made of the others.

    They follow each other in the batch, whose order is random, so that only their number need be known.
    """
    count = int(share * len(images) + float(torch.rand(())))
    if not count:
        return images
    start = int(torch.randint(len(images), ()))
    rolled = images.roll(-start, 0)
    return torch.cat([change(rolled[:count]), rolled[count:]]).roll(start, 0)


def _uniform(images: Tensor, columns: int) -> Tensor:
    """`[B, columns]` in [-1, 1]."""
    return torch.rand(len(images), columns, device=images.device) * 2 - 1


def _one_of(values: tuple[float, ...]) -> float:
    return values[int(torch.randint(len(values), ()))]


def _spread(values: Tensor) -> Tensor:
    """`[B]` or `[B, C]` to `[B, 1 or C, 1, 1]`."""
    return values.view(len(values), -1, 1, 1)
