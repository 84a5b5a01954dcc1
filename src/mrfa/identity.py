"""Whose face a picture shows: a small network's descriptor of it, through which gradients flow, and the crop that it sees.

The network is the first blocks of EfficientNet-lite0 and a head of its own, trained by `benchmarks/identity_network.py` to give
what dlib's face descriptor (King 2017) gives, which takes other libraries and has no gradients.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mrfa.animation.head import face_statistics, pose_weights
from mrfa.efficientnet import BLOCKS, TAKEN, EfficientNetLayers
from mrfa.errors import InputError
from mrfa.network.geometry import HALF_PIXEL, full_precision

SIDE = 112
# The crop on the mean face, in distances of the outer eye corners: hairline to chin.
MIDDLE, HALF = (0.0, 0.25), 1.25
LENGTH = 128
_CHANNELS, _CELLS, _WIDTH = BLOCKS[TAKEN[-1]].width * BLOCKS[TAKEN[-1]].widening, SIDE // 16, 48


class IdentityNetwork(nn.Module):
    """Descriptors of length 1, whose inner product says how likely two pictures are to show one person.

    Args:
        layers: of EfficientNet-lite0, with its weights or to be given others.
    """

    def __init__(self, layers: EfficientNetLayers) -> None:
        super().__init__()
        self.layers = layers
        self.reduce = nn.Conv2d(_CHANNELS, _WIDTH, 1)
        self.describe = nn.Linear(_WIDTH * _CELLS**2, LENGTH)

    def forward(self, crops: Tensor) -> Tensor:
        """Crops of `face_crops`, `[B, 3, SIDE, SIDE]` in [0, 1], to descriptors `[B, LENGTH]`, in float32."""
        return self.described(self.layers(crops)[-1])

    def described(self, features: Tensor) -> Tensor:
        """Descriptors of what the layers' last features are, `[B, 480, SIDE / 16, SIDE / 16]`."""
        return F.normalize(self.describe(F.relu6(self.reduce(features)).flatten(1)).float(), dim=1)


def load_identity(weights: Path) -> IdentityNetwork:
    """The network with the weights of a file, frozen.

    Raises:
        InputError: there is no such file, or it is not this network's.
    """
    if not weights.is_file():
        raise InputError(f"no weights at {weights}: make them with  python -m benchmarks.identity_network")
    network = IdentityNetwork(EfficientNetLayers())
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError):
        raise InputError(f"{weights} holds no identity network: make it with  python -m benchmarks.identity_network") from None
    return network.requires_grad_(False).eval()


def face_crops(image: Tensor, places: Tensor, side: int = SIDE, half: float = HALF) -> Tensor:
    """Faces moved, turned and scaled to where the mean face lies.

    Args:
        image: `[B, 3, H, W]`, square.
        places: of the landmark groups, `[B, G, 2]`, half-pixel normalised.
        side: of the crops, in pixels.
        half: half the side of a crop on the mean face, in distances of the outer eye corners.

    Returns:
        `[B, 3, side, side]`.
    """
    with full_precision(places):
        weights = pose_weights(places.device).to(places)[:, None]
        mean = face_statistics(places.device).mean[:, :2].to(places)
        middle, origin = (weights * places).sum(1, keepdim=True), (weights * mean).sum(0)
        # The similarity that brings the mean face nearest to the places.
        face, found = mean - origin, places - middle
        size = (weights * face.square()).sum()
        along = (weights * face * found).sum((1, 2)) / size
        across = (weights[:, 0] * (face[:, 0] * found[..., 1] - face[:, 1] * found[..., 0])).sum(1) / size
        turn = torch.stack([torch.stack([along, across], -1), torch.stack([-across, along], -1)], -2)
        x, y = (HALF_PIXEL.grid(side, side, places) * half).flatten(0, 1).unbind(-1)
        grid = torch.stack([x + MIDDLE[0], y + MIDDLE[1]], -1) - origin
        return HALF_PIXEL.sample(image, (grid @ turn + middle).unflatten(1, (side, side)), "border")
