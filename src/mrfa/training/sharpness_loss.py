"""Loss on missing sharpness of the face; not in the paper.

Losses on pixels answer doubt with blur. This one asks for a share of the true picture's detail and for no more, so it moves
the amplitude of what the network is sure of, at a small cost in accuracy.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.evaluation.sharpness import laplacian
from mrfa.network.geometry import HALF_PIXEL


def sharpness_loss(image: Tensor, target: Tensor, weight: Tensor, share: float) -> Tensor:
    """How much the Laplacian energy falls short of `share` of the true picture's: mean over pictures, in [0, share].

    Args:
        image, target: `[B, 3, H, W]` in [0, 1].
        weight: `[B, 1, H, W]`, importance of each place; a picture with none anywhere counts as sharp enough.
        share: of the true energy that is enough.
    """
    got, true = (laplacian(picture.float()).square() for picture in (image, target))
    weight = HALF_PIXEL.resize(weight, (got.shape[2], got.shape[3]))
    got, true = ((energy * weight).flatten(1).sum(1) for energy in (got, true))
    return torch.where(true > 0, F.relu(share - got / true.clamp_min(1e-9)), torch.zeros_like(true)).mean()
