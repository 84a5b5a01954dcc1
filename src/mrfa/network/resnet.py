"""ResNet-18 (He et al., 2016), the trunk of the thin-plate detector and of the background predictor.

Layout and parameter names are those of torchvision, so that weights in its format fit.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.geometry import full_precision


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """Shortcut by a 1x1 convolution and batch norm, or None where the identity fits."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ReLU after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = projection(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet18(nn.Module):
    """ResNet-18 with any number of input channels and outputs.

    Args:
        in_channels: channels of the input, 3 for one image.
        outputs: values of the last, linear layer.
        width: channels of the first stage; doubles with each of the other three.
    """

    def __init__(self, in_channels: int, outputs: int, *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width))
        self.fc = nn.Linear(8 * width, outputs)

    def forward(self, image: Tensor) -> Tensor:
        """Images `[B, in_channels, H, W]` of any size to `[B, outputs]`; positions and maps, so always in float32."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        with full_precision(x):
            return self.fc(x.float().mean((2, 3)))
