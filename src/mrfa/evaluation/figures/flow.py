"""Figure 7: how the motion is refined, iteration by iteration."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from mrfa.data.flow_colours import colour_wheel, displacement_colours
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.figures.motion_steps import MotionSteps, enlarge, trace_motion
from mrfa.evaluation.figures.shots import Shot, read_shot
from mrfa.evaluation.picture_grid import MARGIN, TEXT, Row, draw_grid, fit_text, font_size, line_height, resize_square
from mrfa.network.model import Network

# Full colour is at this quantile of the lengths, so that a few stray pixels do not fade all others.
FULL_QUANTILE = 0.98
LEAST_FULL_PX = 0.1


def draw_flow(network: Network, shots: Sequence[Shot], *, absolute: bool = False, cell: int = 192) -> np.ndarray:
    """Three rows a shot: the flow after each iteration, what each one changed, and the occlusion maps.

    Before them stand source and driving frame with their keypoints, the result, and what the prior makes of it; behind them the
    legends. All flows of a shot share one scale, each change has its own; both are stated, in pixels of the network's pictures.

    Args:
        network: in evaluation mode, on any device.
        shots: at least one. Clips driven by themselves take absolute motion, others relative motion.
        absolute: take absolute motion for all.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        InputError: a clip cannot be read.
    """
    rows = []
    for shot in shots:
        relative = not absolute and not shot.trial.is_reconstruction
        footage = read_shot(shot, network.config.image_size)
        title = f"{shot.trial.name}, frame {footage.frame}, {'relative' if relative else 'absolute'} motion"
        steps = trace_motion(network, footage, relative=relative, one_video=shot.trial.is_reconstruction)
        rows += _rows(steps, title, cell)
    return draw_grid(rows, cell=cell)


def draw_keypoints(picture: np.ndarray, positions: Tensor, cell: int) -> np.ndarray:
    """A square picture at `cell` x `cell` with its keypoints, `[K, 2]`, normalised; each has the same colour in every picture."""
    drawn = resize_square(picture, cell)
    # OpenCV takes positions and radii with so many bits after the point.
    fine = 4
    radius, outline = max(2.5, cell / 60), 1
    for colour, (x, y) in zip(_distinct(len(positions)), positions.tolist(), strict=True):
        centre = round((x + 1) / 2 * (cell - 1) * 2**fine), round((y + 1) / 2 * (cell - 1) * 2**fine)
        for size, shade in ((radius + outline, (0, 0, 0)), (radius, colour)):
            cv2.circle(drawn, centre, round(size * 2**fine), shade, -1, cv2.LINE_AA, fine)
    return drawn


def full_colour(displacements: Sequence[Tensor]) -> float:
    """Length shown in full colour for displacements `[2, h, w]` of one scale."""
    lengths = [torch.quantile(torch.hypot(field[0], field[1]), FULL_QUANTILE).item() for field in displacements]
    return max(LEAST_FULL_PX, *lengths)


def _rows(steps: MotionSteps, title: str, cell: int) -> list[Row]:
    flow_scale = full_colour([steps.coarse, *steps.displacements])
    change_scales = [full_colour([field]) for field in steps.changes]
    numbers = range(1, len(steps.displacements) + 1)
    flows = [_flow_cell(field, flow_scale, cell) for field in (steps.coarse, *steps.displacements)]
    changes = [_flow_cell(field, scale, cell) for field, scale in zip(steps.changes, change_scales, strict=True)]
    occlusions = [_occlusion_cell(field, cell) for field in (steps.coarse_occlusion, *steps.occlusions)]
    source = draw_keypoints(steps.source, steps.source_keypoints, cell)
    driving = draw_keypoints(steps.driving, steps.driving_keypoints, cell)
    first = Row(
        [source, *flows, wheel_legend(flow_scale, cell)],
        title=title,
        captions=[
            "source, keypoints",
            f"coarse flow, {_size(steps.coarse)}",
            *(f"flow {number}, {_size(field)}" for number, field in zip(numbers, steps.displacements, strict=True)),
            "from driving to source",
        ],
    )
    second = Row(
        [driving, steps.coarse_result, *changes, *([wheel_legend(None, cell)] if changes else [])],
        captions=[
            "driving, keypoints",
            "coarse motion alone",
            *(f"change {number}, edge {scale:.3g} px" for number, scale in zip(numbers, change_scales, strict=True)),
            *(["change of the flow"] if changes else []),
        ],
    )
    third = Row(
        [steps.result, *occlusions, ramp_legend(cell)],
        captions=["result", "coarse occlusion", *(f"occlusion {number}" for number in numbers), "occlusion"],
    )
    return [first, second, third]


def wheel_legend(full: float | None, cell: int) -> np.ndarray:
    """The colour wheel: uint8 RGB `[cell, cell, 3]`; `full` is the length at its edge in pixels, None where pictures differ."""
    line = line_height(cell)
    side = cell - 2 * line
    legend = np.full((cell, cell, 3), 255, np.uint8)
    left = (cell - side) // 2
    legend[:side, left : left + side] = to_pictures(colour_wheel(side)[None])[0]
    image = Image.fromarray(legend)
    text = "edge: as stated" if full is None else f"edge: {full:.3g} px or more"
    text, font = fit_text(text, cell - 2 * MARGIN, font_size(line))
    ImageDraw.Draw(image).text((cell / 2, cell - line), text, fill=TEXT, font=font, anchor="mm")
    return np.asarray(image)


def ramp_legend(cell: int) -> np.ndarray:
    """What the greys of occlusion maps mean: uint8 RGB `[cell, cell, 3]`."""
    line = line_height(cell)
    legend = np.full((cell, cell, 3), 255, np.uint8)
    top, bottom, left, right = line // 2, cell - line, line // 2, line * 3 // 2
    legend[top:bottom, left:right] = np.linspace(255, 0, bottom - top).round().astype(np.uint8)[:, None, None]
    image = Image.fromarray(legend)
    draw, beside = ImageDraw.Draw(image), right + line // 3
    draw.rectangle((left - 1, top - 1, right, bottom), outline=TEXT)
    for y, anchor, text in ((top, "lt", "1: visible"), (bottom, "lb", "0: hidden")):
        text, font = fit_text(text, cell - beside - MARGIN, font_size(line))
        draw.text((beside, y), text, fill=TEXT, font=font, anchor=anchor)
    return np.asarray(image)


def _flow_cell(displacement: Tensor, full: float, cell: int) -> np.ndarray:
    return to_pictures(displacement_colours(enlarge(displacement, cell)[None], full))[0]


def _occlusion_cell(occlusion: Tensor, cell: int) -> np.ndarray:
    return to_pictures(enlarge(occlusion[None], cell).expand(3, -1, -1)[None])[0]


def _size(field: Tensor) -> str:
    return f"{field.shape[-1]}x{field.shape[-2]}"


def _distinct(count: int) -> list[tuple[int, int, int]]:
    """So many saturated colours, neighbours far apart."""
    hues = (np.arange(count) * 0.618034 % 1 * 180).astype(np.uint8)
    hsv = np.stack([hues, np.full_like(hues, 200), np.full_like(hues, 255)], axis=-1)[None]
    return [tuple(int(value) for value in colour) for colour in cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]]  # type: ignore[misc]
