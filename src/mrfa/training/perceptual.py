"""VGG-19 perceptual loss (paper Eq. 11), on weights in torchvision's format without importing torchvision."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.errors import InputError
from mrfa.network.layers import AntiAliasDownsample

VGG19_URL = "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"
# Convolutions of each block; pooling lies between the blocks. Each slice of the loss ends with a block's first ReLU.
_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
SCALES = (1, 2, 4, 8)


class PerceptualLoss(nn.Module):
    """Mean L1 distance of VGG-19 features after relu1_1 .. relu5_1, at four image scales, summed."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, state_dict: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = _feature_layers()
        expected = self.layers.state_dict()
        wanted = {name: state_dict.get(f"features.{name}") for name in expected}
        absent = [name for name, value in wanted.items() if value is None or value.shape != expected[name].shape]
        if absent:
            raise InputError(f"the VGG-19 weights lack features.{absent[0]}: give torchvision's vgg19 weights file")
        self.layers.load_state_dict({name: value for name, value in wanted.items() if value is not None})
        self.requires_grad_(False)
        self.pyramid = nn.ModuleList(AntiAliasDownsample(scale) for scale in SCALES)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Scalar loss between `[B, 3, H, W]` images in [0, 1]."""
        loss = image.new_zeros(())
        for scale, downsample in zip(SCALES, self.pyramid, strict=True):
            if min(image.shape[2:]) // scale < 16:
                break
            with torch.no_grad():
                wanted = self.features(downsample(target))
            for got, want in zip(self.features(downsample(image)), wanted, strict=True):
                loss = loss + F.l1_loss(got, want)
        return loss

    def features(self, image: Tensor) -> list[Tensor]:
        """Features after relu1_1, relu2_1, relu3_1, relu4_1, relu5_1."""
        x = (image - self.mean) / self.deviation
        found = []
        for layer, taken in zip(self.layers, _taken(), strict=True):
            x = layer(x)
            if taken:
                found.append(x)
        return found


def load_perceptual_loss(weights: str | None) -> PerceptualLoss:
    """Build the loss from a weights file, or from torchvision's published file through `torch.hub`.

    Raises:
        InputError: the file is missing or not VGG-19's, or there is no file and no network.
    """
    if weights is not None:
        if not Path(weights).is_file():
            raise InputError(f"no VGG-19 weights at {weights}: get {VGG19_URL} and set training.objective.vgg_weights")
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise InputError(f"{weights} is not a weights file: {str(error).splitlines()[0]}") from None
        return PerceptualLoss(state)
    try:
        state = torch.hub.load_state_dict_from_url(VGG19_URL, map_location="cpu", check_hash=True, weights_only=True)
    except OSError as error:
        raise InputError(
            f"cannot fetch the VGG-19 weights ({error}): place {VGG19_URL} somewhere and set training.objective.vgg_weights, "
            "or choose training.objective.image=pyramid, which needs no weights"
        ) from None
    return PerceptualLoss(state)


def _feature_layers() -> nn.Sequential:
    """VGG-19's convolutional layers up to relu5_1, numbered as torchvision numbers them."""
    layers: list[nn.Module] = []
    channels = 3
    for block, (width, count) in enumerate(_BLOCKS):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count if block < len(_BLOCKS) - 1 else 1):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers)


def _taken() -> list[bool]:
    """Which layers are each block's first ReLU."""
    taken: list[bool] = []
    for block, (_, count) in enumerate(_BLOCKS):
        if block:
            taken.append(False)
        convolutions = count if block < len(_BLOCKS) - 1 else 1
        taken += [index == 1 for index in range(2 * convolutions)]
    return taken
