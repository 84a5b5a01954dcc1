"""Convolutional layers of VGG-16, VGG-19 and AlexNet, for losses and metrics.

They read torchvision's weights files without importing torchvision, whose layer numbers they keep.
"""

import os
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.errors import InputError

WEIGHTS_VARIABLE = "MRFA_WEIGHTS"


class Backbone(NamedTuple):
    """A published network.

    Attributes:
        url: of torchvision's weights file.
        layers: its convolutional layers, in order: (width, kernel, stride, padding), "relu", or ("pool", kernel, stride).
        taken: numbers of the layers after which features are taken.
    """

    url: str
    layers: tuple[tuple[int, int, int, int] | tuple[str, int, int] | str, ...]
    taken: tuple[int, ...]


def _vgg(*blocks: tuple[int, int]) -> tuple[tuple[int, int, int, int] | tuple[str, int, int] | str, ...]:
    """3x3 convolutions by block: (width, how many); pooling between the blocks."""
    layers: list[tuple[int, int, int, int] | tuple[str, int, int] | str] = []
    for number, (width, count) in enumerate(blocks):
        layers += [("pool", 2, 2)] * (number > 0) + [(width, 3, 1, 1), "relu"] * count
    return tuple(layers)


_BASE = "https://download.pytorch.org/models/"
# Cut after the last layer that is taken; VGG-19 where the perceptual loss needs it, after relu1_1 .. relu5_1.
BACKBONES = {
    "vgg19": Backbone(_BASE + "vgg19-dcbb9e9d.pth", _vgg((64, 2), (128, 2), (256, 4), (512, 4), (512, 1)), (1, 6, 11, 20, 29)),
    "vgg16": Backbone(_BASE + "vgg16-397923af.pth", _vgg((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), (3, 8, 15, 22, 29)),
    "alexnet": Backbone(
        _BASE + "alexnet-owt-7be5be79.pth",
        (
            *((64, 11, 4, 2), "relu", ("pool", 3, 2)),
            *((192, 5, 1, 2), "relu", ("pool", 3, 2)),
            *((384, 3, 1, 1), "relu", (256, 3, 1, 1), "relu", (256, 3, 1, 1), "relu"),
        ),
        (1, 4, 7, 9, 11),
    ),
}


class FeatureLayers(nn.Module):
    """A backbone's layers, frozen.

    Args:
        name: of `BACKBONES`.
        state_dict: torchvision's weights, `features.0.weight` and so on; what lies beyond is ignored.

    Raises:
        InputError: a weight is missing or has another shape.
    """

    def __init__(self, name: str, state_dict: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = feature_layers(name)
        self.taken = BACKBONES[name].taken
        expected = self.layers.state_dict()
        wanted = {key: state_dict.get(f"features.{key}") for key in expected}
        absent = [key for key, value in wanted.items() if value is None or value.shape != expected[key].shape]
        if absent:
            raise InputError(f"the {name} weights lack features.{absent[0]}: give torchvision's file, {BACKBONES[name].url}")
        self.layers.load_state_dict({key: value for key, value in wanted.items() if value is not None})
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Pictures `[B, 3, H, W]`, normalised as the network wants them, to the features of each level."""
        found = []
        for number, layer in enumerate(self.layers):
            x = layer(x)
            if number in self.taken:
                found.append(x)
        return found


def feature_layers(name: str) -> nn.Sequential:
    """A backbone's layers with random weights, numbered as torchvision numbers them."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in BACKBONES[name].layers:
        if layer == "relu":
            layers.append(nn.ReLU())
        elif layer[0] == "pool":
            layers.append(nn.MaxPool2d(int(layer[1]), int(layer[2])))
        else:
            width, kernel, stride, padding = (int(value) for value in layer)
            layers.append(nn.Conv2d(channels, width, kernel, stride, padding))
            channels = width
    return nn.Sequential(*layers)


def load_backbone(name: str, weights: Path | None = None) -> FeatureLayers:
    """Load a backbone from a weights file, or from wherever `find_weights` finds torchvision's.

    Args:
        name: of `BACKBONES`.
        weights: the file itself, or a folder that holds it under its published name.

    Raises:
        InputError: there is no such file and no network, or it is not this network's.
    """
    path = find_weights(BACKBONES[name].url, weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(f"{path} is not a weights file: {str(error).splitlines()[0]}") from None
    return FeatureLayers(name, state)


def find_weights(url: str, weights: Path | None = None) -> Path:
    """Where a published file lies: as given, in the folder given, in the folder that MRFA_WEIGHTS names, or in torch.hub's cache.

    Where there is a network, it is fetched into that cache.

    Raises:
        InputError: it is nowhere; the message says what to place where.
    """
    name = url.rpartition("/")[2]
    variable = os.environ.get(WEIGHTS_VARIABLE)
    folders = [Path(folder) for folder in (weights, variable) if folder]
    for folder in folders:
        path = folder / name if folder.is_dir() else folder
        if path.is_file():
            return path
    if weights is not None and not weights.is_dir():
        raise InputError(f"no weights at {weights}: get {url}")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / name
    if cached.is_file():
        return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(cached), progress=False)
    except OSError as error:
        places = f"in the folder that {WEIGHTS_VARIABLE} names"
        raise InputError(f"cannot fetch {name} ({error}): place {url} {places}, or name its folder") from None
    return cached
