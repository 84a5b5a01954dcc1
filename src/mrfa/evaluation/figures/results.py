"""Results of several methods side by side: Figure 4 (self-reconstruction), Figures 5 and 6 (cross-identity)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.evaluation.figures.shots import Shot, read_shot
from mrfa.evaluation.picture_grid import Row, draw_grid
from mrfa.evaluation.subjects import NetworkSubject, Subject, load_subject


class Method(NamedTuple):
    """A column of a figure.

    Attributes:
        label: its title.
        subject: makes its pictures.
    """

    label: str
    subject: Subject


def load_methods(models: Sequence[str], *, relative: bool, device: str = "cpu") -> list[Method]:
    """Methods from `[LABEL=]MODEL`: a model folder, the name of a bundled model, or a folder of result videos.

    Args:
        models: one or more. Without a label a method is called as its folder, or, where that is called `model` as in the
            folder of a training run, as the folder that it lies in.
        relative: of the networks' motion.
        device: where the networks compute.

    Raises:
        InputError: there is no such model.
    """
    methods = []
    for text in models:
        label, equals, model = text.partition("=")
        if not equals or Path(text).exists():
            label, model = _label(text), text
        methods.append(Method(label, load_subject(model, device, relative=relative)))
    return methods


def draw_results(shots: Sequence[Shot], methods: Sequence[Method], *, coarse: bool = False, cell: int = 192) -> np.ndarray:
    """A row a shot: source, driving frame, and the result of each method.

    Args:
        shots, methods: at least one of each.
        coarse: before each network's result show that of its coarse motion alone.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        InputError: a clip cannot be read, or a method has no result of it.
    """
    columns = ["source", "driving"]
    for method in methods:
        columns += [f"{method.label}, coarse", method.label] if _has_coarse(method, coarse) else [method.label]
    return draw_grid([_row(shot, methods, coarse) for shot in shots], columns=columns, cell=cell)


def _row(shot: Shot, methods: Sequence[Method], coarse: bool) -> Row:
    sizes = sorted({method.subject.size for method in methods}, reverse=True)
    shown = read_shot(shot, sizes[0])
    # The frame that differs most may be another one at another size, but all methods show the same.
    footage = {sizes[0]: shown} | {size: read_shot(shot._replace(frame=shown.frame), size) for size in sizes[1:]}
    results = []
    for method in methods:
        source, clip, frame = footage[method.subject.size]
        made = method.subject.pictures(shot.trial, source, clip, [frame])
        results += [made[name][0] for name in (("coarse", "result") if _has_coarse(method, coarse) else ("result",))]
    return Row([shown.source, shown.clip[shown.frame], *results], title=f"{shot.trial.name}, frame {shown.frame}")


def _has_coarse(method: Method, coarse: bool) -> bool:
    return coarse and isinstance(method.subject, NetworkSubject)


def _label(model: str) -> str:
    path = Path(model).absolute()
    return path.parent.name if path.name == "model" else path.name
