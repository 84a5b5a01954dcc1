"""The values of one trial on disk: what makes an evaluation resumable."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrfa.data.files import replacing


class TrialRecord(NamedTuple):
    """What was found for a trial.

    Attributes:
        name: the trial's.
        frames: numbers of the frames measured, F of them.
        values: method to metric to `[F]`, NaN where one could not be measured; of metrics of sets features, `[F, D]`.
        problem: why there are no values, in one line, or None.
    """

    name: str
    frames: list[int]
    values: dict[str, dict[str, np.ndarray]]
    problem: str | None


def write_record(folder: Path, record: TrialRecord, key: dict[str, Any]) -> None:
    """Write a record under what it was made with."""
    path = _path(folder, record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"{method}/{metric}": found for method, metrics in record.values.items() for metric, found in metrics.items()}
    about = {"key": _digest(key), "frames": record.frames, "problem": record.problem}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def read_record(folder: Path, name: str, key: dict[str, Any]) -> TrialRecord | None:
    """The record of a trial, or None where there is none that was made with the same settings."""
    path = _path(folder, name)
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            arrays = {entry: stored[entry] for entry in stored.files if entry != "about"}
    except (OSError, ValueError, KeyError, EOFError):
        return None
    if about["key"] != _digest(key):
        return None
    values: dict[str, dict[str, np.ndarray]] = {}
    for entry, array in arrays.items():
        method, metric = entry.split("/", 1)
        values.setdefault(method, {})[metric] = array
    return TrialRecord(name, about["frames"], values, about["problem"])


def forget_record(folder: Path, name: str) -> None:
    """Delete a trial's record, where there is one."""
    _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / "trials" / f"{name}.npz"


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
