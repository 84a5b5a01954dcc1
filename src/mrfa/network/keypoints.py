"""Keypoints and the detector of the affine prior (paper 3.1)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.config import AffineDetectorConfig
from mrfa.network.geometry import full_precision, identity_grid
from mrfa.network.layers import AntiAliasDownsample, DownBlock, Hourglass


class Keypoints(NamedTuple):
    """All that the network knows of a face's pose and expression.

    Attributes:
        positions: `[B, K, 2]`, (x, y), normalised to [-1, 1].
        affine: `[B, K, 2, 2]`, the map from the abstract reference to the picture around each keypoint, or None where the
            prior has none.
    """

    positions: Tensor
    affine: Tensor | None


def halves(keypoints: Keypoints) -> tuple[Keypoints, Keypoints]:
    """Keypoints of a doubled batch as two."""
    first, second = keypoints.positions.chunk(2)
    if keypoints.affine is None:
        return Keypoints(first, None), Keypoints(second, None)
    affine_first, affine_second = keypoints.affine.chunk(2)
    return Keypoints(first, affine_first), Keypoints(second, affine_second)


class PoseHead(nn.Sequential):
    """Correction of each keypoint's affine map by what the coarsest features say of the whole picture; not in the paper.

    A turn of the head shows in the whole picture rather than at a single place. It is zero at first, so it can be added to a
    trained network.

    Args:
        channels: of the coarsest features.
        width: of the hidden layer.
        keypoints: K.
    """

    REDUCED = 32
    SIDE = 4

    def __init__(self, channels: int, *, width: int, keypoints: int) -> None:
        last = nn.Linear(width, 4 * keypoints)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(
            nn.AdaptiveAvgPool2d(self.SIDE),
            nn.Conv2d(channels, self.REDUCED, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(self.REDUCED * self.SIDE**2, width),
            nn.ReLU(inplace=True),
            last,
        )


class AffineDetector(nn.Module):
    """Hourglass, softmax heatmaps, expected positions, and an affine map weighted by each heatmap.

    One map of four channels is shared by all keypoints: each reads it under its own heatmap. Without a prior (Eq. 8) there
    are only positions. With `pose_width` a `PoseHead` corrects the affine maps.
    """

    def __init__(self, config: AffineDetectorConfig, *, affine: bool = True) -> None:
        super().__init__()
        self.temperature = config.temperature
        self.downsample = AntiAliasDownsample(config.image_divisor)
        widths = [3, *config.stem_widths]
        self.stem = nn.Sequential(*(DownBlock(widths[i], widths[i + 1]) for i in range(len(config.stem_widths))))
        self.hourglass = Hourglass(
            widths[-1],
            width=config.width,
            blocks=config.blocks,
            max_width=config.max_width,
            residual_levels=config.residual_levels,
        )
        kernel, padding = config.head_kernel, config.head_padding
        self.heatmap_head = nn.Conv2d(self.hourglass.out_channels, config.keypoints, kernel, padding=padding)
        self.affine_head: nn.Conv2d | None = None
        if affine:
            self.affine_head = nn.Conv2d(self.hourglass.out_channels, 4, kernel, padding=padding)
            nn.init.zeros_(self.affine_head.weight)
            with torch.no_grad():
                assert self.affine_head.bias is not None
                self.affine_head.bias.copy_(torch.eye(2).flatten())
        self.pose_head: PoseHead | None = None
        if affine and config.pose_width:
            self.pose_head = PoseHead(self.hourglass.coarsest_channels, width=config.pose_width, keypoints=config.keypoints)

    def forward(self, image: Tensor) -> Keypoints:
        """Image `[B, 3, H, W]` in [0, 1] to keypoints."""
        levels = self.hourglass.encode(self.stem(self.downsample(image)))
        features = self.hourglass.decode(levels)
        logits = self.heatmap_head(features).float()
        grid = identity_grid(logits.shape[2], logits.shape[3], logits).view(-1, 2)
        heatmaps = torch.softmax(logits.flatten(2) / self.temperature, dim=-1)
        maps = None if self.affine_head is None else self.affine_head(features).float()
        with full_precision(heatmaps):
            positions = heatmaps @ grid
            if maps is None:
                return Keypoints(positions, None)
            affine = heatmaps @ maps.flatten(2).transpose(1, 2)
        if self.pose_head is not None:
            affine = affine + self.pose_head(levels[-1]).float().view_as(affine)
        return Keypoints(positions, affine.unflatten(-1, (2, 2)))
