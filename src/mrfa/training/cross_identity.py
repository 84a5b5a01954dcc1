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
    order = torch.arange(count + 1, device=pair.source.device) % len(pair.source)
    source, driving = (_detached(keypoints, order) for keypoints in (output.source_keypoints, output.driving_keypoints))
    found = _found(network, pair, output)[order]
    known = found[:-1] & found[1:]
    own, moved = source.part(slice(count)), transfer_to_next(network, source, driving)
    assert own.affine is not None and moved.affine is not None
    given = Keypoints(
        torch.where(known[:, None, None], moved.positions, own.positions),
        torch.where(known[:, None, None, None], moved.affine, own.affine),
    )
    portrait = pair.source[:count]
    image = network.animate(network.encode_source(portrait, own), given).image
    return Crossed(image, portrait, given.positions[:, :GROUPS], own.positions[:, :GROUPS], known)


def _found(network: Network, pair: Pair, output: Output) -> Tensor:
    """Whether both pictures of each pair show a face that the detector found, `[B]`: noise may mislead it."""
    found = pair.found
    for keypoints, groups in ((output.source_keypoints, pair.source_groups), (output.driving_keypoints, pair.driving_groups)):
        places = network.conventions.to_half_pixel(keypoints.positions[:, :GROUPS].detach(), pair.source.shape[2:])
        found = found & ((places - groups).norm(dim=-1).mean(1) < LOST)
    return found


def _detached(keypoints: Keypoints, order: Tensor) -> Keypoints:
    assert keypoints.affine is not None
    return Keypoints(keypoints.positions.detach()[order], keypoints.affine.detach()[order])


@torch.no_grad()
def transfer_to_next(network: Network, source: Keypoints, driving: Keypoints) -> Keypoints:
    """Keypoints of P portraits, the sources of P + 1 pairs `[P + 1, K, 2]` but the last, each driven by the pair after it.

    A person's shape is found of both pictures; in use that of a portrait is known of one.
    """
    with full_precision(source.positions):
        positions = torch.stack([source.positions[:, :GROUPS], driving.positions[:, :GROUPS]], 1).double()
        places = network.conventions.to_half_pixel(positions, network.config.keypoint_size)
        people = take_people_apart(places)
        frames = take_apart(places.flatten(0, 1), people.shape, people.pose.rotation)
        sources, drivers = frames.part(slice(0, None, 2)), frames.part(slice(1, None, 2))
        portraits, after = slice(None, -1), slice(1, None)
        return transferred(
            network,
            Face(source.part(portraits), sources.part(portraits)),
            Face(source.part(after), sources.part(after)),
            Face(driving.part(after), drivers.part(after)),
        )[0]
