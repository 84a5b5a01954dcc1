"""A grid of pictures to look at: figures alone have hidden many a failure."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrfa.data.files import replacing
from mrfa.evaluation.reconstruction import ClipScores, Pictures

COLUMNS = ("source", "driving", "thin-plate warp", "coarse motion", "result", "|difference|")
TITLE_HEIGHT = 18
GAP = 2
MISSING = 96


def make_contact_sheet(clips: list[ClipScores], *, cell: int = 192) -> np.ndarray:
    """A row a clip: source, driving, thin-plate warp, coarse motion, result, and |result - driving|.

    Each clip shows its frame that differs most from the source.

    Args:
        clips: at least one.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    step = cell + GAP
    sheet = np.full((TITLE_HEIGHT + len(clips) * (step + TITLE_HEIGHT), len(COLUMNS) * step - GAP, 3), 255, np.uint8)
    for row, clip in enumerate(clips):
        top = TITLE_HEIGHT + row * (step + TITLE_HEIGHT) + TITLE_HEIGHT
        for column, picture in enumerate(_cells(clip.pictures, cell)):
            sheet[top : top + cell, column * step : column * step + cell] = picture
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    for column, title in enumerate(COLUMNS):
        draw.text((column * step + 2, 3), title, fill=(0, 0, 0), font=font)
    for row, clip in enumerate(clips):
        draw.text((2, TITLE_HEIGHT + row * (step + TITLE_HEIGHT) + 3), clip.clip.path.name, fill=(90, 90, 90), font=font)
    return np.asarray(image)


def write_contact_sheet(path: Path, clips: list[ClipScores], *, cell: int = 192) -> None:
    """Write a contact sheet as PNG.

    Raises:
        InputError: `path` cannot be written.
    """
    sheet = Image.fromarray(make_contact_sheet(clips, cell=cell))
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _cells(pictures: Pictures, cell: int) -> list[np.ndarray]:
    """The pictures of one row, at the size of a cell; grey where there is none."""
    result = pictures.methods["result"]
    difference = None if result is None else cv2.absdiff(result, pictures.driving)
    row = [
        pictures.source,
        pictures.driving,
        pictures.methods["thin_plate"],
        pictures.methods["coarse"],
        result,
        difference,
    ]
    return [np.full((cell, cell, 3), MISSING, np.uint8) if picture is None else _resize(picture, cell) for picture in row]


def _resize(picture: np.ndarray, cell: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if picture.shape[0] > cell else cv2.INTER_CUBIC
    return cv2.resize(picture, (cell, cell), interpolation=interpolation)
