"""The paper's two protocols (section 4), self-reconstruction and cross-identity, by any judges, resumable and in parts.

Each trial's values are written as soon as they are known, so that an interrupted evaluation goes on where it stopped and
several processes started by `torchrun` share the trials; the first of them sums up.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mrfa.data.clips import read_clip
from mrfa.errors import InputError
from mrfa.evaluation.judges import Frames, Judge, SetJudge, load_judges
from mrfa.evaluation.subjects import Subject, load_subject
from mrfa.evaluation.summary import sum_up, write_summary
from mrfa.evaluation.trial_records import TrialRecord, Values, read_record, write_record
from mrfa.evaluation.trials import Trial, cross_identity_trials, reconstruction_trials
from mrfa.evaluation.worst import write_sheet, write_strip

Protocol = Literal["reconstruction", "cross-identity"]
Variant = Literal["standard", "paper"]
POLL_SECONDS = 0.5


class Plan(NamedTuple):
    """How trials are judged.

    Attributes:
        subject: makes the pictures.
        judges: judge them.
        folder: of all results.
        variant: `paper` counts the first driving frame too, which in self-reconstruction is the portrait itself.
        frames_per_clip: evenly spaced frames, or None for all.
    """

    subject: Subject
    judges: Sequence[Judge | SetJudge]
    folder: Path
    variant: Variant
    frames_per_clip: int | None


def evaluate_model(
    model: str,
    data: Path,
    folder: Path,
    *,
    protocol: Protocol = "reconstruction",
    variant: Variant = "standard",
    relative: bool = True,
    judges: Sequence[str] | None = None,
    weights: Path | None = None,
    frames_per_clip: int | None = None,
    clips: int | None = None,
    pairs: int = 50,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a model, or result videos made elsewhere.

    Args:
        model: model folder, name of a bundled model, or folder of result videos named like the trials.
        data: folder of clips of people that the model has never seen.
        folder: made where it does not exist; an interrupted evaluation of the same weights and settings goes on.
        protocol: self-reconstruction takes absolute motion, cross-identity what `relative` says.
        variant: correct definitions, or what the paper's figures were computed with.
        relative: cross-identity by relative motion.
        judges: names, or None for all that can be had.
        weights: folder of the judges' weights.
        frames_per_clip: evenly spaced frames of each clip; None for all.
        clips: the first so many trials; None for all.
        pairs: cross-identity pairs to draw, where `folder/pairs.json` does not say them.
        seed: of the pairs.
        device: for the network and the judges.
        progress: called with (done, total) trials.

    Returns:
        The content of `folder/summary.json`.

    Raises:
        InputError: unusable model, data or folder, or no judge at all.
    """
    subject = load_subject(model, device, relative=relative and protocol == "cross-identity")
    loaded, problems = load_judges(judges, variant=variant, weights=weights, device=device)
    chosen = [judge for judge in loaded if protocol in judge.protocols]
    if not chosen:
        raise InputError(f"no judge for {protocol}: {'; '.join(problems) or 'none of those named serves it'}")
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "protocol": protocol,
        "variant": variant,
        "relative": relative and protocol == "cross-identity",
        "model": model,
        "version": subject.version,
        "data": str(data),
        "frames_per_clip": frames_per_clip,
    }
    if protocol == "reconstruction":
        trials = reconstruction_trials(data)
    else:
        trials = cross_identity_trials(data, folder / "pairs.json", pairs=pairs, seed=seed)
    plan = Plan(subject, chosen, folder, variant, frames_per_clip)
    records = run_trials(plan, trials[:clips], settings, progress)
    summary = sum_up(records, chosen, settings, problems)
    if rank() == 0:
        write_summary(folder, summary, records)
        write_sheet(folder, records)
    return summary


def run_trials(
    plan: Plan, trials: Sequence[Trial], settings: dict[str, Any], progress: Callable[[int, int], None] | None = None
) -> list[TrialRecord]:
    """Judge this process's share of the trials, and collect the records of all.

    Trials with a record of the same settings and judges are not run again.
    """
    key = settings | {"judges": sorted(judge.name for judge in plan.judges)}
    own = list(trials)[rank() :: _world()]
    todo = [trial for trial in own if read_record(plan.folder, trial.name, key) is None]
    done = len(own) - len(todo)
    for trial, frames in _decoded_ahead(todo, plan.subject.size):
        record = _judged(plan, trial, frames)
        write_record(plan.folder, record, key)
        done += 1
        if progress:
            progress(done * _world() if done < len(own) else len(trials), len(trials))
    return [_collected(plan.folder, trial.name, key) for trial in trials]


def _judged(plan: Plan, trial: Trial, frames: "tuple[np.ndarray, np.ndarray] | InputError") -> TrialRecord:
    """Values of one trial; a trial that cannot be run has a problem instead."""
    if isinstance(frames, InputError):
        return TrialRecord(trial.name, [], {}, {}, str(frames))
    source, clip = frames
    numbers = judged_frames(len(clip), plan.frames_per_clip, include_first=plan.variant == "paper")
    try:
        pictures = plan.subject.pictures(trial, source, clip, numbers)
    except InputError as error:
        return TrialRecord(trial.name, [], {}, {}, str(error))
    values: Values = {}
    features: Values = {}
    driving = clip[numbers]
    for method, made in pictures.items():
        seen = Frames(source, driving, made, cross_identity=not trial.is_reconstruction)
        for judge in plan.judges:
            if isinstance(judge, SetJudge):
                features.setdefault(method, {})[judge.name] = judge.features(seen)
            else:
                values.setdefault(method, {})[judge.name] = judge(seen)
    write_strip(plan.folder, trial.name, source, driving, pictures)
    return TrialRecord(trial.name, numbers, values, features, None)


def checked_variant(name: str) -> Variant:
    """A variant by its name.

    Raises:
        InputError: there is no such variant.
    """
    if name == "paper":
        return "paper"
    if name == "standard":
        return "standard"
    raise InputError(f"no variant '{name}': choose standard or paper")


def judged_frames(count: int, chosen: int | None, *, include_first: bool) -> list[int]:
    """Numbers of the frames judged of a clip of `count`: all, or `chosen` evenly spaced ones."""
    first = 0 if include_first or count == 1 else 1
    if chosen is None or chosen >= count - first:
        return list(range(first, count))
    return [int(number) for number in np.linspace(first, count - 1, chosen).round()]


def _decoded_ahead(trials: Sequence[Trial], size: int) -> Iterator[tuple[Trial, "tuple[np.ndarray, np.ndarray] | InputError"]]:
    """Each trial with its portrait and driving clip, or why they cannot be had; the next is read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        ahead: Future[Any] | None = reader.submit(_read, trials[0], size) if trials else None
        for number, trial in enumerate(trials):
            assert ahead is not None
            frames = ahead.result()
            ahead = reader.submit(_read, trials[number + 1], size) if number + 1 < len(trials) else None
            yield trial, frames


def _read(trial: Trial, size: int) -> "tuple[np.ndarray, np.ndarray] | InputError":
    try:
        clip = read_clip(trial.driving, size)
        source = clip[0] if trial.is_reconstruction else read_clip(trial.source, size)[0]
    except InputError as error:
        return error
    return source, clip


def _collected(folder: Path, name: str, key: dict[str, Any]) -> TrialRecord:
    """The record of a trial, waiting for the process that makes it."""
    while True:
        record = read_record(folder, name, key)
        if record is not None:
            return record
        time.sleep(POLL_SECONDS)


def rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
