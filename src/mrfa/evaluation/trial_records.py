"""The values of one trial on disk: what makes an evaluation resumable."""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mrfa.data.files import replacing

# Method to judge to values: `[F]`, a number a frame, or `[F, D]`, features a frame.
Values = dict[str, dict[str, np.ndarray]]


class TrialRecord(NamedTuple):
    """What was found for a trial.

    Attributes:
        name: the trial's.
        frames: numbers of the frames judged, F of them.
        values: of the judges that judge frames, `[F]`; NaN where one could not be judged.
        features: of those that judge sets, `[F, D]`.
        problem: why there are no values, in one line, or None.
    """

    name: str
    frames: list[int]
    values: Values
    features: Values
    problem: str | None


def write_record(folder: Path, record: TrialRecord, key: dict[str, Any]) -> None:
    """Write a record under what it was made with."""
    path = _path(folder, record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"value/{method}/{judge}": x for method, by in record.values.items() for judge, x in by.items()}
    arrays |= {f"feature/{method}/{judge}": x for method, by in record.features.items() for judge, x in by.items()}
    about = {"key": _digest(key), "frames": record.frames, "problem": record.problem}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def read_record(folder: Path, name: str, key: dict[str, Any]) -> TrialRecord | None:
    """The record of a trial, or None where there is none that was made with the same settings."""
    path = _path(folder, name)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            about = json.loads(str(stored["about"]))
            arrays = {entry: stored[entry] for entry in stored.files if entry != "about"}
    except (OSError, ValueError, KeyError):
        return None
    if about["key"] != _digest(key):
        return None
    parts: dict[str, Values] = {"value": {}, "feature": {}}
    for entry, array in arrays.items():
        kind, method, judge = entry.split("/", 2)
        parts[kind].setdefault(method, {})[judge] = array
    return TrialRecord(name, about["frames"], parts["value"], parts["feature"], about["problem"])


def _path(folder: Path, name: str) -> Path:
    return folder / "trials" / f"{name}.npz"


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
