"""A contact sheet of the clips that went worst: figures alone have hidden many a failure."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from mrfa.data.images import read_image, write_image
from mrfa.data.origin import Origin
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
    write_image(path, np.hstack([resize_square(cell, CELL) for cell in cells]), origin=Origin.now(composite=True))


def write_sheet(path: Path, folder: Path, records: Sequence[TrialRecord], metrics: Sequence[Metric]) -> None:
    """Write the strips of the worst trials by each metric of the result, and say by which; see `worst_trials`.

    Args:
        path: PNG file to write.
        folder: of the evaluation.
        records: of all trials, at least one of them without a problem.
        metrics: of the evaluation; without one that tells clips apart, the first trials are shown.
    """
    usable = [record for record in records if record.problem is None]
    shown = worst_trials(usable, metrics) or {index: [] for index in range(min(ROWS, len(usable)))}
    columns = ["portrait", "driving", *(name for name in usable[0].values if name != BASELINE), "|result - driving|"]
    rows = []
    for index, notes in shown.items():
        name = usable[index].name
        strip = read_image(folder / "trials" / f"{name}.png")
        rows.append(Row(np.split(strip, len(columns), axis=1), title="  ".join([name, *notes])))
    write_image(path, draw_grid(rows, columns=columns, cell=CELL), origin=Origin.now(composite=True))


def worst_trials(records: Sequence[TrialRecord], metrics: Sequence[Metric]) -> dict[int, list[str]]:
    """Numbers of the trials that are worst by a metric, with what they have by which.

    First come the worst by each metric, in the metrics' order, and then, up to `ROWS`, more that are second worst by one, and so
    on. Metrics by which all trials are alike, or of sets, find none.
    """
    found: dict[int, list[str]] = {}
    rankings = [(metric, *_ranking(records, metric)) for metric in metrics if metric.of_set is None]
    for place in range(len(records)):
        for metric, scores, ranking in rankings:
            index = ranking[place] if place < len(ranking) else None
            if index is not None and (place == 0 or (index not in found and len(found) < ROWS)):
                found.setdefault(index, []).append(f"{metric.name.partition(' (')[0]} {scores[index]:.4g}")
    return found


def _ranking(records: Sequence[TrialRecord], metric: Metric) -> tuple[np.ndarray, list[int]]:
    """Values of a metric, `[trials]`, and the numbers of the trials that have one, the worst first; none where all are alike."""
    scores = clip_means(records, "result", metric.name)
    badness = {"lower": scores, "higher": -scores, "near 1": np.abs(scores - 1)}[metric.better]
    known = np.flatnonzero(np.isfinite(badness))
    if len(set(badness[known])) < 2:
        return scores, []
    return scores, [int(index) for index in known[np.argsort(-badness[known], kind="stable")]]
