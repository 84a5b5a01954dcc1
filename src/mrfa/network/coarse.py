"""Part flows, composition mask, coarse flow and occlusion (paper 3.1, Eq. 1 to 3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.config import CoarseConfig
from mrfa.network.geometry import CONSISTENT, Conventions, gaussian_heatmaps, identity_grid, invert_2x2, sample
from mrfa.network.keypoints import Keypoints
from mrfa.network.layers import Hourglass


class CoarseMotion(NamedTuple):
    """Motion that the prior alone explains, at a quarter of the image size.

    Attributes:
        flow: `[B, h, w, 2]`, backward flow F0 (Eq. 3), normalised.
        occlusion: `[B, 1, h, w]`, logits; after a sigmoid 1 means visible in the source.
        mask: `[B, K+1, h, w]`, share of each part flow, the background first; sums to 1. None where the motion starts without
            a prior (Eq. 8).
    """

    flow: Tensor
    occlusion: Tensor
    mask: Tensor | None


def affine_part_flows(source: Keypoints, driving: Keypoints, height: int, width: int) -> Tensor:
    """Backward flow of the background and of each keypoint's surroundings (Eq. 1 and 2): `[B, K+1, h, w, 2]`."""
    assert source.affine is not None and driving.affine is not None
    batch = driving.positions.shape[0]
    grid = identity_grid(height, width, driving.positions)
    relative = grid.view(1, 1, -1, 2) - driving.positions[:, :, None]
    maps = source.affine @ invert_2x2(driving.affine)
    parts = relative @ maps.transpose(-1, -2) + source.positions[:, :, None]
    background = grid.expand(batch, 1, -1, -1, -1)
    return torch.cat([background, parts.unflatten(2, (height, width))], dim=1)


class DenseMotion(nn.Module):
    """Composes the part flows by a mask that it predicts from heatmap differences and part-warped sources."""

    def __init__(self, config: CoarseConfig, keypoints: int, conventions: Conventions = CONSISTENT) -> None:
        super().__init__()
        self.conventions = conventions
        self.variance = config.heatmap_variance
        parts = keypoints + 1
        self.hourglass = Hourglass(
            4 * parts, width=config.width, blocks=config.blocks, max_width=config.max_width
        )
        kernel = config.head_kernel
        self.mask_head = nn.Conv2d(self.hourglass.out_channels, parts, kernel, padding=kernel // 2)
        self.occlusion_head = nn.Conv2d(self.hourglass.out_channels, 1, kernel, padding=kernel // 2)

    def forward(self, thumbnail: Tensor, source: Keypoints, driving: Keypoints) -> CoarseMotion:
        """Source image at a quarter of its size `[B, 3, h, w]` and both keypoints to the coarse motion."""
        height, width = thumbnail.shape[2:]
        part_flows = affine_part_flows(source, driving, height, width)
        features = self.hourglass(self._evidence(thumbnail, source, driving, part_flows))
        mask = torch.softmax(self.mask_head(features).float(), dim=1)
        flow = (mask[..., None] * part_flows).sum(1)
        return CoarseMotion(flow, self.occlusion_head(features).float(), mask)

    def _evidence(self, thumbnail: Tensor, source: Keypoints, driving: Keypoints, part_flows: Tensor) -> Tensor:
        """(heatmap difference, R, G, B) of the background and each keypoint: `[B, 4(K+1), h, w]`."""
        batch, parts, height, width, _ = part_flows.shape
        difference = gaussian_heatmaps(driving.positions, (height, width), self.variance) - gaussian_heatmaps(
            source.positions, (height, width), self.variance
        )
        difference = torch.cat([torch.zeros_like(difference[:, :1]), difference], dim=1)
        # One sampling whose "height" runs over all parts, instead of a copy of the picture for each part.
        flows = part_flows.reshape(batch, parts * height, width, 2)
        warped = sample(thumbnail, flows, corner_aligned=self.conventions.corner_aligned_warps)
        warped = warped.unflatten(2, (parts, height)).transpose(1, 2)
        return torch.cat([difference[:, :, None], warped], dim=2).flatten(1, 2)
