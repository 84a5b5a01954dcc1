"""From summaries of evaluations and published figures to a table."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mrfa.evaluation.tables.layout import Column, Figure, Row, Table, metric_of
from mrfa.evaluation.tables.published import PublishedRow, PublishedTable

# The row of a summary that speaks of the model itself.
METHOD = "result"


class Measured(NamedTuple):
    """A method that was judged here.

    Attributes:
        key: of the published row that it stands beside, or a name of its own.
        title: what the row is called; None: as in the paper.
        summary: content of its `summary.json`.
    """

    key: str
    title: str | None
    summary: Mapping[str, Any]


def assemble(published: PublishedTable, measured: list[Measured], notes: list[str] | None = None) -> Table:
    """A table of the paper with what was measured beside each published figure.

    Rows stand in the paper's order, those of no published row after them. A metric has a column for each judge that gave
    figures, under the judge's own name, then the published ones; one that no judge gave stays empty, with a footnote.
    """
    summaries = [method.summary for method in measured]
    columns: list[Column] = []
    footnotes = list(notes or [])
    for metric in published.metrics:
        judges = _judges(summaries, metric)
        if not judges:
            footnotes.append(f"{metric}: {_reason(summaries, metric)}")
        columns += [Column(judge, metric, True) for judge in judges or [metric]]
        columns += [Column(_published_title(metric, name, published), metric, False) for name in published.data]
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
    """A table of no published one: a column a judge."""
    judges = list(dict.fromkeys(judge for method in measured for judge in method.summary["judges"]))
    columns = [Column(judge, metric_of(judge), True) for judge in judges]
    rows = [Row(method.title or method.key, summary_figures(method.summary)) for method in measured]
    return Table(caption, columns, rows, list(notes or []))


def summary_figures(summary: Mapping[str, Any]) -> dict[str, Figure]:
    """Judge to figure, without the judges that gave none."""
    values = summary["methods"].get(METHOD, {})
    return {
        judge: Figure(value["mean"], value["low"], value["high"]) for judge, value in values.items() if value["mean"] is not None
    }


def _judges(summaries: list[Mapping[str, Any]], metric: str) -> list[str]:
    given = dict.fromkeys(judge for summary in summaries for judge in summary_figures(summary))
    return [judge for judge in given if metric_of(judge) == metric]


def _reason(summaries: list[Mapping[str, Any]], metric: str) -> str:
    """Why nothing was measured, by the evaluation's own words where it has some."""
    if not summaries:
        return "nothing was measured"
    problems = (problem for summary in summaries for problem in summary["problems"])
    return next((problem for problem in problems if metric in problem), "no judge gave figures")


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
