"""The paper's two protocols (section 4), self-reconstruction and cross-identity, by any metrics, resumable and in parts.

Each trial's values are written as soon as they are known, so that an interrupted evaluation goes on where it stopped and
several processes started by `torchrun` share the trials; the first of them sums up.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mrfa.data.clips import read_clip
from mrfa.data.files import check_writable
from mrfa.devices import pick_device
from mrfa.errors import InputError
from mrfa.evaluation.baselines import warped_source
from mrfa.evaluation.methods import Compute, CrossMotion, Method, load_method
from mrfa.evaluation.metrics import Frames, Metric, Needs, load_metrics
from mrfa.evaluation.metrics.landmarks import FaceMesh, shared_face_mesh
from mrfa.evaluation.records import TrialRecord, forget_record, read_record, write_record
from mrfa.evaluation.settings import Settings
from mrfa.evaluation.sheet import write_sheet, write_strip
from mrfa.evaluation.summary import sum_up, write_summary
from mrfa.evaluation.trials import Trial, cross_identity_trials, reconstruction_trials
from mrfa.extras import require

POLL_SECONDS = 0.5
# Without a new record from any process for so long, the others are taken for dead.
PATIENCE_SECONDS = 1800.0

Progress = Callable[[int, int], None]


class Evaluation(NamedTuple):
    """All that trials are run with.

    Attributes:
        method: makes the pictures.
        metrics: measure them.
        problems: a line for each metric or baseline that cannot be had.
        faces: for the warp by landmarks, None for none.
        trials: what is evaluated.
        settings, folder: as given.
        about: what is said of the evaluation in its summary; records made under another are not taken over.
    """

    method: Method
    metrics: Sequence[Metric]
    problems: list[str]
    faces: FaceMesh | None
    trials: Sequence[Trial]
    settings: Settings
    folder: Path
    about: dict[str, Any]


def evaluate(
    model: str,
    data: Path,
    settings: Settings = Settings(),  # noqa: B008
    *,
    folder: Path | None = None,
    sheet: Path | None = None,
    compute: Compute = Compute(),  # noqa: B008
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a model, or result videos made elsewhere.

    Args:
        model: model folder, name of a bundled model, or folder of result videos named like the trials.
        data: folder of clips of people that the model has never seen.
        settings: what is measured, and how.
        folder: made where it does not exist; an interrupted evaluation of the same weights and settings goes on. None: all that
            is written is deleted again.
        sheet: PNG file for the worst clips, besides `folder/sheet.png`.
        compute: how the network computes; its device is also the metrics'. Of several processes each takes a GPU of its own.
        progress: called with (done, total) trials.

    Returns:
        The content of `folder/summary.json`.

    Raises:
        InputError: unusable model, data, folder or sheet, no metric at all, no trial that could be run, or another process of
            `torchrun` that has stopped.
    """
    if folder is None:
        if world() > 1:
            raise InputError("several processes need a folder that all see: give one by --folder")
        with tempfile.TemporaryDirectory() as temporary:
            return evaluate(model, data, settings, folder=Path(temporary), sheet=sheet, compute=compute, progress=progress)
    for module in ("scipy", "skimage", "matplotlib"):
        require(module, extra="evaluate")
    if sheet is not None:
        check_writable(sheet)
    evaluation = _prepare(model, data, settings, folder, compute)
    records = run_trials(evaluation, progress)
    if all(record.problem for record in records):
        raise InputError(f"none of {len(records)} clips could be evaluated; {records[0].name}: {records[0].problem}")
    summary = sum_up(records, evaluation.metrics, evaluation.about, evaluation.problems)
    if rank() == 0:
        write_summary(folder, summary, records)
        for path in (folder / "sheet.png", *([sheet] if sheet else [])):
            write_sheet(path, folder, records, evaluation.metrics)
    return summary


def _prepare(model: str, data: Path, settings: Settings, folder: Path, compute: Compute) -> Evaluation:
    """Load the model and the metrics, choose the trials, and make the folder; see `evaluate`."""
    device = _own_device(compute.device)
    method = load_method(model, compute._replace(device=device), CrossMotion(settings.motion, settings.start))
    needs = Needs(settings.variant, settings.weights, device, settings.protocol, all_frames=settings.frames_per_clip == 0)
    metrics, problems = load_metrics(settings.metrics, needs)
    if not metrics:
        raise InputError(f"no metric for {settings.protocol}: {'; '.join(problems) or 'none of those named serves it'}")
    # A warp by the driver's landmarks would give portraits another person's face.
    faces = shared_face_mesh() if settings.baselines and not settings.cross_identity else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from None
    if settings.cross_identity:
        pairs_file = folder / "pairs.json"
        trials = cross_identity_trials(data, pairs_file, pairs=settings.pairs, seed=settings.seed, clips=settings.clips)
    else:
        trials = reconstruction_trials(data, settings.clips)
    about = {
        "protocol": settings.protocol,
        "variant": settings.variant,
        "motion": settings.motion if settings.cross_identity else "absolute",
        "start": settings.start,
        "model": model,
        "version": method.version,
        "data": str(data),
        "frames_per_clip": settings.frames_per_clip,
        "baselines": settings.baselines,
    }
    return Evaluation(method, metrics, problems, faces, trials, settings, folder, about)


