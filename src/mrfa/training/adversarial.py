"""Adversarial image loss, for sharpness: a patch discriminator with hinge loss and feature matching.

Not in the paper. An L1-like loss answers doubt with blur; a discriminator asks for pictures that look like real ones at every
patch. Both players learn in the same backward pass: the generator's loss sees a frozen discriminator, the discriminator's
loss sees a detached picture.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mrfa.training.importance import weighted_mean

WIDTHS = (32, 64, 128, 128)


class AdversarialLosses(NamedTuple):
    """Scalars: what the generator minimises (two parts) and what the discriminator minimises."""

    generator: Tensor
    features: Tensor
    discriminator: Tensor


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

    def losses(self, generated: Tensor, real: Tensor, weight: Tensor) -> AdversarialLosses:
        """Hinge losses of both players, and the L1 distance of features of the generated and the real picture.

        Args:
            generated, real: `[B, 3, H, W]` in [0, 1].
            weight: `[B, 1, H, W]`, importance of each place to both players.
        """
        real_scores, real_features = self(real)
        self.requires_grad_(False)
        fooled, fake_features = self(generated)
        self.requires_grad_(True)
        fake_scores, _ = self(generated.detach())
        matching = torch.stack(
            [
                weighted_mean((fake.float() - true.detach().float()).abs(), weight)
                for fake, true in zip(fake_features, real_features, strict=True)
            ]
        ).mean()
        discriminator = weighted_mean(F.relu(1 - real_scores) + F.relu(1 + fake_scores), weight)
        return AdversarialLosses(-weighted_mean(fooled, weight), matching, discriminator)
