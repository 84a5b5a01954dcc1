"""The tables of a study: `study.md`, and the same as `study.csv` and `differences.csv`."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.study.plan import Study, plan_runs
from benchmarks.study.results import RESULT, Result, difference, mean_figure, metrics, read_result
from mrfa.data.files import replacing
from mrfa.errors import InputError
from mrfa.evaluation.summary import BASELINE
from mrfa.evaluation.tables.published import published_table
from mrfa.evaluation.tables.table import METHOD, Column, Measured, Row, Table, assemble, summary_figures, to_csv, to_markdown

COARSE = "coarse"


def finished_runs(output: Path) -> list[Result]:
    """Results of all finished runs below a folder.

    Raises:
        InputError: there is none, one is damaged, or they had different budgets.
    """
    results = [read_result(path) for path in sorted(output.glob(f"*/{RESULT}"))]
    if not results:
        raise InputError(f"no finished run in {output}: each leaves {RESULT} in a folder of its own")
    for result in results:
        if result.budget != results[0].budget:
            one, other = (f"{run.variant}-seed{run.seed} {run.budget}" for run in (results[0], result))
            raise InputError(f"the runs in {output} cannot be compared, as their budgets differ: {one}, {other}")
    return results


def write_reports(study: Study, results: Sequence[Result], output: Path) -> Path:
    """Write the tables of all runs that are finished.

    Args:
        study: the study.
        results: of its finished runs.
        output: the study's folder.

    Returns:
        The Markdown file.
    """
    table, compared, inner = _table(study, results), differences_table(study, results), _inner_table(study, results)
    contents = {"study.md": "\n".join(to_markdown(part) for part in (table, compared, inner) if part.rows)}
    contents |= {"study.csv": to_csv(table), "differences.csv": to_csv(compared)}
    for name, text in contents.items():
        with replacing(output / name) as temporary:
            temporary.write_text(text)
    return output / "study.md"


def title(study: Study, variant: str) -> str:
    """What a variant is called: as in the paper's table where it has it."""
    rows = {} if study.table is None else published_table(study.table).rows
    return rows[variant].title if variant in rows else variant


def of_variant(results: Sequence[Result], variant: str) -> list[Result]:
    """Its runs, by seed."""
    return sorted((result for result in results if result.variant == variant), key=lambda result: result.seed)


def differences_table(study: Study, results: Sequence[Result]) -> Table:
    """For each comparison that can be made a row a seed that both sides have, and a row of all seeds."""
    rows = []
    for variant, reference in study.compare.items():
        own, other = of_variant(results, variant), of_variant(results, reference)
        name = f"{title(study, variant)} minus {title(study, reference)}"
        common = [(a, b) for a in own for b in other if a.seed == b.seed]
        rows += [_difference_row(f"{name}, seed {a.seed}", [a], [b]) for a, b in common]
        if own and other and (len(own) > 1 or len(other) > 1):
            rows.append(_difference_row(f"{name}, all seeds ({len(own)} and {len(other)})", own, other))
    note = (
        "differences are taken clip by clip, averaged over each person's clips and then over people; in brackets: 95 % bootstrap "
        "interval over people, which says nothing of how other seeds would fall out"
    )
    return Table("Differences", _columns(rows), rows, [note])


def _table(study: Study, results: Sequence[Result]) -> Table:
    """A row a run, beside the paper's figures where the study has its rows; and one for the repeated first frame."""
    measured = [
        Measured(variant, f"{title(study, variant)}, seed {result.seed}", _summary(result, METHOD))
        for variant in study.variants
        for result in of_variant(results, variant)
    ]
    measured.append(Measured(BASELINE, "source repeated", _summary(results[0], BASELINE)))
    clips = results[0].clips.values()
    budget = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in results[0].budget.items())
    note = (
        f"trained: {budget}; measured on {len(clips)} clips of {len({clip.person for clip in clips})} people, "
        f"{study.evaluation.frames_per_clip or 'all'} frames each; in brackets: 95 % bootstrap interval over people"
    )
    if study.table is not None:
        return assemble(study.table, measured, [note])
    rows = [Row(method.title or method.key, summary_figures(method.summary)) for method in measured]
    return Table("Study", _columns(rows), rows, [note])


def _inner_table(study: Study, results: Sequence[Result]) -> Table:
    """What the refinement changes within one network: its result against the picture of its coarse motion alone."""
    refined = dict.fromkeys(run.variant for run in plan_runs(study) if run.config.network.motion != "prior_only")
    rows = []
    for variant in refined:
        own = of_variant(results, variant)
        figures = {metric: difference(own, own, metric, METHOD, COARSE) for metric in metrics(own)}
        known = {metric: figure for metric, figure in figures.items() if figure is not None}
        if known:
            rows.append(Row(f"{title(study, variant)}: refined minus coarse ({len(own)} seeds)", known))
    return Table("Within one network, refined and coarse motion", _columns(rows), rows, [])


def _difference_row(name: str, own: Sequence[Result], other: Sequence[Result]) -> Row:
    figures = {metric: difference(own, other, metric) for metric in metrics([*own, *other])}
    return Row(name, {metric: figure for metric, figure in figures.items() if figure is not None})


def _summary(result: Result, method: str) -> dict[str, object]:
    """As an evaluation sums a method up, with intervals over people."""
    figures = {metric: mean_figure(result, metric, method) for metric in metrics([result])}
    return {"methods": {METHOD: {name: figure._asdict() for name, figure in figures.items() if figure}}, "problems": []}


def _columns(rows: Sequence[Row]) -> list[Column]:
    return [Column(metric, True) for metric in dict.fromkeys(metric for row in rows for metric in row.figures)]
