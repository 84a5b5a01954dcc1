"""Part flows, composition mask, coarse flow and occlusion (paper 3.1, Eq. 1 to 3), for all three priors."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.background import background_flow
from mrfa.network.config import CoarseConfig, DetectorConfig
from mrfa.network.geometry import CONSISTENT, Conventions, full_precision, gaussian_heatmaps, identity_grid, invert_2x2, sample
from mrfa.network.keypoints import Keypoints
from mrfa.network.layers import Hourglass
from mrfa.network.thin_plate import dropped_softmax, thin_plate_part_flows


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


def affine_part_flows(source: Keypoints, driving: Keypoints, height: int, width: int, background: Tensor | None = None) -> Tensor:
    """Backward flow of the background and of each keypoint's surroundings (Eq. 1 and 2).

    Args:
        source: keypoints with affine maps, `[B, K, 2]` and `[B, K, 2, 2]`.
        driving: those of the driving image.
        height: rows of the flow.
        width: columns of the flow.
        background: affine map of the background, `[B, 3, 3]`; None: it stands still.

    Returns:
        `[B, K+1, h, w, 2]`, normalised, the background first.
    """
    assert source.affine is not None and driving.affine is not None
    batch = driving.positions.shape[0]
    grid = identity_grid(height, width, driving.positions)
    relative = grid.view(1, 1, -1, 2) - driving.positions[:, :, None]
    with full_precision(grid):
        maps = source.affine @ invert_2x2(driving.affine)
        parts = relative @ maps.transpose(-1, -2) + source.positions[:, :, None]
    still = grid.expand(batch, -1, -1, -1) if background is None else background_flow(background, height, width)
    return torch.cat([still[:, None], parts.unflatten(2, (height, width))], dim=1)


class DenseMotion(nn.Module):
    """Composes the part flows by a mask that it predicts from heatmap differences and part-warped sources.

    Attributes:
        dropout: probability of leaving a part out while training, for the thin-plate prior; the training run sets it.
    """

    def __init__(self, config: CoarseConfig, detector: DetectorConfig, conventions: Conventions = CONSISTENT) -> None:
        super().__init__()
        self.variance = config.heatmap_variance
        self.groups = detector.groups if detector.kind == "thin_plate" else None
        self.dropout = 0.0
        self.corner_aligned = conventions.corner_aligned_warps or detector.kind == "thin_plate"
        parts = detector.parts + 1
        self.hourglass = Hourglass(
            detector.keypoints + 1 + 3 * parts, width=config.width, blocks=config.blocks, max_width=config.max_width
        )
        kernel = config.head_kernel
        self.mask_head = nn.Conv2d(self.hourglass.out_channels, parts, kernel, padding=kernel // 2)
        self.occlusion_head = nn.Conv2d(self.hourglass.out_channels, 1, kernel, padding=kernel // 2)

    def forward(self, thumbnail: Tensor, source: Keypoints, driving: Keypoints, background: Tensor | None = None) -> CoarseMotion:
        """Coarse motion of a pair.

        Args:
            thumbnail: source image at a quarter of its size, `[B, 3, h, w]`.
            source: keypoints of the source image.
            driving: keypoints of the driving image.
            background: affine map of the background, `[B, 3, 3]`; None: it stands still.
        """
        height, width = thumbnail.shape[2:]
        part_flows = self._part_flows(source, driving, height, width, background)
        features = self.hourglass(self._evidence(thumbnail, source, driving, part_flows))
        logits = self.mask_head(features).float()
        dropped = self.training and self.dropout > 0
        mask = dropped_softmax(logits, self.dropout) if dropped else torch.softmax(logits, dim=1)
        flow = (mask[..., None] * part_flows).sum(1)
        return CoarseMotion(flow, self.occlusion_head(features).float(), mask)

    def _part_flows(self, source: Keypoints, driving: Keypoints, height: int, width: int, background: Tensor | None) -> Tensor:
        if self.groups is None:
            return affine_part_flows(source, driving, height, width, background)
        return thin_plate_part_flows(
            source.positions,
            driving.positions,
            groups=self.groups,
            height=height,
            width=width,
            background=background,
        )

    def _evidence(self, thumbnail: Tensor, source: Keypoints, driving: Keypoints, part_flows: Tensor) -> Tensor:
        """Heatmap differences of all keypoints, and the picture warped by each part flow.

        `[B, 4(K+1), h, w]`, heatmap, R, G, B of the background and each keypoint; where a part has several keypoints, all
        heatmaps and then all pictures.
        """
        batch, parts, height, width, _ = part_flows.shape
        difference = gaussian_heatmaps(driving.positions, (height, width), self.variance) - gaussian_heatmaps(
            source.positions, (height, width), self.variance
        )
        difference = torch.cat([torch.zeros_like(difference[:, :1]), difference], dim=1)
        # One sampling whose "height" runs over all parts, instead of a copy of the picture for each part.
        flows = part_flows.reshape(batch, parts * height, width, 2)
        warped = sample(thumbnail, flows, corner_aligned=self.corner_aligned)
        warped = warped.unflatten(2, (parts, height)).transpose(1, 2)
        if self.groups is not None:
            return torch.cat([difference, warped.flatten(1, 2)], dim=1)
        return torch.cat([difference[:, :, None], warped], dim=2).flatten(1, 2)
