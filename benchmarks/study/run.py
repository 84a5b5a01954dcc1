"""Train and evaluate every run of a study that is not finished yet, and rewrite its tables after each."""

import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.study.plan import Run, Study, plan_runs
from benchmarks.study.report import write_reports
from mrfa.errors import InputError
from mrfa.evaluation.evaluate import evaluate
from mrfa.processes import Processes
from mrfa.training.config import load_config
from mrfa.training.run import train

SUMMARY = "summary.json"


def run_study(
    study: Study,
    *,
    data: Path,
    test: Path,
    output: Path,
    cache: Path | None = None,
    checkpoint_every: int = 500,
    report: Callable[[str], None] | None = None,
) -> Path:
    """Train and evaluate all runs of a study, and go on where an earlier call stopped.

    A run is finished when its `summary.json` exists; one that was interrupted goes on from its last checkpoint.

    Args:
        study: what to train.
        data: folder of training clips, or a packed file.
        test: folder of clips of other people, on which the models are evaluated.
        output: holds a folder a run, `<variant>-seed<k>`, with `model` and `summary.json`, and the tables `study.md`,
            `study.csv` and, where the study compares variants, `differences.csv`.
        cache: folder for prepared clips, shared by all runs; `output/cache` by default.
        checkpoint_every: steps between checkpoints.
        report: called with a line for each run.

    Returns:
        The Markdown table.

    Raises:
        InputError: unusable data or settings, or a run in `output` that was trained with other settings.
    """
    if Processes.started():
        raise InputError("a study uses all devices of this machine by itself: call it without torchrun")
    runs = plan_runs(study)
    for run in runs:
        _check_same_settings(output / run.name, run)
    # The trainer's lines on hardware and layers would drown the study's.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    say = report or (lambda line: None)
    summaries: dict[str, dict[str, Any]] = {}
    for number, run in enumerate(runs, start=1):
        folder = output / run.name
        start = time.monotonic()
        finished = (folder / SUMMARY).is_file()
        if not finished:
            _train_and_evaluate(run, study, folder, data=data, test=test, cache=cache or output / "cache", every=checkpoint_every)
        summaries[run.name] = json.loads((folder / SUMMARY).read_text())
        table = write_reports(study, runs, summaries, output)
        spent = "finished before" if finished else f"{(time.monotonic() - start) / 60:.1f} minutes"
        say(f"{number}/{len(runs)} {run.name}: {_figures(summaries[run.name])} ({spent})")
    return table


def _train_and_evaluate(run: Run, study: Study, folder: Path, *, data: Path, test: Path, cache: Path, every: int) -> None:
    """All that a study knows of training and evaluation: the model goes to `folder/model`, its figures to `summary.json`."""
    resume = (folder / "checkpoints" / "last.ckpt").is_file()
    model = train(run.config, data=data, output=folder, cache=cache, resume=resume, checkpoint_every=every)
    evaluate(str(model), test, study.evaluation, folder=folder)


def _check_same_settings(folder: Path, run: Run) -> None:
    """Figures of another network or of a shorter training are not mixed in."""
    model = folder / "model"
    if (model / "config.yaml").is_file() and load_config(model) != run.config:
        raise InputError(f"{folder} was trained with other settings: give another --output, or delete that folder")


def _figures(summary: dict[str, Any]) -> str:
    result = summary["methods"]["result"]
    return ", ".join(f"{metric} {value['mean']:.4g}" for metric, value in result.items() if value["mean"] is not None)
