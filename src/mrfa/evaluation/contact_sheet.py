"""A grid of pictures to look at: figures alone have hidden many a failure."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mrfa.data.files import replacing
from mrfa.evaluation.picture_grid import Row, draw_grid
from mrfa.evaluation.reconstruction import ClipScores, Pictures

COLUMNS = ("source", "driving", "thin-plate warp", "coarse motion", "result", "|difference|")


def make_contact_sheet(clips: list[ClipScores], *, cell: int = 192) -> np.ndarray:
    """A row a clip: source, driving, thin-plate warp, coarse motion, result, and |result - driving|.

    Each clip shows its frame that differs most from the source.

    Args:
        clips: at least one.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    rows = [Row(_cells(clip.pictures), title=clip.clip.path.name) for clip in clips]
    return draw_grid(rows, columns=COLUMNS, cell=cell)


def write_contact_sheet(path: Path, clips: list[ClipScores], *, cell: int = 192) -> None:
    """Write a contact sheet as PNG.

    Raises:
        InputError: `path` cannot be written.
    """
    sheet = Image.fromarray(make_contact_sheet(clips, cell=cell))
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _cells(pictures: Pictures) -> list[np.ndarray | None]:
    """The pictures of one row; None where there is none."""
    result = pictures.methods["result"]
    difference = None if result is None else cv2.absdiff(result, pictures.driving)
    baselines = [pictures.methods["thin_plate"], pictures.methods["coarse"]]
    return [pictures.source, pictures.driving, *baselines, result, difference]
