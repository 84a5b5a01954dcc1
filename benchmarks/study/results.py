"""What a run of a study found, as `result.json`, and figures of several runs by the people that they were measured on."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.study.plan import Run
from mrfa.data.files import replacing
from mrfa.errors import InputError
from mrfa.evaluation.summary import bootstrap_interval
from mrfa.evaluation.tables.table import METHOD, Figure

RESULT = "result.json"

# Method (`source`: the repeated first frame, `coarse`: without the refinement, `result`) to metric to the mean over frames.
Figures = dict[str, dict[str, float]]


class ClipFigures(NamedTuple):
    """Figures of a clip and whom it shows."""

    person: str
    figures: Figures


class Result(NamedTuple):
    """What was found for a run.

    Attributes:
        variant, seed: of the run.
        budget: what makes runs comparable: steps, pairs a step, side of the pictures.
        seconds: that the training took.
        clips: a clip's name to its figures.
    """

    variant: str
    seed: int
    budget: dict[str, int]
    seconds: float
    clips: dict[str, ClipFigures]


def budget(run: Run) -> dict[str, int]:
    """Of a run; see `Result`."""
    training = run.config.training
    length = {"epochs": training.epochs} if training.steps is None else {"steps": training.steps}
    return {**length, "batch_size": training.batch_size, "image_size": training.image_size}


def write_result(path: Path, result: Result) -> None:
    """Write a `result.json`."""
    clips = {name: clip._asdict() for name, clip in result.clips.items()}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(result._replace(clips=clips)._asdict(), indent=1))  # type: ignore[arg-type]


def read_result(path: Path) -> Result:
    """Read a `result.json`.

    Raises:
        InputError: it is none.
    """
    try:
        values = json.loads(path.read_text())
        clips = {name: ClipFigures(str(clip["person"]), dict(clip["figures"])) for name, clip in values.pop("clips").items()}
        return Result(**values, clips=clips)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is no result of a study ({error}): delete it, and the run is made again") from None


def metrics(results: Sequence[Result]) -> list[str]:
    """All metrics that gave figures, in their order."""
    clips = (clip for result in results for clip in result.clips.values())
    return list(dict.fromkeys(metric for clip in clips for metric in clip.figures.get(METHOD, {})))


def mean_figure(result: Result, metric: str, method: str = METHOD) -> Figure | None:
    """Mean over people of the mean over their clips, with its 95 % bootstrap interval over people."""
    return _over_people([_by_clip(result, metric, method)], [1.0], result)


def difference(
    results: Sequence[Result], references: Sequence[Result], metric: str, method: str = METHOD, reference_method: str = METHOD
) -> Figure | None:
    """How much higher the figures of some runs are than those of others, with its 95 % bootstrap interval over people.

    Differences are taken clip by clip, which is far surer than the figures themselves. Only clips count that could be measured
    in all runs; None: there is no such clip.
    """
    tables = [_by_clip(result, metric, method) for result in results]
    tables += [_by_clip(result, metric, reference_method) for result in references]
    weights = [1 / len(results)] * len(results) + [-1 / len(references)] * len(references)
    return _over_people(tables, weights, results[0])


def _by_clip(result: Result, metric: str, method: str) -> dict[str, float]:
    found = ((name, clip.figures.get(method, {}).get(metric)) for name, clip in result.clips.items())
    return {name: value for name, value in found if value is not None}


def _over_people(tables: Sequence[dict[str, float]], weights: Sequence[float], like: Result) -> Figure | None:
    """Weighted sum of the tables' values of each clip; its mean over people."""
    people: dict[str, list[float]] = defaultdict(list)
    for name in tables[0]:
        if all(name in table for table in tables):
            value = sum(weight * table[name] for weight, table in zip(weights, tables, strict=True))
            people[like.clips[name].person].append(value)
    if not people:
        return None
    means = np.array([np.mean(values) for values in people.values()])
    return Figure(float(means.mean()), *bootstrap_interval(means))
