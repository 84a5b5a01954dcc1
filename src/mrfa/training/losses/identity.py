"""Identity of portraits driven by other people; not in the paper."""

import torch
from torch import Tensor

from mrfa.identity import IdentityNetwork, face_crops
from mrfa.training.losses.keypoints import mean_of_found

Shown = tuple[Tensor, Tensor]


def identity_loss(network: IdentityNetwork, result: Shown, portrait: Shown, found: Tensor) -> Tensor:
    """Mean of 1 minus the inner product of the descriptors of results and portraits that show a face.

    Args:
        network: frozen.
        result: pictures `[B, 3, H, W]` in [0, 1], which learn, and the places of their landmark groups `[B, G, 2]`, half-pixel
            normalised, which do not.
        portrait: likewise; nothing of them learns.
        found: `[B]`, whether faces were found.
    """
    with torch.no_grad():
        wanted = network(face_crops(*portrait))
    likeness = (network(face_crops(*result)) * wanted).sum(1)
    return mean_of_found(1 - likeness, found)
