"""The command line: one thin typed function a command."""

import os
import sys
from pathlib import Path
from typing import Annotated

# With cores shared, waiting threads that spin make small operations ten times slower. Set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer

from mrfa.errors import InputError

app = typer.Typer(
    name="mrfa",
    help="Animate a portrait by a driving video.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _group() -> None:
    """Keeps the commands' names, however few there are."""


@app.command()
def train(
    preset: Annotated[str, typer.Argument(help="Preset name, YAML file or model folder.")],
    data: Annotated[Path, typer.Option(help="Folder of training clips.")],
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    validation: Annotated[Path | None, typer.Option(help="Folder of clips of other people.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared clips.")] = None,
    init: Annotated[str | None, typer.Option(help="Model to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 500,
    time_limit: Annotated[float | None, typer.Option(help="Minutes after which to stop cleanly, to be resumed.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as training.batch_size=8.")] = None,
) -> None:
    """Train a model on a folder of clips."""
    from mrfa.config import load_config, parse_overrides
    from mrfa.extras import require

    require("lightning", extra="train")
    from mrfa.training.run import train as run

    config = load_config(preset, parse_overrides(settings or []))
    folder = run(
        config,
        data=data,
        output=output,
        validation=validation,
        cache=cache,
        init=init,
        resume=resume,
        checkpoint_every=checkpoint_every,
        time_limit=time_limit,
    )
    typer.echo(f"model: {folder}")


@app.command()
def pack(
    data: Annotated[Path, typer.Argument(help="Folder of video clips.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The packed file (.safetensors).")],
    cache: Annotated[Path, typer.Option(help="Folder for prepared clips.")],
) -> None:
    """Pack clips and their landmarks into one file, to train on another machine without mediapipe."""
    from mrfa.data.packed import pack_clips

    typer.echo(f"packed {pack_clips(data, output, cache, size=256)} clips into {output}")


def main() -> None:
    """Run the command line; errors of input are one line and exit code 2."""
    try:
        app()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
