"""A contact sheet of the clips that went worst: figures alone have hidden many a failure."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mrfa.data.images import read_image, write_image
from mrfa.evaluation.figures.grid import Row, draw_grid, resize_square
from mrfa.evaluation.metrics import Metric
from mrfa.evaluation.records import TrialRecord
from mrfa.evaluation.summary import BASELINE, clip_means
from mrfa.evaluation.trials import most_different

CELL = 160
ROWS = 12


def write_strip(folder: Path, name: str, source: np.ndarray, driving: np.ndarray, pictures: dict[str, np.ndarray]) -> None:
    """Keep one frame of a trial, the one that differs most from the portrait: `columns` side by side.

    Args:
        folder: of the evaluation.
        name: the trial's.
        source: uint8 RGB `[S, S, 3]`.
        driving: `[F, S, S, 3]`.
        pictures: `[F, S, S, 3]` by method.
    """
    most = most_different(source, driving)
    shown = {method: made[most] for method, made in pictures.items() if method != BASELINE}
    cells = [source, driving[most], *shown.values(), cv2.absdiff(shown["result"], driving[most])]
    path = folder / "trials" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.hstack([resize_square(cell, CELL) for cell in cells]))


def write_sheet(path: Path, folder: Path, records: Sequence[TrialRecord], metrics: Sequence[Metric]) -> None:
    """Write the strips of the worst trials by the first metric of the result, the worst on top.

    Args:
        path: PNG file to write.
        folder: of the evaluation.
        records: of all trials, at least one of them without a problem.
        metrics: of the evaluation; without one that gives clips a value, the first trials are shown.
    """
    usable = [record for record in records if record.problem is None]
    badness, notes = np.zeros(len(usable)), [""] * len(usable)
    metric = next((metric for metric in metrics if metric.of_set is None), None)
    if metric is not None:
        scores = clip_means(usable, "result", metric.name)
        badness = {"lower": scores, "higher": -scores, "near 1": np.abs(scores - 1)}[metric.better]
        notes = [f"  {metric.name} {score:.4g}" for score in scores]
    columns = ["portrait", "driving", *(name for name in usable[0].values if name != BASELINE), "|result - driving|"]
    rows = []
    for index in np.argsort(-np.nan_to_num(badness, nan=np.inf), kind="stable")[:ROWS]:
        name = usable[index].name
        strip = read_image(folder / "trials" / f"{name}.png")
        rows.append(Row(np.split(strip, len(columns), axis=1), title=name + notes[index]))
    write_image(path, draw_grid(rows, columns=columns, cell=CELL))