def run_trials(evaluation: Evaluation, progress: Progress | None = None) -> list[TrialRecord]:
    """Run this process's share of the trials, and collect the records of all.

    Trials with values of the same settings and metrics are not run again; those that had a problem are.
    """
    folder, trials = evaluation.folder, evaluation.trials
    key = evaluation.about | {"metrics": sorted(metric.name for metric in evaluation.metrics)}
    own = list(trials)[rank() :: world()]
    known = {trial.name: read_record(folder, trial.name, key) for trial in own}
    todo = [trial for trial in own if (record := known[trial.name]) is None or record.problem]
    for trial in todo:
        forget_record(folder, trial.name)
    done = len(own) - len(todo)
    for trial in todo:
        write_record(folder, run_trial(evaluation, trial), key)
        done += 1
        if progress:
            progress(done * world() if done < len(own) else len(trials), len(trials))
    return _collected(folder, trials, key)


def measured_frames(count: int, chosen: int, *, include_first: bool) -> list[int]:
    """Numbers of the frames measured of a clip of `count`: `chosen` evenly spaced ones, all for 0.

    The first is the portrait itself in self-reconstruction, so that it counts in the `paper` variant alone.
    """
    first = 0 if include_first or count == 1 else 1
    if chosen == 0 or chosen >= count - first:
        return list(range(first, count))
    return [int(number) for number in np.linspace(first, count - 1, chosen).round()]


def run_trial(evaluation: Evaluation, trial: Trial) -> TrialRecord:
    """Values of one trial; a trial that cannot be run has a problem instead."""
    method, settings = evaluation.method, evaluation.settings
    try:
        clip = read_clip(trial.driving, method.size)
        source = clip[0] if trial.is_reconstruction else read_clip(trial.source, method.size)[0]
        numbers = measured_frames(len(clip), settings.frames_per_clip, include_first=settings.variant == "paper")
        made = method.pictures(trial, source, clip, numbers)
    except InputError as error:
        return TrialRecord(trial.name, [], {}, str(error))
    driving = clip[numbers]
    pictures = (_baselines(source, driving, evaluation.faces) if settings.baselines else {}) | made
    values: dict[str, dict[str, np.ndarray]] = {}
    for name, generated in pictures.items():
        seen = Frames(source, driving, generated, cross_identity=not trial.is_reconstruction)
        values[name] = {metric.name: metric.measure(seen) for metric in evaluation.metrics}
    write_strip(evaluation.folder, trial.name, source, driving, pictures)
    return TrialRecord(trial.name, numbers, values, None)


def _baselines(source: np.ndarray, driving: np.ndarray, faces: FaceMesh | None) -> dict[str, np.ndarray]:
    repeated = {"source": np.broadcast_to(source, driving.shape)}
    return repeated if faces is None else repeated | {"thin-plate": warped_source(source, driving, faces)}


def _collected(folder: Path, trials: Sequence[Trial], key: dict[str, Any]) -> list[TrialRecord]:
    """The records of all trials, waiting for the processes that make them.

    Raises:
        InputError: nothing came for `PATIENCE_SECONDS`.
    """
    records: dict[str, TrialRecord] = {}
    last = time.monotonic()
    while True:
        for trial in trials:
            if trial.name not in records and (record := read_record(folder, trial.name, key)) is not None:
                records[trial.name] = record
                last = time.monotonic()
        missing = [trial.name for trial in trials if trial.name not in records]
        if not missing:
            return [records[trial.name] for trial in trials]
        if time.monotonic() - last > PATIENCE_SECONDS:
            what = f"{len(missing)} trials such as {missing[0]} did not come from the other processes"
            raise InputError(f"{what} for {PATIENCE_SECONDS / 60:.0f} minutes: start it again, what is done stays")
        time.sleep(POLL_SECONDS)


def _own_device(device: str | None) -> str:
    """Where this process computes: as told, or of several processes of one machine each on its own GPU."""
    if device is None and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return str(pick_device(device))


def rank() -> int:
    """Of this process among those of `torchrun`."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """How many processes `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))
