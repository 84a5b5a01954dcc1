"""Learning from a trained model beside the pictures: its keypoints, and the flow that it ends with. Not in the paper.

A small network finds the motion sooner when a larger one shows it. Pictures are no part of it: the true ones are at hand.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.errors import InputError
from mrfa.network.geometry import HALF_PIXEL, Conventions
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network
from mrfa.training.losses.regions import weighted_mean
from mrfa.weights import load_model

# Of the affine maps, whose entries are of the order of 1, beside the positions, which shall be right to a hundredth of that.
AFFINE_WEIGHT = 0.1


class Lesson(NamedTuple):
    """What a teacher says of pairs of pictures, half-pixel normalised.

    Attributes:
        keypoints: of all sources, then of all driving pictures, positions `[2B, K, 2]`.
        displacements: from driving to source positions after each iteration, `[B, 2, h_i, w_i]`.
        visible: share of each place that the source shows, of the same sizes, `[B, 1, h_i, w_i]`.
    """

    keypoints: Keypoints
    displacements: list[Tensor]
    visible: list[Tensor]


class Teacher(nn.Module):
    """A trained network that learns nothing, nor any statistics."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last).requires_grad_(False)  # type: ignore[call-overload]
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """It stays as it is when the module around it begins to train."""
        return super().train(False)

    def check(self, student: Network) -> None:
        """See whether another network can learn from it.

        Raises:
            InputError: their keypoints do not correspond.
        """
        ours, theirs = self.network.config.detector, student.config.detector
        if (ours.kind, ours.keypoints) != (theirs.kind, theirs.keypoints):
            raise InputError(
                f"training.objective.teacher has {ours.keypoints} keypoints of kind {ours.kind}, the network {theirs.keypoints} "
                f"of kind {theirs.kind}: set network.detector as the teacher has it"
            )

    @torch.no_grad()
    def forward(self, source: Tensor, driving: Tensor) -> Lesson:
        """What it finds on source and driving pictures of the same videos, `[B, 3, H, W]` in [0, 1]."""
        network, size = self.network, (source.shape[2], source.shape[3])
        encoded, found = network.encode_source(source), network.detect(driving)
        background = network.follow_background(encoded, driving, found)
        _, motion = network.estimate_motion(encoded, found, background=background)
        conventions = network.conventions
        displacements = [_displacement(flow, conventions, size) for flow in motion.flows]
        keypoints = _half_pixel(stack_keypoints([encoded.keypoints, found]), conventions, size)
        return Lesson(keypoints, displacements, motion.occlusions)


def load_teacher(model: str) -> Teacher:
    """A teacher of a model folder or of a bundled model.

    Raises:
        InputError: there is no such model, or it is damaged.
    """
    return Teacher(load_model(model))


def keypoint_lesson_loss(keypoints: Keypoints, lesson: Lesson, conventions: Conventions, size: tuple[int, int]) -> Tensor:
    """Mean L1 distance to the teacher's keypoints, and a tenth of that of the affine maps.

    Args:
        keypoints: of the pictures that the teacher saw, in its order, `[2B, K, 2]`.
        lesson: of the teacher.
        conventions: of the keypoints.
        size: (H, W) of the pictures.
    """
    got, expected = _half_pixel(keypoints, conventions, size), lesson.keypoints
    loss = F.l1_loss(got.positions, expected.positions)
    if got.affine is None or expected.affine is None:
        return loss
    return loss + AFFINE_WEIGHT * F.l1_loss(got.affine, expected.affine)


def flow_lesson_loss(flows: list[Tensor], lesson: Lesson, conventions: Conventions, size: tuple[int, int]) -> Tensor:
    """Mean L1 distance of backward flows to the teacher's of the same resolution, where the source shows something.

    A place of one grid is taken for the same place of the other, which half-pixel and corner-aligned grids have at most half a
    cell apart: flows hardly differ over so little.

    Args:
        flows: of the pairs that the teacher saw, each `[B, h, w, 2]`; those of other resolutions than all of its own say nothing.
        lesson: of the teacher.
        conventions: of the flows.
        size: (H, W) of the pictures.
    """
    taught = {tuple(flow.shape[2:]): (flow, visible) for flow, visible in zip(lesson.displacements, lesson.visible, strict=True)}
    loss = flows[0].new_zeros(())
    for flow in flows:
        displacement = _displacement(flow, conventions, size)
        if (known := taught.get(tuple(displacement.shape[2:]))) is not None:
            loss = loss + weighted_mean((displacement - known[0]).abs(), known[1]) / len(flows)
    return loss


def _half_pixel(keypoints: Keypoints, conventions: Conventions, size: tuple[int, int]) -> Keypoints:
    positions = conventions.to_half_pixel(keypoints.positions, size)
    if keypoints.affine is None:
        return Keypoints(positions, None)
    # The columns of a map are vectors in the picture.
    return Keypoints(positions, conventions.to_half_pixel(keypoints.affine.transpose(-1, -2), size).transpose(-1, -2))


def _displacement(flow: Tensor, conventions: Conventions, size: tuple[int, int]) -> Tensor:
    """Half-pixel normalised displacement `[B, 2, h, w]` of a flow `[B, h, w, 2]`."""
    displacement = conventions.to_displacement(flow) * conventions.pixel_scale(size, flow)
    return displacement / HALF_PIXEL.pixel_scale(size, flow)
