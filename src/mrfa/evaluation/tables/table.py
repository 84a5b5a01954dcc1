"""Tables of measured figures, with published ones beside them, as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mrfa.evaluation.tables.published import PublishedTable, published_table

# Decimal places of a metric, as in the paper; three for all others.
PLACES = {"L1": 4, "face L1": 4, "mouth opening": 4, "eye opening": 4, "PSNR": 2, "FID": 2, "FPS": 2}
# The method of a summary that is the model itself.
METHOD = "result"


class Figure(NamedTuple):
    """A mean, with its 95 % interval where one is known."""

    mean: float
    low: float | None = None
    high: float | None = None


class Column(NamedTuple):
    """A column: what was measured here, and so has intervals, or published figures. Its title is unique in its table."""

    title: str
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


class Measured(NamedTuple):
    """A method that was measured here.

    Attributes:
        key: of the published row that it stands beside, or a name of its own.
        title: what the row is called; None: as in the paper.
        summary: content of its `summary.json`.
    """

    key: str
    title: str | None
    summary: Mapping[str, Any]


def assemble(number: int, measured: Sequence[Measured], notes: Sequence[str] = ()) -> Table:
    """A table of the paper with what was measured beside each published figure.

    Rows stand in the paper's order, those of no published row after them. A metric has a column for each of its tools that
    gave figures, under its own name, then the published ones; one that none gave stays empty, with a footnote.
    """
    published = published_table(number)
    summaries = [method.summary for method in measured]
    given = list(dict.fromkeys(name for summary in summaries for name in summary_figures(summary)))
    columns, footnotes = [], list(notes)
    for metric in published.metrics:
        names = [name for name in given if metric_of(name) == metric]
        if not names:
            footnotes.append(f"{metric}: {_reason(summaries, metric)}")
        columns += [Column(name, True) for name in names or [metric]]
        columns += [Column(_title(metric, data, published), False) for data in published.data]
    rows = []
    for key, row in published.rows.items():
        figures = {_title(metric, data, published): Figure(value) for (data, metric), value in published.figures(key).items()}
        own = [method for method in measured if method.key == key]
        rows += [Row(method.title or row.title, summary_figures(method.summary) | figures) for method in own]
        rows += [] if own else [Row(row.title, figures)]
    others = [method for method in measured if method.key not in published.rows]
    rows += [Row(method.title or method.key, summary_figures(method.summary)) for method in others]
    return Table(f"Table {number}: {published.caption}", columns, rows, footnotes, published.methods_across)


def metric_of(name: str) -> str:
    """`AKD (mediapipe)` to `AKD`."""
    return name.partition(" (")[0]


def summary_figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Metric to figure of the model itself, without the metrics that gave none."""
    figures = summary["methods"].get(METHOD, {}).items()
    return {name: Figure(found["mean"], found["low"], found["high"]) for name, found in figures if found["mean"] is not None}


def to_markdown(table: Table) -> str:
    """A heading, the table, and its footnotes."""
    grid = [["", *(column.title for column in table.columns)]]
    grid += [[row.title, *(_cell(row, column) for column in table.columns)] for row in table.rows]
    if table.methods_across:
        grid = [list(line) for line in zip(*grid, strict=True)]
    rule = ["---", *["---:"] * (len(grid[0]) - 1)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [grid[0], rule, *grid[1:]]]
    notes = [f"- {note}" for note in table.notes]
    return "\n".join([f"### {table.caption}", "", *lines, "", *notes, *([""] if notes else [])])


def to_csv(table: Table) -> str:
    """A line a method; a measured column is followed by the ends of its interval, empty where unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("", " low", " high")
    writer.writerow(["method", *(column.title + end for column in table.columns for end in ends[: 3 if column.measured else 1])])
    for row in table.rows:
        line = [row.title]
        for column in table.columns:
            values = row.figures.get(column.title, (None, None, None))
            line += ["" if value is None else f"{value:.6g}" for value in values[: 3 if column.measured else 1]]
        writer.writerow(line)
    return text.getvalue()


def _reason(summaries: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Why nothing was measured, by the evaluation's own words where it has some."""
    if not summaries:
        return "nothing was measured"
    problems = (problem for summary in summaries for problem in summary["problems"])
    return next((problem for problem in problems if metric in problem), "nothing gave figures")


def _title(metric: str, data: str, published: PublishedTable) -> str:
    """The data set is named where there is more than one."""
    return f"{metric} (paper)" if len(published.data) == 1 else f"{metric} (paper, {data})"


def _cell(row: Row, column: Column) -> str:
    figure = row.figures.get(column.title)
    if figure is None:
        return ""
    places = PLACES.get(metric_of(column.title), 3)
    interval = "" if figure.low is None else f" [{figure.low:.{places}f}, {figure.high:.{places}f}]"
    return f"{figure.mean:.{places}f}{interval}"
