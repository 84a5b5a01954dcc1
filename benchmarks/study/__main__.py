"""`python -m benchmarks.study FILE`: train and evaluate the variants of a study."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.study.plan import load_study
from mrfa.cli import main
from mrfa.extras import require

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="YAML file with the study's variants.")],
    data: Annotated[Path, typer.Option(help="Folder of training clips.")],
    test: Annotated[Path, typer.Option(help="Folder of clips of other people, to evaluate the models on.")],
    output: Annotated[Path, typer.Option(help="Folder of all runs and of the tables.")],
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared clips.")] = None,
) -> None:
    """Train and evaluate the variants of a study; call it again to go on."""
    plan = load_study(file)
    require("lightning", extra="train")
    from benchmarks.study.run import run_study

    table = run_study(plan, data=data, test=test, output=output, cache=cache, report=typer.echo)
    typer.echo(f"tables: {table}, {table.with_suffix('.csv')}")


if __name__ == "__main__":
    main(app)
