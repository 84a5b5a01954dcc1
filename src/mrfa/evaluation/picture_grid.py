"""Pictures in labelled rows and columns: contact sheets and figures."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 2
# Free at both sides of a text, so that neighbours stay apart.
MARGIN = 4
MISSING = 96
TEXT, FAINT = (0, 0, 0), (90, 90, 90)
SMALLEST_FONT = 9


class Row(NamedTuple):
    """Pictures side by side.

    Attributes:
        pictures: uint8 RGB, square, of any size; a grey cell where there is none.
        title: a line above them all, or none where empty.
        captions: a line over each picture, or none at all.
    """

    pictures: Sequence[np.ndarray | None]
    title: str = ""
    captions: Sequence[str] = ()


class _Line(NamedTuple):
    """A line of text in a space of the sheet, in pixels; centred there or at its left."""

    text: str
    left: int
    top: int
    width: int
    colour: tuple[int, int, int]
    centred: bool


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
    line, step = line_height(cell), cell + GAP
    width = max(len(row.pictures) for row in rows) * step - GAP
    lines = [_Line(text, number * step, 0, cell, TEXT, True) for number, text in enumerate(columns)]
    top = line if columns else 0
    places = []
    for row in rows:
        if row.title:
            lines.append(_Line(row.title, 0, top, width, FAINT, False))
            top += line
        if row.captions:
            lines += [_Line(text, number * step, top, cell, TEXT, True) for number, text in enumerate(row.captions)]
            top += line
        places.append(top)
        top += step
    sheet = np.full((top, width, 3), 255, np.uint8)
    for row, y in zip(rows, places, strict=True):
        for number, picture in enumerate(row.pictures):
            x = number * step
            sheet[y : y + cell, x : x + cell] = MISSING if picture is None else resize_square(picture, cell)
    image = Image.fromarray(sheet)
    draw = ImageDraw.Draw(image)
    for text in lines:
        _write(draw, text, line)
    return np.asarray(image)


def line_height(cell: int) -> int:
    """Height in pixels of a line of text beside cells of this side."""
    return max(18, round(cell / 10))


def font_size(line: int) -> int:
    """Size in pixels of the largest font for lines of this height."""
    return round(line * 0.7)


def resize_square(picture: np.ndarray, side: int) -> np.ndarray:
    """A square picture `[S, S, 3]` at another size."""
    interpolation = cv2.INTER_AREA if picture.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=interpolation)


def fit_text(text: str, width: int, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """A text and a font in which it is at most `width` pixels wide; at most `size` pixels high."""
    for pixels in range(size, SMALLEST_FONT - 1, -1):
        font = _font(pixels)
        if font.getlength(text) <= width:
            return text, font
    font = _font(min(size, SMALLEST_FONT))
    for kept in range(len(text) - 1, 0, -1):
        shorter = text[: (kept + 1) // 2] + "..." + text[len(text) - kept // 2 :]
        if font.getlength(shorter) <= width:
            return shorter, font
    return "", font


def _write(draw: ImageDraw.ImageDraw, line: _Line, height: int) -> None:
    text, font = fit_text(line.text, line.width - 2 * MARGIN, font_size(height))
    # Anchors at the middle of the line: letters below the base line stay inside it.
    x, anchor = (line.left + line.width / 2, "mm") if line.centred else (line.left + MARGIN, "lm")
    draw.text((x, line.top + height / 2), text, fill=line.colour, font=font, anchor=anchor)


def _font(pixels: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(pixels)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
