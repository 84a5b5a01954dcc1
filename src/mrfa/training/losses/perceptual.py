"""VGG-19 perceptual loss (paper Eq. 11)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.backbones import BACKBONES, FeatureLayers, load_backbone
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
