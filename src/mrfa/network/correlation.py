"""Structure encoders, correlation volume, its pyramid and the lookup (paper 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.config import CorrelationConfig
from mrfa.network.geometry import Conventions, at_least_float, full_precision, ratio_of_gaps
from mrfa.network.layers import Hourglass


class StructureEncoder(nn.Module):
    """Hourglass on keypoint heatmaps, and on the image too for the source, ending in a 1x1 convolution."""

    def __init__(self, in_channels: int, config: CorrelationConfig) -> None:
        super().__init__()
        self.hourglass = Hourglass(in_channels, width=config.width, blocks=config.blocks, max_width=config.max_width)
        self.head = nn.Conv2d(self.hourglass.out_channels, config.channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, h, w]` to structure features `[B, channels, h, w]`."""
        return self.head(self.hourglass(x))


class StructureEncoders(nn.Module):
    """The driving encoder sees keypoints alone; the source encoder sees keypoints and, but in one variant, the picture."""

    def __init__(self, config: CorrelationConfig, keypoints: int, conventions: Conventions) -> None:
        super().__init__()
        self.conventions = conventions
        self.variance = config.heatmap_variance
        size = config.embedding_size
        self.position_embedding = nn.Parameter(torch.randn(1, keypoints, size, size) * 0.02)
        self.driving = StructureEncoder(keypoints, config)
        self.source_image = config.source_image
        self.source = StructureEncoder(keypoints + (3 if config.source_image else 0), config)

    def encode_driving(self, positions: Tensor, size: tuple[int, int]) -> Tensor:
        """Driving keypoints `[B, K, 2]` to structure features `[B, C, h, w]`."""
        return self.driving(self._heatmaps(positions, size))

    def encode_source(self, positions: Tensor, thumbnail: Tensor) -> Tensor:
        """Source keypoints `[B, K, 2]` and picture `[B, 3, h, w]` to structure features `[B, C, h, w]`."""
        height, width = thumbnail.shape[2:]
        heatmaps = self._heatmaps(positions, (height, width))
        return self.source(torch.cat([heatmaps, thumbnail], dim=1) if self.source_image else heatmaps)

    def _heatmaps(self, positions: Tensor, size: tuple[int, int]) -> Tensor:
        heatmaps = self.conventions.heatmaps(positions, size, self.variance)
        return heatmaps + self.conventions.resize(self.position_embedding, size)


class CorrelationVolume:
    """Inner products of driving and source structure features, looked up around a flow.

    The volume's rows are driving positions, its columns source positions, scaled by 1/sqrt(C). Pooling is linear, so a
    volume pooled over driving positions is the volume of pooled driving features, and each level of the pyramid is the
    volume of pooled source features: nothing larger than what is looked up is ever computed.
    """

    def __init__(
        self,
        driving: Tensor,
        source: Tensor,
        *,
        radius: int,
        pyramid_levels: int,
        conventions: Conventions,
    ) -> None:
        self.driving = driving * driving.shape[1] ** -0.5
        self.radius = radius
        self.conventions = conventions
        self.sources = [source]
        for _ in range(pyramid_levels):
            self.sources.append(F.avg_pool2d(self.sources[-1], 2))
        self._full: list[Tensor] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the volume's driving side."""
        return self.driving.shape[2], self.driving.shape[3]

    def lookup(self, flow: Tensor) -> Tensor:
        """Patches of (2r+1)^2 values a level around where the flow points to.

        Args:
            flow: `[B, h', w', 2]`, normalised, at the volume's resolution or below it.

        Returns:
            `[B, (P+1)(2r+1)^2, h', w']`, levels first, then rows and columns of the patch (columns and rows where the
            conventions say so).
        """
        height, width = flow.shape[1:3]
        levels = self._volumes((height, width))
        return torch.cat([self._patch(volume, flow) for volume in levels], dim=-1).permute(0, 3, 1, 2)

    def attention_flow(self) -> Tensor:
        """Expected source position under each row's softmax (Eq. 8): `[B, h, w, 2]`, normalised."""
        height, width = self.size
        volume = self._volumes(self.size)[0].float().flatten(2)
        source = self.sources[0]
        grid = self.conventions.grid(source.shape[2], source.shape[3], source).view(-1, 2)
        with full_precision(volume):
            return (torch.softmax(volume, dim=-1) @ grid).unflatten(1, (height, width))

    def _volumes(self, size: tuple[int, int]) -> list[Tensor]:
        """One volume a level, `[B, h'w', h_l, w_l]`; that of full size is kept for the iterations above it."""
        if size != self.size:
            return self._multiply(F.adaptive_avg_pool2d(self.driving, size))
        if self._full is None:
            self._full = self._multiply(self.driving)
        return self._full

    def _multiply(self, driving: Tensor) -> list[Tensor]:
        rows = _rows(driving)
        return [torch.bmm(rows, _rows(source).transpose(1, 2)).unflatten(2, source.shape[2:]) for source in self.sources]

    def _patch(self, volume: Tensor, flow: Tensor) -> Tensor:
        """`[B, h', w', (2r+1)^2]` values around the flow, zero outside the source.

        All positions of a patch lie equally far between those of the volume, so that neighbours are read once, in a window that
        is wider by one.
        """
        batch, rows, height, width = volume.shape
        centre = flow
        if not self.conventions.exact_lookup:
            centre = (flow + 1) * ratio_of_gaps(flow.shape[1:3], (height, width), flow) - 1
        centre = self.conventions.to_pixels(centre, (height, width)).view(batch, rows, 2)
        low = centre.floor()
        steps = torch.arange(-self.radius, self.radius + 2, device=flow.device)
        x, y = (low.long()[..., None] + steps).unbind(2)
        inside = ((y >= 0) & (y < height))[..., :, None] & ((x >= 0) & (x < width))[..., None, :]
        index = y.clamp(0, height - 1)[..., :, None] * width + x.clamp(0, width - 1)[..., None, :]
        values = at_least_float(volume.flatten(2).gather(2, index.flatten(2)))
        window = values.unflatten(2, index.shape[2:]) * inside
        across, down = (centre - low)[..., None, None].unbind(2)
        window = torch.lerp(window[..., :-1], window[..., 1:], across)
        window = torch.lerp(window[..., :-1, :], window[..., 1:, :], down)
        if not self.conventions.row_first_patches:
            window = window.transpose(2, 3)
        return window.flatten(2).to(volume.dtype).view(batch, *flow.shape[1:3], -1)


def _rows(features: Tensor) -> Tensor:
    """`[B, C, h, w]` to `[B, h * w, C]`, without a copy, whether or not channels come last in memory."""
    return features.permute(0, 2, 3, 1).flatten(1, 2)
