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
from mrfa.evaluation.metrics import Metric
from mrfa.evaluation.records import TrialRecord

# Of this method's figures the others' are shares.
BASELINE = "source"
ARROWS = {"lower": "↓", "higher": "↑", "near 1": "→ 1"}


def sum_up(
    records: Sequence[TrialRecord], metrics: Sequence[Metric], about: dict[str, Any], problems: Sequence[str]
) -> dict[str, Any]:
    """The content of `summary.json`: for each method and metric the mean over clips of the mean over a clip's frames.

    In the `paper` variant it is the mean over all frames, as in the published figures: a long clip counts more. A metric of
    sets, such as FID, gives one figure over all frames, without an interval. Figures of which zero is perfect also come as a
    share of the repeated source frame's, over the frames where both could be measured, so that a method gains nothing from
    faces that are not found.
    """
    usable = [record for record in records if record.problem is None]
    by_frame = about["variant"] == "paper"
    methods = list(usable[0].values) if usable else []
    return {
        **about,
        "clips": len(usable),
        "frames": sum(len(record.frames) for record in usable),
        "metrics": {metric.name: {"better": metric.better} for metric in metrics},
        "methods": {
            method: {metric.name: _figure(usable, method, metric, by_frame=by_frame) for metric in metrics} for method in methods
        },
        "problems": [*problems, *(f"{record.name}: {record.problem}" for record in records if record.problem)],
    }


def clip_means(records: Sequence[TrialRecord], method: str, metric: str) -> np.ndarray:
    """Mean over each clip's measured frames, `[clips]`; NaN where none could be measured, and for metrics of sets."""
    found = [record.values[method][metric] for record in records]
    return _means([values if values.ndim == 1 else values[:0, 0] for values in found])[0]


def write_summary(folder: Path, summary: dict[str, Any], records: Sequence[TrialRecord]) -> None:
    """Write `summary.json`, and `clips.csv` with a line a clip and method."""
    with replacing(folder / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    usable = [record for record in records if record.problem is None]
    with replacing(folder / "clips.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "method", "frames", *summary["metrics"]])
        for record in usable:
            for method in record.values:
                means = [clip_means([record], method, name)[0] for name in summary["metrics"]]
                cells = ["" if math.isnan(mean) else f"{mean:.6g}" for mean in means]
                writer.writerow([record.name, method, len(record.frames), *cells])


def make_table(summary: dict[str, Any]) -> Table:
    """A metric a row, a method a column, and the interval of the last one, the result."""
    title = f"{summary['protocol']} ({summary['variant']}), {summary['clips']} clips, {summary['frames']} frames"
    caption = "↓ lower is better, ↑ higher, → 1 near the true picture's"
    if BASELINE in summary["methods"]:
        caption += "; in brackets: share of the repeated source frame's error"
    table = Table(title=title, caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    for method in [*summary["methods"], "95 % interval"]:
        table.add_column(method, justify="right", no_wrap=True)
    for name, about in summary["metrics"].items():
        figures = [figures[name] for figures in summary["methods"].values()]
        interval = "" if figures[-1]["low"] is None else f"{figures[-1]['low']:.4g} to {figures[-1]['high']:.4g}"
        table.add_row(f"{name} {ARROWS[about['better']]}", *(_cell(figure) for figure in figures), interval)
    return table


def bootstrap_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979).

    Clips are the units that are drawn again, not frames: frames of one clip are alike.

    Args:
        values: a figure a clip, `[C]`, at least one, all finite.
        weights: of each clip in the mean, `[C]`, such as its number of frames; None: all alike.
        level: share of the resampled means inside.
        resamples: how many.
        seed: the same seed gives the same interval.

    Returns:
        Lower and upper end; both the value itself where there is only one.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    shares = np.ones(len(values)) if weights is None else weights
    means = (values * shares)[drawn].sum(1) / shares[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _figure(records: Sequence[TrialRecord], method: str, metric: Metric, *, by_frame: bool) -> dict[str, Any]:
    found = [record.values[method][metric.name] for record in records]
    base = [record.values[BASELINE][metric.name] for record in records] if BASELINE in records[0].values else None
    if metric.of_set is not None:
        value = metric.of_set(np.concatenate(found))
        share = None if base is None else value / metric.of_set(np.concatenate(base))
        return {"mean": _number(value), "low": None, "high": None, "share": _number(share), "clips": len(records)}
    means, frames = _means(found)
    known = frames > 0
    if not known.any():
        return {"mean": None, "low": None, "high": None, "share": None, "clips": 0}
    weights = frames if by_frame else np.ones(len(frames))
    low, high = bootstrap_interval(means[known], weights[known])
    return {
        "mean": _number(np.average(means[known], weights=weights[known])),
        "low": _number(low),
        "high": _number(high),
        "share": None if base is None or metric.better != "lower" else _number(_share(found, base, by_frame=by_frame)),
        "clips": int(known.sum()),
    }


def _share(found: list[np.ndarray], base: list[np.ndarray], *, by_frame: bool) -> float:
    """Mean of one method over that of another, over the frames that both have."""
    both = [np.isfinite(a) & np.isfinite(b) for a, b in zip(found, base, strict=True)]
    (own, frames), (other, _) = (
        _means([np.where(chosen, a, math.nan) for a, chosen in zip(values, both, strict=True)]) for values in (found, base)
    )
    known = frames > 0
    if not known.any():
        return math.nan
    weights = frames[known] if by_frame else None
    reference = np.average(other[known], weights=weights)
    return float(np.average(own[known], weights=weights) / reference) if reference else math.nan


def _means(values: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each clip's finite values, NaN where there is none, and how many there are: `[clips]` each."""
    finite = [found[np.isfinite(found)] for found in values]
    means = [float(found.mean()) if found.size else math.nan for found in finite]
    return np.array(means), np.array([found.size for found in finite], float)


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _cell(figure: dict[str, Any]) -> str:
    if figure["mean"] is None:
        return "-"
    return f"{figure['mean']:.4g}" + ("" if figure["share"] is None else f" ({figure['share']:.3f})")
