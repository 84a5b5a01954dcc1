"""Losses on pictures that need no pretrained weights. None of them is in the paper.

The pyramid loss stands in for the perceptual loss where VGG-19 cannot be had. Plain L1 blurs, because a small error of position
costs less when edges are soft; the bands of the pyramid weigh edges of every size alike, and structural similarity asks for the
right contrast. It knows nothing of faces and is no perceptual loss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.network.geometry import Conventions
from mrfa.network.model import Output
from mrfa.training.losses.regions import weighted_mean

LEVELS = 4
SSIM_WEIGHT = 0.15


def pyramid_loss(image: Tensor, target: Tensor, weight: Tensor, pixel_weight: float = 1.0) -> Tensor:
    """L1 over a Laplacian pyramid, and structural similarity at half the size: a scalar.

    Args:
        image: `[B, 3, H, W]` in [0, 1].
        target: likewise.
        weight: `[B, 1, H, W]`, importance of each pixel.
        pixel_weight: of plain L1, beside the bands.
    """
    difference = image - target
    loss = pixel_weight * weighted_mean(difference.abs(), weight)
    halves = [F.avg_pool2d(x, 2) for x in (image, target, weight)]
    loss = loss + SSIM_WEIGHT * weighted_mean(_dissimilarity(halves[0], halves[1]), halves[2])
    for _ in range(LEVELS):
        small = F.avg_pool2d(difference, 2)
        band = difference - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        loss = loss + weighted_mean(band.abs(), weight)
        difference, weight = small, F.avg_pool2d(weight, 2)
    return loss + weighted_mean(difference.abs(), weight)


def warp_loss(output: Output, source: Tensor, target: Tensor, weight: Tensor, conventions: Conventions) -> Tensor:
    """Mean L1 between the driving picture and the source warped by the coarse flow and by each flow that is as fine or finer.

    It gives the flows a direct signal, which small data sets need; what is hidden in the source counts for little.

    Args:
        output: of the network for the pair.
        source: `[B, 3, H, W]` in [0, 1].
        target: the driving picture, likewise.
        weight: `[B, 1, H, W]`, importance of each pixel.
        conventions: of the network's flows.
    """
    coarse = output.coarse.flow
    warps = [(coarse, conventions.sample_coarsely)]
    warps += [(flow, conventions.sample) for flow in output.motion.flows if flow.shape[1] >= coarse.shape[1]]
    visible = torch.sigmoid(output.coarse.occlusion.detach())
    loss = torch.zeros((), device=weight.device)
    for flow, sample in warps:
        size = flow.shape[1:3]
        small, small_target = conventions.resize(source, size), conventions.resize(target, size)
        importance = conventions.resize(weight, size) * (0.2 + 0.8 * conventions.resize(visible, size))
        warped = sample(small, flow, padding="border")
        loss = loss + weighted_mean((warped - small_target).abs(), importance)
    return loss / len(warps)


def _dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """1 - SSIM at each pixel, over 5x5 boxes: `[B, 3, H, W]`."""

    def mean(value: Tensor) -> Tensor:
        return F.avg_pool2d(value, 5, stride=1, padding=2, count_include_pad=False)

    mean_x, mean_y = mean(x), mean(y)
    variance_x, variance_y = mean(x * x) - mean_x**2, mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return 1 - torch.clamp(similarity, -1, 1)
