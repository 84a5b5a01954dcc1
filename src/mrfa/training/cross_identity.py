"""One person driven by another while training, as in animation. Not in the paper, which trains on pairs of one person alone.

The portrait of a pair, its source picture, is driven by the next pair of the batch, mostly of another person: from the keypoints
of that pair's source to those of its driving picture, as `mrfa.animation.face_motion` does it. There is no true picture of the
result. What can be asked of it is that the detector finds the keypoints that were given, that a descriptor finds the portrait's
person, and that discriminators believe it.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mrfa.animation.expression import take_apart, take_people_apart
from mrfa.animation.face_motion import Face, transferred
from mrfa.data.guidance import GROUPS
from mrfa.network.geometry import full_precision
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output
from mrfa.training.augmentation import Pair

# The detector has lost a face where its keypoints are on average so far from the landmarks, in half sides of the picture. Of
# the bundled model's pictures in training half are below 0.025, and one in twenty, most of them noisy, above 0.05.
LOST = 0.06


class Crossed(NamedTuple):
    """The first n portraits of a batch, each driven by the next pair.

    Attributes:
        image: generated, `[n, 3, H, W]` in [0, 1].
        portrait: `[n, 3, H, W]` in [0, 1].
        given: positions of the named keypoints that the portrait was given, `[n, G, 2]`, normalised.
        own: those of the portrait.
        known: `[n]` bool, whether the detector found the faces of portrait and driver; other portraits keep their own keypoints.
    """

    image: Tensor
    portrait: Tensor
    given: Tensor
    own: Tensor
    known: Tensor


def drive_by_next(network: Network, pair: Pair, output: Output, count: int) -> Crossed:
    """Drive the first portraits of a batch by the pairs after them; the background stands still.

    The gradient reaches what draws the picture, and no keypoint. Nothing waits for the device.

    Args:
        network: one whose first keypoints have meaning.
        pair: the batch.
        output: of the network for it.
        count: n.
    """
    source = _detached(output.source_keypoints, count)
    start, driving = (_detached(keypoints, count, after=1) for keypoints in (output.source_keypoints, output.driving_keypoints))
    found = _found(network, pair, output)
    known = (found & found.roll(-1))[:count]
    moved = transfer_pairs(network, source, start, driving)
    assert source.affine is not None and moved.affine is not None
    given = Keypoints(
        torch.where(known[:, None, None], moved.positions, source.positions),
        torch.where(known[:, None, None, None], moved.affine, source.affine),
    )
    portrait = pair.source[:count]
    image = network.animate(network.encode_source(portrait, source), given).image
    return Crossed(image, portrait, given.positions[:, :GROUPS], source.positions[:, :GROUPS], known)


def _found(network: Network, pair: Pair, output: Output) -> Tensor:
    """Whether both pictures of each pair show a face that the detector found, `[B]`: noise may mislead it."""
    found = pair.found
    for keypoints, groups in ((output.source_keypoints, pair.source_groups), (output.driving_keypoints, pair.driving_groups)):
        places = network.conventions.to_half_pixel(keypoints.positions[:, :GROUPS].detach(), pair.source.shape[2:])
        found = found & ((places - groups).norm(dim=-1).mean(1) < LOST)
    return found


def _detached(keypoints: Keypoints, count: int, after: int = 0) -> Keypoints:
    """Those of `count` pictures, held still, from one that lies so far behind the first on, the first ones following the last."""
    assert keypoints.affine is not None
    positions, affine = (values.detach().roll(-after, 0)[:count] for values in (keypoints.positions, keypoints.affine))
    return Keypoints(positions, affine)


@torch.no_grad()
def transfer_pairs(network: Network, source: Keypoints, initial: Keypoints, driving: Keypoints) -> Keypoints:
    """Keypoints of B portraits, each moved by a driver of its own whose shape is found of two frames; all `[B, K, 2]`."""
    side = network.config.image_size

    def apart(*frames: Keypoints) -> list[Face]:
        """The frames of each of B people, taken apart by what all of them show of that person."""
        positions = torch.stack([frame.positions[:, :GROUPS].double() for frame in frames], 1)
        places = network.conventions.to_half_pixel(positions, (side, side))
        parts = take_apart(places.flatten(0, 1), take_people_apart(places).shape)
        return [Face(frame, parts.part(slice(number, None, len(frames)))) for number, frame in enumerate(frames)]

    with full_precision(source.positions):
        (portrait,), (first, last) = apart(source), apart(initial, driving)
        return transferred(network, portrait, first, last)[0]
