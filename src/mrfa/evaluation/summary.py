"""Figures of a whole evaluation: means over clips with intervals, as JSON, CSV and table."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mrfa.data.files import replacing
from mrfa.evaluation.intervals import bootstrap_interval
from mrfa.evaluation.judges import Judge, SetJudge
from mrfa.evaluation.trial_records import TrialRecord


def sum_up(
    records: Sequence[TrialRecord], judges: Sequence[Judge | SetJudge], settings: dict[str, Any], problems: Sequence[str]
) -> dict[str, Any]:
    """The content of `summary.json`: for each method and judge the mean over clips of the mean over a clip's frames.

    In the `paper` variant it is the mean over all frames, as in the published figures: a long clip counts more. A judge of sets,
    such as FID, gives one figure over all frames, without an interval.
    """
    usable = [record for record in records if record.problem is None]
    by_frame = settings["variant"] == "paper"
    methods = list(usable[0].values or usable[0].features) if usable else []
    return {
        **settings,
        "clips": len(usable),
        "frames": sum(len(record.frames) for record in usable),
        "judges": {judge.name: {"lower_is_better": judge.lower_is_better} for judge in judges},
        "methods": {
            method: {judge.name: _figure(usable, method, judge, by_frame=by_frame) for judge in judges} for method in methods
        },
        "problems": [*problems, *(f"{record.name}: {record.problem}" for record in records if record.problem)],
    }


def clip_means(records: Sequence[TrialRecord], method: str, judge: str) -> np.ndarray:
    """Mean over each clip's judged frames, NaN where none could be judged: `[clips]`."""
    found = []
    for record in records:
        values = record.values.get(method, {}).get(judge)
        judged = np.array([]) if values is None else values[np.isfinite(values)]
        found.append(judged.mean() if judged.size else math.nan)
    return np.array(found)


def write_summary(folder: Path, summary: dict[str, Any], records: Sequence[TrialRecord]) -> None:
    """Write `summary.json` and `clips.csv`."""
    with replacing(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    usable = [record for record in records if record.problem is None]
    names = list(summary["judges"])
    columns = {method: {name: clip_means(usable, method, name) for name in names} for method in summary["methods"]}
    with replacing(folder / "clips.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "method", "frames", *names])
        for row, record in enumerate(usable):
            for method, values in columns.items():
                cells = [values[name][row] for name in names]
                writer.writerow(
                    [record.name, method, len(record.frames), *("" if math.isnan(cell) else f"{cell:.6g}" for cell in cells)]
                )


def make_table(summary: dict[str, Any]) -> Table:
    """A judge a row, a method a column, each figure with its 95 % interval."""
    title = f"{summary['protocol']} ({summary['variant']}), {summary['clips']} clips, {summary['frames']} frames"
    table = Table(title=title, box=SIMPLE_HEAD, caption="mean over clips [95 % bootstrap interval]; ↓ lower is better, ↑ higher")
    table.add_column("")
    for method in summary["methods"]:
        table.add_column(method, justify="right")
    for name, about in summary["judges"].items():
        arrow = "↓" if about["lower_is_better"] else "↑"
        cells = [_cell(figures[name]) for figures in summary["methods"].values()]
        table.add_row(f"{name} {arrow}", *cells)
    return table


def _figure(records: Sequence[TrialRecord], method: str, judge: Judge | SetJudge, *, by_frame: bool) -> dict[str, Any]:
    if isinstance(judge, SetJudge):
        features = [record.features[method][judge.name] for record in records]
        value = judge.result(np.concatenate(features)) if features else math.nan
        return {"mean": _number(value), "low": None, "high": None, "clips": len(records)}
    means = clip_means(records, method, judge.name)
    known = np.isfinite(means)
    if not known.any():
        return {"mean": None, "low": None, "high": None, "clips": 0}
    frames = [np.isfinite(record.values[method][judge.name]).sum() if by_frame else 1 for record in records]
    means, weights = means[known], np.array(frames, float)[known]
    low, high = bootstrap_interval(means, weights)
    mean = _number(np.average(means, weights=weights))
    return {"mean": mean, "low": _number(low), "high": _number(high), "clips": int(means.size)}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _cell(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    text = f"{figure['mean']:.4g}"
    return text if figure["low"] is None else f"{text} [{figure['low']:.4g}, {figure['high']:.4g}]"
