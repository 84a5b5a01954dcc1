"""What `mrfa evaluate` does: load, evaluate with a progress bar, print, write."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mrfa.data.files import check_writable
from mrfa.evaluation.contact_sheet import write_contact_sheet
from mrfa.evaluation.protocols import Protocol, checked_variant, evaluate_model, rank
from mrfa.evaluation.reconstruction import Evaluation, evaluate_reconstruction
from mrfa.evaluation.report import make_table, summarise, to_json, write_json
from mrfa.evaluation.summary import make_table as make_protocol_table
from mrfa.weights import load_model


def run_reconstruction(
    model: str, data: Path, *, output: Path | None, sheet: Path | None, frames_per_clip: int | None, clips: int | None
) -> Evaluation:
    """Evaluate self-reconstruction, print a table, and write what was asked for.

    Args:
        model: model folder, or name of a bundled model.
        data: folder of clips.
        output: JSON file for all figures, if wanted.
        sheet: PNG file for a contact sheet, if wanted.
        frames_per_clip, clips: how many, evenly spaced; None for all.

    Raises:
        InputError: the model or the data cannot be used, or an output cannot be written.
    """
    for path in (output, sheet):
        if path is not None:
            check_writable(path)
    network = load_model(model)
    with _bar("clips") as progress:
        evaluation = evaluate_reconstruction(network, data, frames_per_clip=frames_per_clip, clips=clips, progress=progress)
    _warn(evaluation.problems, "skipped: ")
    summary = summarise(evaluation.clips)
    Console().print(make_table(summary))
    if output is not None:
        write_json(output, to_json(evaluation, summary, model=model, data=str(data)))
    if sheet is not None:
        write_contact_sheet(sheet, evaluation.clips)
    return evaluation


def run_protocol(
    model: str,
    data: Path,
    folder: Path,
    *,
    protocol: Protocol,
    variant: str,
    judges: str | None,
    weights: Path | None,
    device: str,
    frames_per_clip: int | None,
    clips: int | None,
    relative: bool = True,
    pairs: int = 50,
    seed: int = 0,
) -> None:
    """Run a protocol with a progress bar, and print its table; see `mrfa.evaluation.protocols.evaluate_model`.

    Args:
        judges: names between commas, or None for all that can be had.
        variant: `standard` or `paper`.

    Raises:
        InputError: see there; another variant.
    """
    with _bar("clips") as progress:
        summary = evaluate_model(
            model,
            data,
            folder,
            protocol=protocol,
            variant=checked_variant(variant),
            relative=relative,
            judges=None if judges is None else [name.strip() for name in judges.split(",")],
            weights=weights,
            frames_per_clip=frames_per_clip,
            clips=clips,
            pairs=pairs,
            seed=seed,
            device=device,
            progress=progress,
        )
    if rank() == 0:
        _warn(summary["problems"], "")
        Console().print(make_protocol_table(summary))


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over clips, on standard error: standard output is for the table alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _warn(problems: list[str], prefix: str) -> None:
    for problem in problems:
        Console(stderr=True).print(f"{prefix}{problem}", style="yellow", markup=False, highlight=False, soft_wrap=True)
