"""The trunk of the motion transformer: parallel branches that keep a high resolution (HRNet; Sun et al., CVPR 2019).

Layout and parameter names are those of the published HRNet, cut after its third stage.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.resnet import BasicBlock, projection

BLOCKS = 4
"""Residual blocks in a row, at the full width and in each branch."""

FUSIONS = 4
"""Fusions of all three branches in the third stage."""


class HighResolutionTrunk(nn.Module):
    """Image to features at a quarter of its size that have also seen a half and a quarter of that.

    Args:
        widths: channels of the branches at H/4, H/8 and H/16.
        stem_width: channels of the first two convolutions.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (32, 64, 128), stem_width: int = 64) -> None:
        super().__init__()
        full = 4 * stem_width
        self.conv1 = nn.Conv2d(3, stem_width, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem_width)
        self.conv2 = nn.Conv2d(stem_width, stem_width, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(stem_width)
        self.layer1 = nn.Sequential(
            Bottleneck(stem_width, stem_width), *(Bottleneck(full, stem_width) for _ in range(BLOCKS - 1))
        )
        self.transition1 = nn.ModuleList([_convolution(full, widths[0]), nn.Sequential(_convolution(full, widths[1], stride=2))])
        self.stage2 = nn.Sequential(FusionModule(widths[:2]))
        lowest = nn.Sequential(_convolution(widths[1], widths[2], stride=2))
        self.transition2 = nn.ModuleList([nn.Identity(), nn.Identity(), lowest])
        self.stage3 = nn.Sequential(*(FusionModule(widths) for _ in range(FUSIONS - 1)), FusionModule(widths, outputs=1))
        self.out_channels = widths[0]

    def forward(self, image: Tensor) -> Tensor:
        """Image `[B, 3, H, W]` in [0, 1], sides multiples of 16, to `[B, out_channels, H/4, W/4]`."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = self.layer1(F.relu(self.bn2(self.conv2(x))))
        high, middle = self.stage2([transition(x) for transition in self.transition1])
        # The new branch grows out of the lowest one there is.
        (out,) = self.stage3([high, middle, self.transition2[2](middle)])
        return out


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution to four times the inner width, and a shortcut; ReLU after the sum."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = projection(in_channels, 4 * channels, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x)))


class FusionModule(nn.Module):
    """Residual blocks in each branch, then each branch adds what all others know.

    Args:
        widths: channels of the branches, from the highest resolution down, each half as large as the one before.
        outputs: how many branches are wanted, from the highest on; None: all.
    """

    def __init__(self, widths: Sequence[int], outputs: int | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(BasicBlock(width, width) for _ in range(BLOCKS))) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(widths, origin, target) for origin in range(len(widths)))
            for target in range(outputs or len(widths))
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """`[B, widths[i], h / 2^i, w / 2^i]` of each branch to the same of the wanted branches."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for exchanges in self.fuse_layers:
            assert isinstance(exchanges, nn.ModuleList)
            terms = [exchange(x) for exchange, x in zip(exchanges, features, strict=True)]
            fused.append(F.relu(sum(terms[1:], start=terms[0])))
        return fused


def _convolution(in_channels: int, out_channels: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """3x3 convolution, batch norm and, if wanted, ReLU."""
    layers = [nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def _exchange(widths: Sequence[int], origin: int, target: int) -> nn.Module:
    """Brings features of one branch to the size and width of another."""
    if origin == target:
        return nn.Identity()
    if origin > target:
        return nn.Sequential(
            nn.Conv2d(widths[origin], widths[target], 1, bias=False),
            nn.BatchNorm2d(widths[target]),
            nn.Upsample(scale_factor=2 ** (origin - target), mode="nearest"),
        )
    same = [_convolution(widths[origin], widths[origin], stride=2) for _ in range(target - origin - 1)]
    return nn.Sequential(*same, _convolution(widths[origin], widths[target], stride=2, relu=False))
