"""A picture of flows beside the truth: where the coarse motion errs, and what each refinement mends."""

from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.known_motion.flow_errors import REFERENCE_SIDE, MotionPair, Stage, end_point_error
from mrfa.data.flow_colours import displacement_colours
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.figures.flow import wheel_legend
from mrfa.evaluation.figures.grid import Row, draw_grid

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
        moved = [stage for stage in pair.stages if stage.occlusion is not None]
        truth = pair.truth.displacement_px
        full_px = float(np.quantile(np.linalg.norm(truth, axis=-1), 0.995))
        flows = [_colours(displacement_px, full_px) for displacement_px in (truth, *(stage.displacement_px for stage in moved))]
        legend = wheel_legend(full_px * REFERENCE_SIDE / len(truth))
        captions = ["source", "driving", "truth", *(stage.name for stage in moved), "flow, pixels of 256"]
        rows.append(Row([pair.source.image, pair.driving.image, *flows, legend], title=f"pair {number}", captions=captions))
        last = moved[-1].occlusion
        assert last is not None
        labels = ["visible", "last occlusion", f"black 0, white {FULL_ERROR_PX:.0f} px"]
        labels += [f"mean {end_point_error(stage, pair.truth)[pair.truth.visible].mean():.2f} px" for stage in moved]
        errors = [_error(stage, pair) for stage in moved]
        rows.append(Row([_grey(pair.truth.visible), _grey(last), _ramp(cell), *errors], captions=labels))
    return draw_grid(rows, cell=cell)


def _colours(displacement_px: np.ndarray, full_px: float) -> np.ndarray:
    displacement = torch.from_numpy(displacement_px).permute(2, 0, 1)[None]
    return to_pictures(displacement_colours(displacement, full_px))[0]


def _error(stage: Stage, pair: MotionPair) -> np.ndarray:
    """Error as brightness, blue where the pixel is hidden in the source."""
    grey = np.clip(end_point_error(stage, pair.truth) / FULL_ERROR_PX, 0, 1)
    return np.where(pair.truth.visible[..., None], _grey(grey), HIDDEN)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat((values.astype(np.float32) * 255).round().astype(np.uint8)[..., None], 3, axis=2)


def _ramp(cell: int) -> np.ndarray:
    return np.repeat(np.tile(np.linspace(0, 255, cell).astype(np.uint8), (cell, 1))[..., None], 3, axis=2)
