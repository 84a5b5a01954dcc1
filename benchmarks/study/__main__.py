"""`python -m benchmarks.study FILE`: train and measure the variants of a study, and write its tables and figures."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.study.plan import chosen_runs, load_study, plan_runs
from mrfa.cli import main
from mrfa.config import parse_overrides
from mrfa.errors import InputError
from mrfa.extras import require

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file with the study's variants.")],
    output: Annotated[Path, typer.Option(help="Folder of all runs and of the tables.")],
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of training clips, or packed file; may be given again. Without: tables alone."),
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Folder or packed file of clips of other people, to measure on.")] = None,
    variants: Annotated[str | None, typer.Option(help="Names between commas; all by default.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Numbers between commas; all by default.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of every training, instead of the file's.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE for all variants, over the file's.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; by default what there is.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared clips.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of the metrics' weights.")] = None,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 500,
) -> None:
    """Train and measure the variants of a study; call it again to go on, or once for each GPU at the same time."""
    plan = load_study(file)
    overrides = parse_overrides(settings or []) | ({"training.steps": steps} if steps else {})
    runs = chosen_runs(plan_runs(plan, overrides), variants=variants, seeds=seeds)
    require("lightning", extra="train")
    for module in ("scipy", "skimage", "matplotlib"):
        require(module, extra="evaluate")
    from benchmarks.study.figures import draw_differences, draw_examples
    from benchmarks.study.report import finished_runs, write_reports
    from benchmarks.study.run import run_study

    if data:
        if test is None:
            raise InputError("what is trained has to be measured: give clips of other people by --test")
        run_study(
            plan,
            runs,
            data=data,
            test=test,
            output=output,
            cache=cache,
            weights=weights,
            device=device,
            checkpoint_every=checkpoint_every,
            report=typer.echo,
        )
    results = finished_runs(output)
    table = write_reports(plan, results, output)
    draw_differences(plan, results, output / "differences.png")
    draw_examples(plan, results, output, output / "examples.png")
    typer.echo(f"tables and figures: {table}, {table.with_suffix('.csv')}, {output / 'differences.png'}")


if __name__ == "__main__":
    main(app)
