"""Tables of figures as Markdown and as CSV."""

import csv
import io
from typing import NamedTuple

# Decimal places of a metric, as in the paper; three for all others.
PLACES = {"L1": 4, "PSNR": 2, "FID": 2, "FPS": 2}


class Figure(NamedTuple):
    """A mean, with its 95 % interval where one is known."""

    mean: float
    low: float | None = None
    high: float | None = None


class Column(NamedTuple):
    """A column: a judge's figures, or published ones.

    Attributes:
        title: heading; unique in its table.
        metric: the metric, without the judge's own name.
        measured: here, and so with intervals.
    """

    title: str
    metric: str
    measured: bool


class Row(NamedTuple):
    """A method and its figures by the columns' titles; what is absent is an empty cell."""

    title: str
    figures: dict[str, Figure]


class Table(NamedTuple):
    """A table with its footnotes. `methods_across` turns it on its side in Markdown: a column a method."""

    caption: str
    columns: list[Column]
    rows: list[Row]
    notes: list[str]
    methods_across: bool = False


def metric_of(judge: str) -> str:
    """`AKD (mediapipe)` to `AKD`."""
    return judge.partition(" (")[0]


def to_markdown(table: Table) -> str:
    """A heading, the table, and its footnotes."""
    head = ["", *(column.title for column in table.columns)]
    body = [[row.title, *(_cell(row, column) for column in table.columns)] for row in table.rows]
    grid = [head, *body]
    if table.methods_across:
        grid = [list(line) for line in zip(*grid, strict=True)]
    rule = ["---", *["---:"] * (len(grid[0]) - 1)]
    lines = [f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in [grid[0], rule, *grid[1:]]]
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([f"### {table.caption}", "", *lines, "", *notes, *([""] if notes else [])])


def to_csv(table: Table) -> str:
    """A line a method; a measured column is followed by the ends of its interval, empty where unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["method"]
    for column in table.columns:
        head += [column.title, *([f"{column.title} low", f"{column.title} high"] if column.measured else [])]
    writer.writerow(head)
    for row in table.rows:
        line = [row.title]
        for column in table.columns:
            figure = row.figures.get(column.title)
            values = (None, None, None) if figure is None else figure
            line += ["" if value is None else f"{value:.6g}" for value in values[: 3 if column.measured else 1]]
        writer.writerow(line)
    return text.getvalue()


def _cell(row: Row, column: Column) -> str:
    figure = row.figures.get(column.title)
    if figure is None:
        return ""
    places = PLACES.get(column.metric, 3)
    text = f"{figure.mean:.{places}f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{figure.low:.{places}f}, {figure.high:.{places}f}]"
    return text


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
