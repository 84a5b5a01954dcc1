"""Pictures in labelled rows and columns, by matplotlib: contact sheets and figures."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import cv2
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GAP = 2
# Free at both sides of a text, so that neighbours stay apart.
MARGIN = 4
MISSING = 96
TEXT, FAINT = "black", "dimgrey"
SMALLEST_FONT = 9

# uint8 RGB, square, of any size; what draws one on axes that fill the cell; or None for a grey cell.
Cell: TypeAlias = "np.ndarray | Callable[[Axes], None] | None"


class Row(NamedTuple):
    """Pictures side by side.

    Attributes:
        pictures: see `Cell`.
        title: a line above them all, or none where empty.
        captions: a line over each picture, or none at all.
    """

    pictures: Sequence[Cell]
    title: str = ""
    captions: Sequence[str] = ()


def draw_grid(rows: Sequence[Row], *, columns: Sequence[str] = (), cell: int = 192) -> np.ndarray:
    """All rows below one another on white, in cells of one size.

    Text that is too long for its space is set smaller, and cut in its middle where that does not do.

    Args:
        rows: at least one; they may have different numbers of pictures.
        columns: a title over each column, or none at all.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    line, step = line_height(cell), cell + GAP
    width = max(len(row.pictures) for row in rows) * step - GAP
    lines = sum(bool(row.title) + bool(row.captions) for row in rows) + bool(columns)
    height = lines * line + len(rows) * step
    sheet = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor="white")
    canvas = FigureCanvasAgg(sheet)
    top = line if columns else 0
    for number, text in enumerate(columns):
        write_line(sheet, text, (number * step, 0, cell, line))
    for row in rows:
        if row.title:
            write_line(sheet, row.title, (0, top, width, line), left=True)
            top += line
        for number, text in enumerate(row.captions):
            write_line(sheet, text, (number * step, top, cell, line))
        top += line if row.captions else 0
        for number, picture in enumerate(row.pictures):
            left, bottom = number * step, height - top - cell
            if callable(picture):
                picture(sheet.add_axes((left / width, bottom / height, cell / width, cell / height)))
            else:
                shown = np.full((cell, cell, 3), MISSING, np.uint8) if picture is None else resize_square(picture, cell)
                sheet.figimage(shown, left, bottom)
        top += step
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def line_height(cell: int) -> int:
    """Height in pixels of a line of text beside cells of this side."""
    return max(18, round(cell / 10))


def resize_square(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture `[S, S, 3]` at another size."""
    interpolation = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=interpolation)


def write_line(sheet: "Figure", text: str, space: tuple[int, int, int, int], *, left: bool = False) -> None:
    """A line of text in a space of the sheet, (x, y, width, height) in pixels; in its middle, or at its left and fainter."""
    x, y, width, height = space
    right, below = sheet.get_size_inches() * sheet.dpi
    place = (x + MARGIN if left else x + width / 2) / right, 1 - (y + height / 2) / below
    align, colour = ("left", FAINT) if left else ("center", TEXT)
    written = sheet.text(*place, text, ha=align, va="center_baseline", color=colour)
    for size in range(round(height * 0.7), SMALLEST_FONT - 1, -1):
        written.set_fontsize(size * 72 / sheet.dpi)
        if written.get_window_extent().width <= width - 2 * MARGIN:
            return
    for kept in range(len(text) - 1, -1, -1):
        written.set_text(text[: (kept + 1) // 2] + "..." + text[len(text) - kept // 2 :])
        if written.get_window_extent().width <= width - 2 * MARGIN:
            return
