"""The tables of a study: `study.md`, and the same as `study.csv` and `differences.csv`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.study.differences import CLIPS, differences
from benchmarks.study.plan import Run, Study
from mrfa.data.files import replacing
from mrfa.evaluation.tables.published import published_table
from mrfa.evaluation.tables.table import Column, Measured, Row, Table, assemble, summary_figures, to_csv, to_markdown


def write_reports(study: Study, runs: list[Run], summaries: Mapping[str, Mapping[str, Any]], output: Path) -> Path:
    """Write the tables of all runs that are finished.

    Args:
        study: the study.
        runs: all of its runs.
        summaries: a run's name to the content of its `summary.json`.
        output: the study's folder.

    Returns:
        The Markdown file.
    """
    finished = [run for run in runs if run.name in summaries]
    table, compared = _table(study, runs, summaries), _differences(study, finished, output)
    markdown = "\n".join(to_markdown(part) for part in (table, compared) if part.rows)
    contents = {"study.md": markdown, "study.csv": to_csv(table)}
    if compared.rows:
        contents["differences.csv"] = to_csv(compared)
    for name, text in contents.items():
        with replacing(output / name) as temporary:
            temporary.write_text(text)
    return output / "study.md"


def _table(study: Study, runs: list[Run], summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    published = None if study.table is None else published_table(study.table)
    measured = []
    order = list(study.variants)
    for run in sorted(runs, key=lambda run: (order.index(run.variant), run.seed)):
        if run.name not in summaries:
            continue
        row = published.rows.get(run.variant) if published else None
        title = f"{row.title if row else run.variant}, seed {run.seed}"
        measured.append(Measured(run.variant, title, summaries[run.name]))
    notes = _notes(runs, summaries)
    if study.table is not None:
        return assemble(study.table, measured, notes)
    rows = [Row(method.title or method.key, summary_figures(method.summary)) for method in measured]
    return Table("Study", _columns(rows), rows, notes)


def _differences(study: Study, finished: list[Run], output: Path) -> Table:
    """A row for each comparison of which both sides have a finished run."""
    rows = []
    for variant, reference in study.compare.items():
        sides = [
            [path for run in finished if run.variant == name and (path := output / run.name / CLIPS).is_file()]
            for name in (variant, reference)
        ]
        if all(sides):
            seeds = " against ".join(f"{len(side)} seed{'s' if len(side) > 1 else ''}" for side in sides)
            rows.append(Row(f"{variant} minus {reference} ({seeds})", differences(*sides)))
    note = (
        "mean over clips of the difference, averaged over seeds; in brackets: 95 % bootstrap interval over clips, which says "
        "nothing of how other seeds would differ"
    )
    return Table("Differences, clip by clip", _columns(rows), rows, [note])


def _columns(rows: list[Row]) -> list[Column]:
    return [Column(metric, True) for metric in dict.fromkeys(metric for row in rows for metric in row.figures)]


def _notes(runs: list[Run], summaries: Mapping[str, Mapping[str, Any]]) -> list[str]:
    training, summary = runs[0].config.training, next(iter(summaries.values()))
    budget = f"{training.steps} steps" if training.steps else f"{training.epochs} epochs"
    size = training.image_size
    notes = [
        f"trained for {budget} of {training.batch_size} pairs at {size}x{size}; measured on {summary['clips']} clips, "
        f"{summary['frames']} frames ({summary['variant']}); in brackets: 95 % bootstrap interval over clips"
    ]
    missing = [run.name for run in runs if run.name not in summaries]
    return notes + ([f"not finished yet: {', '.join(missing)}"] if missing else [])
