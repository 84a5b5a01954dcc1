"""The motion of a pair, step by step: what Figure 7 shows."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.motion import transfer_motion
from mrfa.data.tensors import to_pictures, to_tensor
from mrfa.evaluation.figures.shots import Footage
from mrfa.network.geometry import Conventions, pixel_scale, resize, resize_displacement, to_displacement
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output


class MotionSteps(NamedTuple):
    """The motion of one pair, each field at its own resolution; displacements are in pixels of the pictures.

    Attributes:
        source, driving: the pictures, uint8 RGB `[S, S, 3]`.
        coarse_result, result: of the coarse motion alone, and of the whole network, uint8 RGB `[S, S, 3]`.
        source_keypoints, driving_keypoints: as detected, `[K, 2]`, normalised.
        coarse: displacement of the prior, `[2, h, w]`, backward: from driving to source positions.
        coarse_occlusion: `[h, w]`, 1 means visible in the source.
        displacements: after each iteration, `[2, h_i, w_i]`; empty for a model without refinement.
        changes: what each iteration added, `[2, h_i, w_i]`, see `flow_changes`.
        occlusions: of each iteration, `[h_i, w_i]`.
    """

    source: np.ndarray
    driving: np.ndarray
    coarse_result: np.ndarray
    result: np.ndarray
    source_keypoints: Tensor
    driving_keypoints: Tensor
    coarse: Tensor
    coarse_occlusion: Tensor
    displacements: list[Tensor]
    changes: list[Tensor]
    occlusions: list[Tensor]


@torch.inference_mode()
def trace_motion(network: Network, footage: Footage, *, relative: bool, one_video: bool = False) -> MotionSteps:
    """Animate one frame, and keep every step of its motion.

    Args:
        network: in evaluation mode, on any device.
        footage: pictures at the network's size.
        relative: add the driver's motion since its first frame to the portrait's own keypoints, otherwise take the driver's.
        one_video: portrait and driver are one video: the background moves, too, where the network follows it.
    """
    source, clip, frame = footage
    device = next(network.parameters()).device
    encoded = network.encode_source(to_tensor(source[None], device))
    initial, image = (to_tensor(clip[number][None], device) for number in (0, frame))
    driving = network.detect(image)
    background = network.follow_background(encoded, image, driving) if one_video else None
    moved: Keypoints = transfer_motion(encoded.keypoints, driving, network.detect(initial), relative=relative)
    output = network.animate(encoded, moved, background=background)
    coarse = network.animate(encoded, moved, coarse_only=True, background=background)
    refined = network.refinement is not None
    flows = output.motion.flows if refined else []
    to_pixels = pixel_scale(source.shape[:2], output.image)
    return MotionSteps(
        source=source,
        driving=clip[frame],
        coarse_result=to_pictures(coarse.image)[0],
        result=to_pictures(output.image)[0],
        source_keypoints=encoded.keypoints.positions[0].cpu(),
        driving_keypoints=driving.positions[0].cpu(),
        coarse=(to_displacement(output.coarse.flow) * to_pixels)[0].cpu(),
        coarse_occlusion=torch.sigmoid(output.coarse.occlusion)[0, 0].cpu(),
        displacements=[(to_displacement(flow) * to_pixels)[0].cpu() for flow in flows],
        changes=[(change * to_pixels)[0].cpu() for change in (flow_changes(output, network.conventions) if refined else [])],
        occlusions=[occlusion[0, 0].cpu() for occlusion in (output.motion.occlusions if refined else [])],
    )


def flow_changes(output: Output, conventions: Conventions) -> list[Tensor]:
    """The residual flow of every iteration (Eq. 7), `[B, 2, h_i, w_i]`, normalised.

    An iteration's flow minus the one that entered it, which is the coarse flow and all earlier residuals at this iteration's
    resolution. So a flow that merely becomes finer has not changed.
    """
    coarse = to_displacement(output.coarse.flow)
    changes, residual = [], torch.zeros_like(coarse[:, :, :1, :1])
    for flow in output.motion.flows:
        size = flow.shape[1:3]
        before = resize_displacement(residual, size, conventions)
        residual = to_displacement(flow) - resize_displacement(coarse, size, conventions)
        changes.append(residual - before)
    return changes


def enlarge(field: Tensor, side: int) -> Tensor:
    """A field `[C, h, w]` at another size, `[C, side, side]`."""
    return resize(field[None], (side, side))[0]
