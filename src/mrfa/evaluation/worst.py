"""A contact sheet of the clips that went worst: figures alone have hidden many a failure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mrfa.data.files import replacing
from mrfa.evaluation.picture_grid import Row, draw_grid, resize_square
from mrfa.evaluation.pixels import most_different
from mrfa.evaluation.summary import clip_means
from mrfa.evaluation.trial_records import TrialRecord

CELL = 160
ROWS = 12


def write_strip(folder: Path, name: str, source: np.ndarray, driving: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    """Keep one frame of a trial, the one that differs most from the portrait: portrait, driving frame, each method.

    Args:
        folder: of the evaluation.
        name: the trial's.
        source: uint8 RGB `[S, S, 3]`.
        driving: `[F, S, S, 3]`.
        pictures: `[F, S, S, 3]` by method; the repeated source is left out.
    """
    most = most_different(source, driving)
    cells = [source, driving[most], *(made[most] for method, made in pictures.items() if method != "source")]
    strip = np.hstack([resize_square(cell, CELL) for cell in cells])
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
    rows = []
    for index in np.argsort(-scores)[:ROWS]:
        record = usable[index]
        value = float(clip_means([record], "result", judge)[0])
        strip = np.asarray(Image.open(folder / "trials" / f"{record.name}.png"))
        rows.append(Row(np.split(strip, len(methods), axis=1), title=f"{record.name}  {judge} {value:.4g}"))
    with replacing(folder / "sheet.png") as temporary:
        Image.fromarray(draw_grid(rows, columns=methods, cell=CELL)).save(temporary, format="PNG")
