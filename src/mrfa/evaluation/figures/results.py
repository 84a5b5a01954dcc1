"""Results of several methods side by side: Figure 4 (self-reconstruction), Figures 5 and 6 (cross-identity)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.evaluation.figures.examples import Example, read_example
from mrfa.evaluation.figures.grid import Row, draw_grid
from mrfa.evaluation.methods import Compute, CrossMotion, Method, load_method, model_label


class Column(NamedTuple):
    """A method under its title."""

    label: str
    method: Method


def load_columns(
    models: Sequence[str],
    compute: Compute = Compute(),  # noqa: B008
    motion: CrossMotion = CrossMotion(),  # noqa: B008
) -> list[Column]:
    """Methods from `[LABEL=]MODEL`, see `load_method`; without a label a method is called as its folder, see `model_label`.

    Args:
        models: one or more.
        compute: how networks compute.
        motion: of the networks, where another person drives.

    Raises:
        InputError: there is no such model.
    """
    columns = []
    for text in models:
        label, equals, model = text.partition("=")
        if not equals or Path(text).exists():
            label, model = model_label(text), text
        columns.append(Column(label, load_method(model, compute, motion)))
    return columns


def draw_results(examples: Sequence[Example], columns: Sequence[Column], *, coarse: bool = False, cell: int = 192) -> np.ndarray:
    """A row an example: source, driving frame, and the result of each method.

    Args:
        examples, columns: at least one of each.
        coarse: before each network's result show that of its coarse motion alone.
        cell: side of each picture in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        InputError: a clip cannot be read, or a method has no result of it.
    """
    titles = ["source", "driving"]
    for label, method in columns:
        titles += [f"{label}, coarse", label] if coarse and method.has_coarse else [label]
    return draw_grid([_row(example, columns, coarse) for example in examples], columns=titles, cell=cell)


def _row(example: Example, columns: Sequence[Column], coarse: bool) -> Row:
    sizes = sorted({column.method.size for column in columns}, reverse=True)
    shown = read_example(example, sizes[0])
    # The frame that differs most may be another one at another size, but all methods show the same.
    footage = {sizes[0]: shown} | {size: read_example(example._replace(frame=shown.frame), size) for size in sizes[1:]}
    results = []
    for _, method in columns:
        source, clip, frame = footage[method.size]
        made = method.pictures(example.trial, source, clip, [frame])
        results += [made[name][0] for name in (("coarse", "result") if coarse and method.has_coarse else ("result",))]
    return Row([shown.source, shown.clip[shown.frame], *results], title=f"{example.trial.name}, frame {shown.frame}")
