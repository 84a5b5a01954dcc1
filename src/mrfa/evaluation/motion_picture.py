"""A picture of flows beside the truth: where the coarse motion errs, and what each refinement mends."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mrfa.data.flow_colours import flow_colours
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.figures.flow import wheel_legend
from mrfa.evaluation.motion import REFERENCE_SIDE, MotionPair, end_point_error, flows_by_stage
from mrfa.evaluation.picture_grid import Row, draw_grid
from mrfa.network.geometry import resize, to_displacement

# Errors from here on are white.
FULL_ERROR_PX = 8.0
HIDDEN = np.array([70, 70, 110], np.uint8)


def draw_motion(pairs: Sequence[MotionPair], *, cell: int = 160) -> np.ndarray:
    """Two rows a pair: flows, and their end-point errors, black for none; pixels that are hidden in the source are blue.

    Args:
        pairs: at least one.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    rows = []
    for number, pair in enumerate(pairs, start=1):
        height, width = pair.truth.visible.shape
        flows = {"truth": torch.from_numpy(pair.truth.flow)[None]} | flows_by_stage(pair.output, height, width)
        full = float(np.quantile(np.linalg.norm(to_displacement(flows["truth"])[0].numpy(), axis=0), 0.995))
        pictures = [_colours(flow, full) for flow in flows.values()]
        legend = wheel_legend(full * (REFERENCE_SIDE - 1) / 2, cell)
        captions = ["source", "driving", *flows, "flow, pixels of 256"]
        rows.append(Row([pair.source.image, pair.driving.image, *pictures, legend], title=f"pair {number}", captions=captions))
        errors = [_error(flow, pair) for stage, flow in flows.items() if stage != "truth"]
        means = [f"mean {_mean_error(flow, pair):.2f} px" for stage, flow in flows.items() if stage != "truth"]
        first = [_grey(pair.truth.visible), _occlusion(pair), _ramp(cell)]
        labels = ["visible", "last occlusion", f"black 0, white {FULL_ERROR_PX:.0f} px", *means]
        rows.append(Row([*first, *errors], captions=labels))
    return draw_grid(rows, cell=cell)


def _colours(flow: Tensor, full: float) -> np.ndarray:
    return to_pictures(flow_colours(flow.cpu(), full))[0]


def _error(flow: Tensor, pair: MotionPair) -> np.ndarray:
    """Error as brightness, blue where the pixel is hidden in the source."""
    error = end_point_error(flow[0].float().cpu().numpy(), pair.truth)
    grey = (np.clip(error / FULL_ERROR_PX, 0, 1) * 255).astype(np.uint8)
    return np.where(pair.truth.visible[..., None], grey[..., None], HIDDEN)


def _mean_error(flow: Tensor, pair: MotionPair) -> float:
    return float(end_point_error(flow[0].float().cpu().numpy(), pair.truth)[pair.truth.visible].mean())


def _occlusion(pair: MotionPair) -> np.ndarray:
    size = pair.truth.visible.shape
    return _grey(resize(pair.output.motion.occlusions[-1].float(), size)[0, 0].cpu().numpy())


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat((values.astype(np.float32) * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def _ramp(cell: int) -> np.ndarray:
    return np.repeat(np.tile(np.linspace(0, 255, cell).astype(np.uint8), (cell, 1))[..., None], 3, axis=2)
