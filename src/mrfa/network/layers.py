"""Convolution blocks, hourglass and anti-alias downsampling, shared by all parts of the network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Of batch norms' running statistics: how much of a batch they take over.
MOMENTUM = 0.1


class ConvBlock(nn.Sequential):
    """Convolution, batch norm, ReLU; "same" padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2),
            nn.BatchNorm2d(out_channels, momentum=MOMENTUM),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        convolution, norm, relu = self
        if not self.training or not isinstance(convolution, nn.Conv2d) or convolution.bias is None:
            return super().forward(x)
        # The norm of a batch takes the bias of the convolution away again: it belongs in the running mean alone, which saves two
        # passes over the features here and two on the way back. No gradient is made of the old mean, so autograd need not know.
        assert isinstance(norm.running_mean, Tensor)
        norm.running_mean.data.add_(convolution.bias.detach() * (MOMENTUM / (1 - MOMENTUM)))
        return relu(norm(F.conv2d(x, convolution.weight, padding=convolution.padding)))


class Halve(nn.Module):
    """The mean of every 2x2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]`, sides even, to `[B, C, h / 2, w / 2]`."""
        return _Halved.apply(x) if self.training else F.avg_pool2d(x, 2)


class _Halved(torch.autograd.Function):
    """Average pooling whose gradient is an upsampling: what torch does on a GPU takes five times as long."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)

    @staticmethod
    def setup_context(*unused: object) -> None:
        """The gradient needs nothing of the input."""

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return F.interpolate(gradient / 4, scale_factor=2)


class DownBlock(nn.Sequential):
    """Convolution block, then the mean of every 2x2 pixels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(ConvBlock(in_channels, out_channels), Halve())


class Double(nn.Module):
    """Upsampling to twice the size.

    Args:
        bilinear: instead of repeating each pixel. What repeated pixels have at the highest frequencies, convolutions make a
            comb of where a loss rewards detail.
    """

    def __init__(self, *, bilinear: bool = False) -> None:
        super().__init__()
        self.mode = "bilinear" if bilinear else "nearest"

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, h, w]` to `[B, C, 2h, 2w]`."""
        # Mixed precision would make it float32 for the next convolution to round it again.
        with torch.autocast(x.device.type, enabled=False):
            return F.interpolate(x, scale_factor=2, mode=self.mode)


class UpBlock(nn.Sequential):
    """Upsampling to twice the size, then a convolution block."""

    def __init__(self, in_channels: int, out_channels: int, *, bilinear: bool = False) -> None:
        super().__init__(Double(bilinear=bilinear), ConvBlock(in_channels, out_channels))


class NormFirst(nn.Sequential):
    """Batch norm, ReLU, 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True), nn.Conv2d(in_channels, out_channels, 3, padding=1))


class ResidualBlock(nn.Module):
    """Two pre-activated convolutions with a shortcut (paper 3.3).

    Args:
        channels: of input and output.
        identity: start as the identity.
    """

    def __init__(self, channels: int, *, identity: bool = False) -> None:
        super().__init__()
        self.first = NormFirst(channels, channels)
        self.second = NormFirst(channels, channels)
        if identity:
            for parameter in self.second[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.first(x))


class Hourglass(nn.Module):
    """U-shaped network whose decoder sees the encoder's features of the same size.

    Args:
        in_channels: channels of the input.
        width: channels of the last decoder block; the encoder's widths double from twice this on.
        blocks: halvings.
        max_width: limit of all widths.
        residual_levels: how many of the encoder's finest sizes, that of the input first, get a residual block. It starts as
            the identity, so it can be added to a trained network.
    """

    def __init__(self, in_channels: int, *, width: int, blocks: int, max_width: int, residual_levels: int = 0) -> None:
        super().__init__()
        down = [in_channels, *(min(max_width, width * 2 ** (i + 1)) for i in range(blocks))]
        self.down = nn.ModuleList(DownBlock(down[i], down[i + 1]) for i in range(blocks))
        self.residual = nn.ModuleList(
            ResidualBlock(channels, identity=True) if level < residual_levels else nn.Identity()
            for level, channels in enumerate(down)
        )
        self.up = nn.ModuleList()
        self.coarsest_channels = channels = down[-1]
        for i in reversed(range(blocks)):
            out = min(max_width, width * 2**i)
            self.up.append(UpBlock(channels, out))
            channels = out + down[i]
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, h, w]` to `[B, out_channels, h, w]`; the last channels are the input (after its residual block)."""
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of all sizes, the input's first."""
        features = [self.residual[0](x)]
        for level, block in enumerate(self.down, start=1):
            features.append(self.residual[level](block(features[-1])))
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        """Output from the features of all sizes."""
        *skips, out = features
        for block, skip in zip(self.up, reversed(skips), strict=True):
            out = torch.cat([block(out), skip], dim=1)
        return out


class AntiAliasDownsample(nn.Module):
    """Gaussian blur and subsampling, zero padded; the standard deviation is (divisor - 1) / 2.

    Args:
        divisor: of both sides.
        cell_centred: each value is taken at the middle of the `divisor` x `divisor` pixels that it stands for; otherwise at the
            first of them, on one tap more, as the authors' weights need it.
    """

    kernel: Tensor

    def __init__(self, divisor: int, *, cell_centred: bool) -> None:
        super().__init__()
        self.divisor = divisor
        deviation = (divisor - 1) / 2
        half = round(4 * deviation)
        # Taps around a cell's middle lie between pixels where the divisor is even.
        offset = 0.5 if cell_centred and divisor % 2 == 0 else 0.0
        taps = torch.arange(-half + offset, half + 1 - offset, dtype=torch.float32)
        self.padding = (len(taps) - divisor) // 2 if cell_centred else half
        line = torch.exp(-(taps**2) / (2 * max(deviation, 1e-6) ** 2))
        square = line[:, None] * line[None, :]
        self.register_buffer("kernel", (square / square.sum())[None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """`[B, C, H, W]` to `[B, C, H/divisor, W/divisor]`."""
        if self.divisor == 1:
            return image
        channels = image.shape[1]
        kernel = self.kernel.to(image.dtype).expand(channels, 1, -1, -1)
        return F.conv2d(image, kernel, stride=self.divisor, padding=self.padding, groups=channels)
