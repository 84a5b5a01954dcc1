"""A contact sheet of the clips that went worst: figures alone have hidden many a failure."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mrfa.data.files import replacing
from mrfa.evaluation.summary import clip_means
from mrfa.evaluation.trial_records import TrialRecord

CELL = 160
TITLE_HEIGHT = 18
ROWS = 12


def write_strip(
    folder: Path, name: str, source: np.ndarray, driving: np.ndarray, pictures: dict[str, np.ndarray]
) -> None:
    """Keep one frame of a trial, the one that differs most from the portrait: portrait, driving frame, each method.

    Args:
        folder: of the evaluation.
        name: the trial's.
        source: uint8 RGB `[S, S, 3]`.
        driving: `[F, S, S, 3]`.
        pictures: `[F, S, S, 3]` by method; the repeated source is left out.
    """
    most = int(np.abs(driving.astype(np.int16) - source).mean(axis=(1, 2, 3)).argmax())
    cells = [source, driving[most], *(made[most] for method, made in pictures.items() if method != "source")]
    strip = np.hstack([cv2.resize(cell, (CELL, CELL), interpolation=cv2.INTER_AREA) for cell in cells])
    path = folder / "trials" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        Image.fromarray(strip).save(temporary, format="PNG")


def write_sheet(folder: Path, records: Sequence[TrialRecord]) -> None:
    """Write `sheet.png`: the strips of the worst trials by the first judge of the result, the worst on top."""
    usable = [record for record in records if record.problem is None and "result" in record.values]
    if not usable:
        return
    judge = next(iter(usable[0].values["result"]))
    scores = np.nan_to_num(clip_means(usable, "result", judge), nan=np.inf)
    methods = ["portrait", "driving", *(method for method in usable[0].values if method != "source")]
    chosen = [usable[index] for index in np.argsort(-scores)[:ROWS]]
    sheet = np.full((TITLE_HEIGHT + len(chosen) * (CELL + TITLE_HEIGHT), len(methods) * CELL, 3), 255, np.uint8)
    for row, record in enumerate(chosen):
        strip = np.asarray(Image.open(folder / "trials" / f"{record.name}.png"))
        top = TITLE_HEIGHT + row * (CELL + TITLE_HEIGHT) + TITLE_HEIGHT
        sheet[top : top + CELL, : strip.shape[1]] = strip
    image = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default()
    for column, method in enumerate(methods):
        draw.text((column * CELL + 2, 3), method, fill=(0, 0, 0), font=font)
    for row, record in enumerate(chosen):
        value = float(clip_means([record], "result", judge)[0])
        text = f"{record.name}  {judge} {value:.4g}"
        draw.text((2, TITLE_HEIGHT + row * (CELL + TITLE_HEIGHT) + 3), text, fill=(90, 90, 90), font=font)
    with replacing(folder / "sheet.png") as temporary:
        image.save(temporary, format="PNG")
