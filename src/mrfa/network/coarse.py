"""Composition mask, coarse flow and occlusion (paper 3.1, Eq. 3), for all priors."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.config import CoarseConfig, DetectorConfig
from mrfa.network.geometry import Conventions
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


class DenseMotion(nn.Module):
    """Composes the part flows by a mask that it predicts from heatmap differences and part-warped sources.

    Args:
        config: sizes.
        detector: of which come the part flows, for their number and that of the keypoints.
        conventions: of positions and flows.
        exact_part_warps: see `Detector`.

    Attributes:
        dropout: probability of leaving a part out while training, for the thin-plate prior; the training run sets it.
    """

    def __init__(
        self, config: CoarseConfig, detector: DetectorConfig, conventions: Conventions, *, exact_part_warps: bool
    ) -> None:
        super().__init__()
        self.variance = config.heatmap_variance
        self.dropout = 0.0
        self.conventions = conventions
        self.sample = conventions.sample if exact_part_warps else conventions.sample_coarsely
        parts = detector.parts + 1
        self.hourglass = Hourglass(
            detector.keypoints + 1 + 3 * parts, width=config.width, blocks=config.blocks, max_width=config.max_width
        )
        kernel = config.head_kernel
        self.mask_head = nn.Conv2d(self.hourglass.out_channels, parts, kernel, padding=kernel // 2)
        self.occlusion_head = nn.Conv2d(self.hourglass.out_channels, 1, kernel, padding=kernel // 2)

    def forward(self, thumbnail: Tensor, source: Tensor, driving: Tensor, part_flows: Tensor) -> CoarseMotion:
        """Coarse motion of a pair.

        Args:
            thumbnail: source image at a quarter of its size, `[B, 3, h, w]`.
            source: keypoints of the source image, `[B, K, 2]`, normalised.
            driving: those of the driving image.
            part_flows: of the detector, `[B, parts + 1, h, w, 2]`, normalised, the background first.
        """
        logits, occlusion = self.heads(self.hourglass(self._evidence(thumbnail, source, driving, part_flows)))
        dropped = self.training and self.dropout > 0
        mask = dropped_softmax(logits, self.dropout) if dropped else torch.softmax(logits, dim=1)
        flow = (mask[..., None] * part_flows).sum(1)
        return CoarseMotion(flow, occlusion, mask)

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the mask, `[B, parts + 1, h, w]`, and of the occlusion, `[B, 1, h, w]`, from the hourglass's output."""
        return self.mask_head(features).float(), self.occlusion_head(features).float()

    def _evidence(self, thumbnail: Tensor, source: Tensor, driving: Tensor, part_flows: Tensor) -> Tensor:
        """Heatmap differences of all keypoints, and the picture warped by each part flow.

        Where each part has one keypoint, `[B, 4(K+1), h, w]`: heatmap, R, G, B of the background and of each keypoint; where it
        has several, all heatmaps and then all pictures.
        """
        batch, parts, height, width, _ = part_flows.shape
        driving_heatmaps, source_heatmaps = (
            self.conventions.heatmaps(positions, (height, width), self.variance) for positions in (driving, source)
        )
        difference = driving_heatmaps - source_heatmaps
        difference = torch.cat([torch.zeros_like(difference[:, :1]), difference], dim=1)
        # One sampling whose "height" runs over all parts, instead of a copy of the picture for each part.
        warped = self.sample(thumbnail, part_flows.reshape(batch, parts * height, width, 2))
        warped = warped.unflatten(2, (parts, height)).transpose(1, 2)
        if difference.shape[1] != parts:
            return torch.cat([difference, warped.flatten(1, 2)], dim=1)
        return torch.cat([difference[:, :, None], warped], dim=2).flatten(1, 2)


def dropped_softmax(logits: Tensor, probability: float) -> Tensor:
    """Composition mask of which each part but the background is left out at random, for a whole picture at a time.

    Without it a few splines do all the work early in training. Parts that stay count 1 / (1 - probability) times as much, so
    that the expected sum in the denominator is that of the plain softmax.

    Args:
        logits: `[B, parts + 1, h, w]`, the background first.
        probability: of dropping a part, in [0, 1); 0 gives the plain softmax.

    Returns:
        `[B, parts + 1, h, w]`, non-negative, with sum 1 over the parts.

    Raises:
        ValueError: a probability outside [0, 1).
    """
    if not 0 <= probability < 1:
        raise ValueError(f"the dropout probability must be at least 0 and below 1, got {probability}")
    logits = logits.float()
    drawn = torch.rand(logits.shape[0], logits.shape[1] - 1, 1, 1, device=logits.device)
    kept = (drawn >= probability) / (1 - probability)
    factors = torch.cat([torch.ones_like(kept[:, :1]), kept], dim=1)
    # The logarithm of 0 is -inf, a weight of exactly 0 in the softmax.
    return torch.softmax(logits + torch.log(factors), dim=1)
