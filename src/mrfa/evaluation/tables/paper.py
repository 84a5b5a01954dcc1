"""A table of the paper: every model evaluated, or taken over where it was before, beside the published figures."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mrfa.animation.animator import Animator
from mrfa.data.files import check_writable, replacing
from mrfa.errors import InputError
from mrfa.evaluation.evaluate import evaluate, rank
from mrfa.evaluation.methods import Compute, is_video_folder, model_label
from mrfa.evaluation.settings import Settings, TableSettings
from mrfa.evaluation.tables.published import published_table
from mrfa.evaluation.tables.table import METHOD, Measured, Table, assemble, to_csv, to_markdown

WARM_UP = 3
TIMED = 15


def make_paper_table(
    number: int,
    models: Sequence[str],
    *,
    data: Path,
    folder: Path,
    settings: Settings = TableSettings(),  # noqa: B008
    compute: Compute = Compute(),  # noqa: B008
    output: Path | None = None,
) -> Table:
    """Evaluate models as a table of the paper was, and lay their figures out beside the published ones.

    Args:
        number: 1 to 6.
        models: `[KEY=]MODEL` each: a model folder, a bundled model, or a folder of result videos; the key of a published row,
            such as `affine-npmr` in Table 3 or `fomm` in Table 1, puts it there.
        data: folder of clips.
        folder: holds each model's evaluation, which is taken over when it is complete.
        settings: of the evaluations; the protocol is the table's.
        compute: how networks compute.
        output: Markdown file to write; beside it goes the same as CSV.

    Raises:
        InputError: no such table, no model, two models of one key, or one that cannot be evaluated.
    """
    if number not in range(1, 7):
        raise InputError(f"the paper has no table {number}: choose 1 to 6")
    if not models:
        raise InputError("no models: name some by --models [KEY=]MODEL")
    if output is not None:
        check_writable(output)
    published = published_table(number)
    settings = settings.model_copy(update={"cross_identity": published.protocol == "cross-identity"})
    measured: dict[str, Measured] = {}
    for text in models:
        key, model = keyed(text)
        if key in measured:
            raise InputError(f"two models are called {key}: give each a key of its own, KEY=MODEL")
        summary = evaluate(model, data, settings, folder=folder / key, compute=compute)
        if "FPS" in published.metrics:
            summary = _with_speed(summary, model, compute)
        title = None if key in published.rows else f"{key} ({model})" if key != model else key
        measured[key] = Measured(key, title, summary)
    notes = [
        f"measured here on {summary['clips']} clips of `{data}`, {summary['frames']} frames, variant `{settings.variant}`; in "
        "brackets: 95 % bootstrap interval over clips",
        "a name in brackets is that of the metric's tool: figures of different tools are not to be compared",
    ]
    table = assemble(number, list(measured.values()), notes)
    if output is not None and rank() == 0:
        write_table(table, output)
    return table


def write_table(table: Table, output: Path) -> None:
    """Write a table as Markdown, and beside it as CSV."""
    for path, text in ((output, to_markdown(table)), (output.with_suffix(".csv"), to_csv(table))):
        with replacing(path) as temporary:
            temporary.write_text(text)


def keyed(text: str) -> tuple[str, str]:
    """Key and model of `[KEY=]MODEL`."""
    key, equals, model = text.partition("=")
    return (key, model) if equals and not Path(text).exists() else (model_label(text), text)


def frames_per_second(animator: Animator) -> float:
    """Of the driving side alone, one frame at a time: by the median time of detection, motion and generation."""
    torch.manual_seed(0)
    portrait, driving = torch.rand(2, 3, animator.size, animator.size, device=animator.device)
    source = animator.encode(portrait)
    times = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        animator.step(source, driving)
        if animator.device.type == "cuda":
            torch.cuda.synchronize(animator.device)
        times.append(time.perf_counter() - start)
    return 1 / float(np.median(times[WARM_UP:]))


def _with_speed(summary: Mapping[str, Any], model: str, compute: Compute) -> dict[str, Any]:
    """A summary with the model's frames per second, and on what."""
    if is_video_folder(model):
        return {**summary, "problems": [*summary["problems"], "FPS: result videos have no speed"]}
    animator = Animator.from_pretrained(model, device=compute.device, dtype=compute.precision)
    cuda = animator.device.type == "cuda"
    name = torch.cuda.get_device_name(animator.device) if cuda else f"{animator.device}, {torch.get_num_threads()} threads"
    figure = {"mean": frames_per_second(animator), "low": None, "high": None}
    methods = summary["methods"]
    return {**summary, "methods": methods | {METHOD: methods[METHOD] | {f"FPS ({name})": figure}}}
