"""Keypoints, what a prior makes of them, and the detector of the affine prior (paper 3.1, Eq. 1 and 2)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.background import background_flow
from mrfa.network.config import AffineDetectorConfig
from mrfa.network.geometry import Conventions, full_precision, invert_2x2
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

    def part(self, pictures: slice) -> "Keypoints":
        """Those of some of the pictures."""
        return Keypoints(self.positions[pictures], None if self.affine is None else self.affine[pictures])

    def towards(self, other: "Keypoints", share: float) -> "Keypoints":
        """Those that lie so far on the way to others, 0 to 1."""
        positions = torch.lerp(self.positions, other.positions, share)
        if self.affine is None or other.affine is None:
            return Keypoints(positions, None)
        return Keypoints(positions, torch.lerp(self.affine, other.affine, share))

    def to(self, device: torch.device | str) -> "Keypoints":
        """The same on a device, in float32."""
        affine = None if self.affine is None else self.affine.to(device, torch.float32)
        return Keypoints(self.positions.to(device, torch.float32), affine)


def halves(keypoints: Keypoints) -> tuple[Keypoints, Keypoints]:
    """Keypoints of a doubled batch as two."""
    first, second = keypoints.positions.chunk(2)
    if keypoints.affine is None:
        return Keypoints(first, None), Keypoints(second, None)
    affine_first, affine_second = keypoints.affine.chunk(2)
    return Keypoints(first, affine_first), Keypoints(second, affine_second)


def stack_keypoints(keypoints: Iterable[Keypoints]) -> Keypoints:
    """Keypoints `[B_i, K, 2]` of several pictures as one batch."""
    parts = list(keypoints)
    affine = [part.affine for part in parts if part.affine is not None]
    positions = torch.cat([part.positions for part in parts])
    return Keypoints(positions, torch.cat(affine) if len(affine) == len(parts) else None)


class Detector(nn.Module):
    """A prior: a keypoint detector, and the flows of the parts that its keypoints stand for.

    As it stands, each keypoint is a part that moves by an affine map; a prior whose parts move otherwise overrides the methods.

    Args:
        conventions: of all positions and flows.

    Attributes:
        exact_part_warps: pictures are warped by part flows as `Conventions.sample` does, otherwise as `sample_coarsely`.
    """

    exact_part_warps = False

    def __init__(self, conventions: Conventions) -> None:
        super().__init__()
        self.conventions = conventions

    def forward(self, image: Tensor) -> Keypoints:
        """Image `[B, 3, H, W]` in [0, 1] to keypoints."""
        raise NotImplementedError

    def part_flows(self, source: Keypoints, driving: Keypoints, size: Sequence[int], background: Tensor | None = None) -> Tensor:
        """Backward flow of the background and of each part: `[B, parts + 1, h, w, 2]`, normalised, the background first.

        Args:
            source, driving: keypoints of both images, `[B, K, 2]`.
            size: (h, w) of the flows.
            background: affine map of the background, `[B, 3, 3]`; None: it stands still.
        """
        parts = affine_part_flows(source, driving, size, self.conventions)
        return torch.cat([self.still_flow(driving, size, background)[:, None], parts], dim=1)

    def structure_positions(self, keypoints: Keypoints) -> Tensor:
        """What the structure encoders see, a position a part: `[B, parts, 2]`, normalised."""
        return keypoints.positions

    def still_flow(self, driving: Keypoints, size: Sequence[int], background: Tensor | None) -> Tensor:
        """Backward flow of the background, `[B, h, w, 2]`, by its affine map or, where that is None, of no motion."""
        if background is not None:
            return background_flow(background, size, self.conventions)
        return self.conventions.grid(size[0], size[1], driving.positions).expand(driving.positions.shape[0], -1, -1, -1)


def affine_part_flows(source: Keypoints, driving: Keypoints, size: Sequence[int], conventions: Conventions) -> Tensor:
    """Backward flow of each keypoint's surroundings (Eq. 1): `[B, K, h, w, 2]`, normalised.

    Args:
        source, driving: keypoints with affine maps, `[B, K, 2]` and `[B, K, 2, 2]`.
        size: (h, w) of the flows.
        conventions: of positions and flows.
    """
    assert source.affine is not None and driving.affine is not None
    grid = conventions.grid(size[0], size[1], driving.positions)
    with full_precision(grid):
        relative = grid.view(1, 1, -1, 2) - driving.positions[:, :, None]
        maps = source.affine.float() @ invert_2x2(driving.affine)
        parts = relative @ maps.transpose(-1, -2) + source.positions[:, :, None]
    return parts.unflatten(2, tuple(size))


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


class AffineDetector(Detector):
    """Hourglass, softmax heatmaps, expected positions, and an affine map weighted by each heatmap.

    One map of four channels is shared by all keypoints: each reads it under its own heatmap. Without a prior (Eq. 8) there
    are only positions. With `pose_width` a `PoseHead` corrects the affine maps.
    """

    def __init__(self, config: AffineDetectorConfig, conventions: Conventions, *, affine: bool) -> None:
        super().__init__(conventions)
        self.temperature = config.temperature
        self.downsample = AntiAliasDownsample(config.image_divisor, cell_centred=not conventions.corner_aligned)
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
        self.margin = kernel // 2 - padding
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
        logits, maps = self.heads(self.hourglass.decode(levels))
        heatmaps = torch.softmax(logits.flatten(2) / self.temperature, dim=-1)
        positions = _expectation(heatmaps, self._heatmap_grid(logits))
        if maps is None:
            return Keypoints(positions, None)
        affine = _expectation(heatmaps, maps.flatten(2).transpose(1, 2))
        if self.pose_head is not None:
            affine = affine + self.pose_head(levels[-1]).float().view_as(affine)
        return Keypoints(positions, affine.unflatten(-1, (2, 2)))

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of the heatmaps, `[B, K, h, w]`, and the affine map, `[B, 4, h, w]`, from the hourglass's output."""
        return self.heatmap_head(features).float(), None if self.affine_head is None else self.affine_head(features)

    def _heatmap_grid(self, heatmaps: Tensor) -> Tensor:
        """Normalised position of each value of heatmaps `[B, K, h, w]`, `[h * w, 2]`.

        Without padding heatmaps are smaller than the features. In corner-aligned models they span the picture all the same.
        """
        height, width = heatmaps.shape[2:]
        if self.conventions.corner_aligned:
            return self.conventions.grid(height, width, heatmaps).view(-1, 2)
        margin = self.margin
        grid = self.conventions.grid(height + 2 * margin, width + 2 * margin, heatmaps)
        return grid[margin : margin + height, margin : margin + width].reshape(-1, 2)


def _expectation(heatmaps: Tensor, values: Tensor) -> Tensor:
    """Mean of values `[.., n, C]` under each heatmap `[B, K, n]`: `[B, K, C]`, always in float32."""
    with full_precision(heatmaps):
        return heatmaps @ values.float()
