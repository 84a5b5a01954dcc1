"""How a command that works on frames tells how far it is, and what came of it."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mrfa.cli_stop import keeps

if TYPE_CHECKING:
    from mrfa.animation.animator import Animator


@contextmanager
def frames_progress(output: Path) -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar a stage on standard error, with frames a second and the time left, for work on one output.

    Where that is stopped, it says that the output was not written.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.1f} frames/s" if speed else "")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(""), TimeRemainingColumn())
    # Drawn when there is news, not by a thread.
    kept = f"{output} was not written" + (": the file of that name is an earlier one" if os.path.lexists(output) else "")
    with keeps(kept), Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        tasks = {}

        def on_progress(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total)
            bar.update(tasks[stage], completed=done, total=total, refresh=True)

        yield on_progress


def report(output: Path, frames: int, warnings: list[str], animator: "Animator | None" = None) -> None:
    """Say what the user should know, what was written, and how it was computed."""
    from mrfa.devices import precision_name

    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    how = "" if animator is None else f", computed in {precision_name(animator.dtype)} on {animator.device}"
    typer.echo(f"{output}: {frames} frames{how}")
