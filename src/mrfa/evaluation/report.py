"""Means, shares and failures of an evaluation, as a table and as JSON."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from mrfa.data.files import replacing
from mrfa.evaluation.reconstruction import METHODS, METRICS, ClipScores, Evaluation

# Metrics of which less is better and zero is perfect: only these mean something as a share of another's.
ERRORS = ("l1", "l1_face", "akd", "mouth_opening", "eye_opening")
BASELINE = "source"
METHOD_TITLES = {
    "source": "source",
    "thin_plate": "thin-plate",
    "coarse": "coarse",
    "result": "result",
}
METRIC_TITLES = {
    "l1": "L1",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "l1_face": "L1, face",
    "psnr_face": "PSNR, face",
    "ssim_face": "SSIM, face",
    "akd": "AKD",
    "mouth_opening": "mouth opening",
    "eye_opening": "eye opening",
    "sharpness": "sharpness",
}
PLACES = {"psnr": 2, "psnr_face": 2, "akd": 2, "ssim": 3, "ssim_face": 3, "sharpness": 3}


class Summary(NamedTuple):
    """Figures of a whole evaluation; each is the mean over clips of the mean over a clip's frames.

    Attributes:
        means: method to metric to mean; NaN where no frame could be judged.
        shares: method to error (of `ERRORS`) to its share of the repeated source frame's, over the frames where both could
            be judged, so that a method gains nothing from faces that are not found.
        failures: method to the number of frames in which no face was found, of those whose driving frame shows one.
        judged: number of frames whose driving frame shows a face.
        frames: number of all frames.
    """

    means: dict[str, dict[str, float]]
    shares: dict[str, dict[str, float]]
    failures: dict[str, int]
    judged: int
    frames: int


def summarise(clips: list[ClipScores]) -> Summary:
    """Figures of a whole evaluation."""
    return Summary(
        means={method: _by_metric(_mean_of_clips([clip.values[method] for clip in clips])) for method in METHODS},
        shares={method: _shares(clips, method) for method in METHODS},
        failures={method: int(sum((clip.driving_found & ~clip.found[method]).sum() for clip in clips)) for method in METHODS},
        judged=int(sum(clip.driving_found.sum() for clip in clips)),
        frames=sum(len(clip.frames) for clip in clips),
    )


def make_table(summary: Summary) -> Table:
    """A row a metric, a column a method; errors with their share of the repeated source frame's."""
    caption = f"in brackets: share of the repeated source frame's error ({summary.frames} frames)"
    table = Table(title="Self-reconstruction", caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", no_wrap=True)
    for method in METHODS:
        table.add_column(METHOD_TITLES[method], justify="right", no_wrap=True)
    for metric in METRICS:
        table.add_row(METRIC_TITLES[metric], *(_cell(summary, method, metric) for method in METHODS))
    rates = (f"{summary.failures[method]} / {summary.judged}" for method in METHODS)
    table.add_row("no face", *rates)
    return table


def to_json(evaluation: Evaluation, summary: Summary, *, model: str, data: str) -> dict[str, Any]:
    """All figures, ready for `json`: NaN as None."""
    return {
        "protocol": "reconstruction",
        "model": model,
        "data": data,
        "clip_count": len(evaluation.clips),
        "frame_count": summary.frames,
        "judged_frame_count": summary.judged,
        "means": {method: _plain(values) for method, values in summary.means.items()},
        "shares_of_repeated_source": {method: _plain(values) for method, values in summary.shares.items()},
        "no_face_found": {
            method: {"frames": count, "rate": count / summary.judged if summary.judged else None}
            for method, count in summary.failures.items()
        },
        "skipped_clips": evaluation.problems,
        "clips": [
            {
                "name": clip.clip.path.name,
                "identity": clip.clip.identity,
                "frames": clip.frames,
                "driving_faces_found": int(clip.driving_found.sum()),
                "methods": {method: _plain(_by_metric(_mean(clip.values[method]))) for method in METHODS},
            }
            for clip in evaluation.clips
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a report.

    Raises:
        InputError: `path` cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _mean(values: np.ndarray) -> np.ndarray:
    """Column means of `[F, M]` without the NaNs; NaN where a column has nothing else."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0).sum(0), known.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _mean_of_clips(values: list[np.ndarray]) -> np.ndarray:
    return _mean(np.stack([_mean(clip) for clip in values]))


def _shares(clips: list[ClipScores], method: str) -> dict[str, float]:
    own, base = [], []
    for clip in clips:
        missing = np.isnan(clip.values[method]) | np.isnan(clip.values[BASELINE])
        own.append(np.where(missing, np.nan, clip.values[method]))
        base.append(np.where(missing, np.nan, clip.values[BASELINE]))
    own_means, base_means = _by_metric(_mean_of_clips(own)), _by_metric(_mean_of_clips(base))
    return {error: own_means[error] / base_means[error] if base_means[error] else math.nan for error in ERRORS}


def _by_metric(values: np.ndarray) -> dict[str, float]:
    return {metric: float(value) for metric, value in zip(METRICS, values, strict=True)}


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _cell(summary: Summary, method: str, metric: str) -> str:
    value = summary.means[method][metric]
    if math.isnan(value):
        return "-"
    text = f"{value:.{PLACES.get(metric, 4)}f}"
    if metric in ERRORS and method != BASELINE:
        text += f" ({summary.shares[method][metric]:.3f})"
    return text
