"""Differences between variants, clip by clip: far surer than the figures themselves, as all are measured on the same clips."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mrfa.evaluation.summary import bootstrap_interval
from mrfa.evaluation.tables.table import METHOD, Figure

CLIPS = "clips.csv"


def read_clips(path: Path) -> dict[str, dict[str, float]]:
    """Metric to clip to the model's figure, from a `clips.csv`; what could not be measured is absent."""
    figures: dict[str, dict[str, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row.pop("method") != METHOD:
                continue
            clip, _ = row.pop("clip"), row.pop("frames")
            for metric, text in row.items():
                if text:
                    figures.setdefault(metric, {})[clip] = float(text)
    return figures


def differences(runs: Sequence[Path], references: Sequence[Path]) -> dict[str, Figure]:
    """How much higher a variant's figures are than a reference's.

    Args:
        runs: `clips.csv` of each seed of the variant.
        references: of each seed of the reference.

    Returns:
        Metric to the mean over clips of (mean over the variant's seeds - mean over the reference's), with its 95 % bootstrap
        interval over clips. Only clips count that could be measured in all runs; a metric without any is absent.
    """
    own, other = ([read_clips(path) for path in paths] for paths in (runs, references))
    found = {}
    for metric in own[0]:
        tables = [run.get(metric, {}) for run in (*own, *other)]
        clips = [clip for clip in tables[0] if all(clip in table for table in tables)]
        if not clips:
            continue
        values = np.array([[table[clip] for clip in clips] for table in tables])
        difference = values[: len(own)].mean(0) - values[len(own) :].mean(0)
        found[metric] = Figure(float(difference.mean()), *bootstrap_interval(difference))
    return found
