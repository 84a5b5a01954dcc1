"""The command `mrfa batch`, and how it tells what became of the jobs."""

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mrfa.cli_stop import keeps
from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.batch.jobs import Job
    from mrfa.batch.work import Outcome

COLOURS = {"done": "green", "skipped": "cyan", "failed": "red", "not begun": "yellow"}
COLUMNS = ("output", "state", "seconds", "frames", "frames/s", "notes")


def batch(
    jobs: Annotated[Path, typer.Argument(help="A row (.csv) or mapping (.yaml) a job, with options of mrfa animate.")],
    workers: Annotated[
        int | None, typer.Option(help="Jobs at a time on this machine; one for each GPU by default.", min=1, max=256)
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="auto|HOST:PORT", help="Ray cluster whose machines do the jobs, instead of this one.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="CSV file for what became of each job; by default beside the jobs.")] = None,
) -> None:
    """Animate many portraits; jobs that are done are skipped, so that the same command goes on after a stop."""
    from mrfa.batch.jobs import read_jobs
    from mrfa.batch.workers import default_workers, work_here, work_on_ray
    from mrfa.cli_evaluate import progress_bar
    from mrfa.data.files import alone, check_output

    if ray is not None and workers is not None:
        raise InputError("how many jobs run at a time the Ray cluster decides: give --ray or --workers, not both")
    report = report or jobs.with_name(f"{jobs.stem}-report.csv")
    wanted = read_jobs(jobs)
    check_output(report, [jobs], [".csv"])
    outcomes: dict[int, Outcome] = {}
    kept = f"{report} says which jobs are done, and the same command goes on with the others"
    with alone(jobs, "mrfa batch"), keeps(kept):
        try:
            with progress_bar("jobs") as progress:
                progress(0, len(wanted))
                ends = work_here(wanted, workers or default_workers()) if ray is None else work_on_ray(wanted, ray)
                for number, outcome in ends:
                    outcomes[number] = outcome
                    progress(len(outcomes), len(wanted))
        finally:
            rows = [_row(job, outcomes.get(number)) for number, job in enumerate(wanted)]
            _write(report, rows)
    _show(rows)
    states = Counter(row[1] for row in rows)
    typer.echo(f"{report}: {', '.join(f'{count} {state}' for state, count in sorted(states.items()))}")
    if states["failed"]:
        raise typer.Exit(1)


def _row(job: "Job", outcome: "Outcome | None") -> list[str]:
    if outcome is None:
        return [str(job.output), "not begun", "", "", "", ""]
    speed = f"{outcome.frames / outcome.seconds:.1f}" if outcome.frames else ""
    numbers = [f"{outcome.seconds:.1f}", str(outcome.frames)] if outcome.state != "skipped" else ["", ""]
    return [str(job.output), outcome.state, *numbers, speed, outcome.notes]


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    from mrfa.data.files import replacing

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


def _show(rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in COLUMNS[2:5] else "left", overflow="fold")
    for output, state, *others in rows:
        table.add_row(Path(output).name, Text(state, COLOURS[state]), *map(Text, others))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
