"""Tables of measured figures, with published ones beside them, as Markdown and as CSV."""

import csv
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

from mrfa.evaluation.tables.published import PublishedRow, PublishedTable

# Decimal places of a metric, as in the paper; three for all others.
PLACES = {"L1": 4, "PSNR": 2, "FID": 2, "FPS": 2}


class Figure(NamedTuple):
    """A mean, with its 95 % interval where one is known."""

    mean: float
    low: float | None = None
    high: float | None = None


class Column(NamedTuple):
    """A column: what a metric measured here, or published figures.

    Attributes:
        title: heading; unique in its table.
        metric: the metric, without its tool's name.
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


# The row of a summary that speaks of the model itself.
METHOD = "result"


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


def metric_of(name: str) -> str:
    """`AKD (mediapipe)` to `AKD`."""
    return name.partition(" (")[0]


def assemble(published: PublishedTable, measured: list[Measured], notes: list[str] | None = None) -> Table:
    """A table of the paper with what was measured beside each published figure.

    Rows stand in the paper's order, those of no published row after them. A metric has a column for each of its tools that
    gave figures, under its own name, then the published ones; one that none gave stays empty, with a footnote.
    """
    summaries = [method.summary for method in measured]
    columns: list[Column] = []
    footnotes = list(notes or [])
    for metric in published.metrics:
        names = _names(summaries, metric)
        if not names:
            footnotes.append(f"{metric}: {_reason(summaries, metric)}")
        columns += [Column(name, metric, True) for name in names or [metric]]
        columns += [Column(_published_title(metric, data, published), metric, False) for data in published.data]
    rows: list[Row] = []
    for row in published.rows:
        own = [method for method in measured if method.key == row.key]
        rows += [_row(method.title or row.title, method.summary, row, published) for method in own]
        if not own:
            rows.append(_row(row.title, None, row, published))
    others = [method for method in measured if published.row(method.key) is None]
    rows += [_row(method.title or method.key, method.summary, None, published) for method in others]
    return Table(f"Table {published.number}: {published.caption}", columns, rows, footnotes, published.methods_across)


def assemble_plain(caption: str, measured: list[Measured], notes: list[str] | None = None) -> Table:
    """A table of no published one: a column a metric."""
    names = dict.fromkeys(name for method in measured for name in method.summary["metrics"])
    columns = [Column(name, metric_of(name), True) for name in names]
    rows = [Row(method.title or method.key, summary_figures(method.summary)) for method in measured]
    return Table(caption, columns, rows, list(notes or []))


def summary_figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Metric to figure of the model itself, without the metrics that gave none."""
    figures = summary["methods"].get(METHOD, {}).items()
    return {name: Figure(found["mean"], found["low"], found["high"]) for name, found in figures if found["mean"] is not None}


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


def _names(summaries: list[Mapping[str, Any]], metric: str) -> list[str]:
    given = dict.fromkeys(name for summary in summaries for name in summary_figures(summary))
    return [name for name in given if metric_of(name) == metric]


def _reason(summaries: list[Mapping[str, Any]], metric: str) -> str:
    """Why nothing was measured, by the evaluation's own words where it has some."""
    if not summaries:
        return "nothing was measured"
    problems = (problem for summary in summaries for problem in summary["problems"])
    return next((problem for problem in problems if metric in problem), "nothing gave figures")


def _row(title: str, summary: Mapping[str, Any] | None, row: PublishedRow | None, published: PublishedTable) -> Row:
    figures = {} if summary is None else summary_figures(summary)
    for name, values in row.values.items() if row else ():
        for metric, value in values.items():
            if value is not None:
                figures[_published_title(metric, name, published)] = Figure(value)
    return Row(title, figures)


def _published_title(metric: str, data: str, published: PublishedTable) -> str:
    """The data set is named where there is more than one."""
    return f"{metric} (paper)" if len(published.data) == 1 else f"{metric} (paper, {data})"


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
