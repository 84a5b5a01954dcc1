"""The commands `mrfa evaluate` and `mrfa table`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from mrfa.cli_options import BatchSizeOption, DeviceOption, PrecisionOption, with_settings
from mrfa.cli_stop import keeps
from mrfa.evaluation.settings import Settings, TableSettings

DataOption = Annotated[Path, typer.Option(help="Folder of clips of people that the model has never seen.")]


@with_settings
def evaluate(
    model: Annotated[str, typer.Argument(help="Model folder, name of a bundled model, or folder of result videos.")],
    data: DataOption,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder for all results; an interrupted evaluation goes on there."),
    ] = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG file for a contact sheet of the worst clips.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
    *,
    settings: Settings,
) -> None:
    """Measure how good a model is: each clip driven by itself, or portraits by other people, beside what it has to beat."""
    from rich.console import Console

    from mrfa.evaluation.evaluate import evaluate, rank
    from mrfa.evaluation.methods import Compute
    from mrfa.evaluation.summary import make_table

    kept = "nothing was written" if folder is None else f"{folder} keeps what was measured, and the same command goes on there"
    with keeps(kept), progress_bar("clips") as progress:
        compute = Compute(device, precision, batch_size)
        summary = evaluate(model, data, settings, folder=folder, sheet=sheet, compute=compute, progress=progress)
    if rank() == 0:
        for problem in summary["problems"]:
            typer.secho(problem, fg="yellow", err=True)
        Console(width=None if sys.stdout.isatty() else 140).print(make_table(summary))


@with_settings
def table(
    number: Annotated[int, typer.Argument(help="Of the paper's table.", min=1, max=6)],
    data: DataOption,
    models: Annotated[list[str], typer.Option(help="[KEY=]MODEL: folder, bundled model, or folder of result videos.")],
    folder: Annotated[Path, typer.Option(help="Folder for all evaluations; what is complete there is taken over.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Markdown file; beside it goes the CSV.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
    *,
    settings: TableSettings,
) -> None:
    """Evaluate models as a table of the paper was, beside the published figures."""
    from mrfa.evaluation.methods import Compute
    from mrfa.evaluation.tables.paper import make_paper_table
    from mrfa.evaluation.tables.table import to_markdown

    compute = Compute(device, precision, batch_size)
    with keeps(f"{folder} keeps what was measured, and the same command goes on there"):
        made = make_paper_table(number, models, data=data, folder=folder, settings=settings, compute=compute, output=output)
    typer.echo(to_markdown(made))


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], Any]]:
    """A progress bar over clips, on standard error: standard output is for the table alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
