"""Figure 7: how the motion is refined, iteration by iteration."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.animator import Animator
from mrfa.data.flow_colours import colour_wheel, displacement_colours
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.figures.examples import Example, Footage, read_example
from mrfa.evaluation.figures.grid import Cell, Row, draw_grid
from mrfa.evaluation.methods import CrossMotion
from mrfa.network.geometry import HALF_PIXEL, Conventions
from mrfa.network.model import Output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Full colour is at this quantile of the lengths, so that a few stray pixels do not fade all others.
FULL_QUANTILE = 0.98
LEAST_FULL_PX = 0.1


class MotionSteps(NamedTuple):
    """The motion of one pair, each field at its own resolution; displacements are in pixels of the pictures.

    Attributes:
        source_keypoints, driving_keypoints: as detected, `[K, 2]`, normalised.
        coarse_result, result: of the coarse motion alone, and of the whole network, uint8 RGB `[S, S, 3]`.
        displacements: of the prior and after each iteration, `[2, h_i, w_i]`, backward: from driving to source positions.
        changes: what each iteration added, `[2, h_i, w_i]`, see `flow_changes`; none for a model without refinement.
        occlusions: of the prior and after each iteration, `[h_i, w_i]`, 1 means visible in the source.
    """

    source_keypoints: Tensor
    driving_keypoints: Tensor
    coarse_result: np.ndarray
    result: np.ndarray
    displacements: list[Tensor]
    changes: list[Tensor]
    occlusions: list[Tensor]


def draw_flow(
    animator: Animator,
    examples: Sequence[Example],
    motion: CrossMotion = CrossMotion(),  # noqa: B008
    *,
    cell: int = 192,
) -> np.ndarray:
    """Three rows an example: the flow after each iteration, what each one changed, and the occlusion maps.

    Before them stand source and driving frame with their keypoints, the result, and what the prior makes of it; behind them the
    legends. All flows of an example share one scale, each change has its own; both are stated, in pixels of the network's
    pictures.

    Args:
        animator: of the network.
        examples: at least one.
        motion: of other people's clips; clips driven by themselves take absolute motion.
        absolute: take absolute motion for all.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        InputError: a clip cannot be read.
    """
    rows = []
    for example in examples:
        own = None if example.trial.is_reconstruction else motion
        footage = read_example(example, animator.size)
        steps = trace_motion(animator, footage, own)
        title = f"{example.trial.name}, frame {footage.frame}, {own.kind if own else 'absolute'} motion"
        rows += _rows(footage, steps, title, cell)
    return draw_grid(rows, cell=cell)


def trace_motion(animator: Animator, footage: Footage, motion: CrossMotion | None) -> MotionSteps:
    """Animate one frame, and keep every step of its motion.

    Args:
        animator: of the network.
        footage: pictures at the network's size.
        motion: of another person's clip; None: it is one video with the portrait, and the background moves, too, where the
            network follows it.
    """
    driving = footage.clip[footage.frame]
    encoded = animator.encode(footage.source)
    transfer = None if motion is None else motion.transfer(animator, encoded.keypoints, footage.clip)
    output, coarse = (
        animator.step(encoded, driving, transfer=transfer, same_video=motion is None, coarse_only=only) for only in (False, True)
    )
    refined = animator.network.refinement is not None
    conventions = animator.network.conventions
    size = footage.source.shape[:2]
    to_pixels = conventions.pixel_scale(size, output.image)
    flows = [output.coarse.flow, *(output.motion.flows if refined else [])]
    occlusions = [torch.sigmoid(output.coarse.occlusion), *(output.motion.occlusions if refined else [])]
    changes = flow_changes(output, conventions) if refined else []
    return MotionSteps(
        source_keypoints=conventions.to_half_pixel(encoded.keypoints.positions[0], size).cpu(),
        driving_keypoints=conventions.to_half_pixel(animator.detect(driving).positions[0], size).cpu(),
        coarse_result=to_pictures(coarse.image)[0],
        result=to_pictures(output.image)[0],
        displacements=[(conventions.to_displacement(flow) * to_pixels)[0].cpu() for flow in flows],
        changes=[(change * to_pixels)[0].cpu() for change in changes],
        occlusions=[occlusion[0, 0].cpu() for occlusion in occlusions],
    )


def flow_changes(output: Output, conventions: Conventions) -> list[Tensor]:
    """The residual flow of every iteration (Eq. 7), `[B, 2, h_i, w_i]`, normalised.

    An iteration's flow minus the one that entered it, which is the coarse flow and all earlier residuals at this iteration's
    resolution. So a flow that merely becomes finer has not changed.
    """
    coarse = conventions.to_displacement(output.coarse.flow)
    changes, residual = [], torch.zeros_like(coarse[:, :, :1, :1])
    for flow in output.motion.flows:
        size = flow.shape[1:3]
        before = conventions.resize_displacement(residual, size)
        residual = conventions.to_displacement(flow) - conventions.resize_displacement(coarse, size)
        changes.append(residual - before)
    return changes


def full_colour(displacements: Sequence[Tensor]) -> float:
    """Length shown in full colour for displacements `[2, h, w]` of one scale."""
    lengths = [torch.quantile(torch.hypot(field[0], field[1]), FULL_QUANTILE).item() for field in displacements]
    return max(LEAST_FULL_PX, *lengths)


def keypoint_picture(picture: np.ndarray, positions: Tensor) -> "Callable[[Axes], None]":
    """Draws a square picture with its keypoints, `[K, 2]`, normalised; each has the same colour in every picture."""

    def draw(axes: "Axes") -> None:
        axes.set_axis_off()
        axes.imshow(picture, extent=(-1, 1, 1, -1))
        hues = np.arange(len(positions)) * 0.618034 % 1  # neighbours far apart
        points = axes.get_window_extent().width / axes.figure.dpi * 72
        x, y = positions.T.numpy()
        axes.scatter(x, y, c=hues, cmap="hsv", vmin=0, vmax=1, s=(points / 22) ** 2, edgecolors="black", linewidths=points / 200)

    return draw


def wheel_legend(full: float | None) -> "Callable[[Axes], None]":
    """Draws the colour wheel; `full` is the length at its edge in pixels, None where pictures differ."""

    def draw(axes: "Axes") -> None:
        axes.imshow(to_pictures(colour_wheel(256)[None])[0], extent=(-1, 1, 1, -1))
        axes.set(xlim=(-1.3, 1.3), ylim=(1.5, -1.1))
        axes.set_axis_off()
        text = "edge: as stated" if full is None else f"edge: {full:.3g} px or more"
        axes.text(0, 1.25, text, ha="center", va="center", fontsize=axes.get_window_extent().width / axes.figure.dpi * 5.5)

    return draw


def ramp_legend(axes: "Axes") -> None:
    """Draws what the greys of occlusion maps mean."""
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap="gray", extent=(0, 0.15, 0, 1), aspect="auto")
    axes.set(xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
    axes.set_axis_off()
    for y, text in ((1, "1: visible"), (0, "0: hidden")):
        axes.text(0.22, y, text, va="center", fontsize=axes.get_window_extent().width / axes.figure.dpi * 5.5)


def _rows(footage: Footage, steps: MotionSteps, title: str, cell: int) -> list[Row]:
    scale, change_scales = full_colour(steps.displacements), [full_colour([field]) for field in steps.changes]
    flows = [_flow_cell(field, scale, cell) for field in steps.displacements]
    changes: list[Cell] = [_flow_cell(field, own, cell) for field, own in zip(steps.changes, change_scales, strict=True)]
    occlusions = [_occlusion_cell(field, cell) for field in steps.occlusions]
    sizes = [f"{field.shape[-1]}x{field.shape[-2]}" for field in steps.displacements]
    numbers = range(1, len(flows))
    source = keypoint_picture(footage.source, steps.source_keypoints)
    driving = keypoint_picture(footage.clip[footage.frame], steps.driving_keypoints)
    flow_captions = [f"coarse flow, {sizes[0]}", *(f"flow {number}, {sizes[number]}" for number in numbers)]
    change_captions = [f"change {number}, edge {own:.3g} px" for number, own in enumerate(change_scales, start=1)]
    if changes:
        changes, change_captions = [*changes, wheel_legend(None)], [*change_captions, "change of the flow"]
    return [
        Row(
            [source, *flows, wheel_legend(scale)],
            title=title,
            captions=["source, keypoints", *flow_captions, "from driving to source"],
        ),
        Row(
            [driving, steps.coarse_result, *changes],
            captions=["driving, keypoints", "coarse motion alone", *change_captions],
        ),
        Row(
            [steps.result, *occlusions, ramp_legend],
            captions=["result", "coarse occlusion", *(f"occlusion {number}" for number in numbers), "occlusion"],
        ),
    ]


def _flow_cell(displacement: Tensor, full: float, cell: int) -> np.ndarray:
    return to_pictures(displacement_colours(HALF_PIXEL.resize(displacement[None], (cell, cell)), full))[0]


def _occlusion_cell(occlusion: Tensor, cell: int) -> np.ndarray:
    return to_pictures(HALF_PIXEL.resize(occlusion[None, None], (cell, cell)).expand(-1, 3, -1, -1))[0]
