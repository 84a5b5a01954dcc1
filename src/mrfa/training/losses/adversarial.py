"""Adversarial image loss, for sharpness: patch discriminators with hinge loss and feature matching.

Not in the paper. An L1-like loss answers doubt with blur; a discriminator asks for pictures that look like real ones at every
patch: for their detail, and for no more than they have. One looks at the picture, one at half its size, where a patch holds an
eye, a fringe or the edge of a head. Both players learn in the same backward pass: the generator's loss sees frozen
discriminators, the discriminators' loss sees a detached picture.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mrfa.training.losses.regions import weighted_mean

WIDTHS = (32, 64, 128, 128)
SCALES = 2


class Judgement(NamedTuple):
    """What a discriminator says of a real and of a generated picture.

    Attributes:
        real: scores `[B, 1, h, w]` of the real picture, high for real.
        fake: scores of the generated picture, from which the discriminator learns and the picture does not.
        fooled: the same scores, from which the picture learns and the discriminator does not.
        real_features: of every layer, `[B, C, h, w]`.
        fooled_features: of the generated picture, which learns from them.
    """

    real: Tensor
    fake: Tensor
    fooled: Tensor
    real_features: list[Tensor]
    fooled_features: list[Tensor]


class Discriminators(nn.Module):
    """A patch discriminator for the picture and one for the picture at half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator() for _ in range(SCALES))

    def judge(self, generated: Tensor, real: Tensor) -> list[Judgement]:
        """Scores and features for the losses of both players, of `[B, 3, H, W]` in [0, 1], the full size first."""
        judgements = []
        for number, discriminator in enumerate(self.scales):
            assert isinstance(discriminator, PatchDiscriminator)
            if number:
                generated, real = F.avg_pool2d(generated, 2), F.avg_pool2d(real, 2)
            judgements.append(discriminator.judge(generated, real))
        return judgements


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of about 60 pixels as real (high) or generated (low)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *WIDTHS)
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(widths[i], widths[i + 1], 4, stride=2 if i < 3 else 1, padding=1)) for i in range(len(WIDTHS))
        )
        self.head = spectral_norm(nn.Conv2d(WIDTHS[-1], 1, 3, padding=1))

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """`[B, 3, H, W]` in [0, 1] to scores `[B, 1, h, w]` and the features of every layer."""
        features = []
        x = image * 2 - 1
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.head(x).float(), features

    def judge(self, generated: Tensor, real: Tensor) -> Judgement:
        """Scores and features for the losses of both players, of `[B, 3, H, W]` in [0, 1]."""
        real_scores, real_features = self(real)
        self.requires_grad_(False)
        fooled, fooled_features = self(generated)
        self.requires_grad_(True)
        fake, _ = self(generated.detach())
        return Judgement(real_scores, fake, fooled, real_features, fooled_features)


def generator_loss(judgements: list[Judgement], weight: Tensor) -> Tensor:
    """Minus the mean score of the generated picture; `weight` `[B, 1, H, W]` is the importance of each place."""
    return _mean(judgements, lambda judgement: -weighted_mean(judgement.fooled, weight))


def feature_matching_loss(judgements: list[Judgement], weight: Tensor) -> Tensor:
    """Mean L1 distance of the features of the generated and the real picture, from which no discriminator learns."""

    def distance(judgement: Judgement) -> Tensor:
        pairs = zip(judgement.fooled_features, judgement.real_features, strict=True)
        return torch.stack([weighted_mean((fooled - real.detach()).abs().float(), weight) for fooled, real in pairs]).mean()

    return _mean(judgements, distance)


def discriminator_loss(judgements: list[Judgement], weight: Tensor) -> Tensor:
    """Hinge loss of the discriminators."""
    return _mean(judgements, lambda judgement: weighted_mean(F.relu(1 - judgement.real) + F.relu(1 + judgement.fake), weight))


def _mean(judgements: list[Judgement], loss: Callable[[Judgement], Tensor]) -> Tensor:
    return torch.stack([loss(judgement) for judgement in judgements]).mean()
