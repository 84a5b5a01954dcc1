"""`python -m benchmarks.synthesize FOLDER`: write clips of synthetic talking heads whose motion is known."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.synthetic.dataset import synthesize_clips
from mrfa.cli import main
from mrfa.cli_evaluate import progress_bar

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Folder for the clips.")],
    clips: Annotated[int, typer.Option(help="Clips, each of another head.", min=1)] = 10,
    frames: Annotated[int, typer.Option(help="Frames a clip, 25 a second.", min=1)] = 100,
    size: Annotated[int, typer.Option(help="Side of the pictures in pixels.", min=32, max=2048)] = 256,
    seed: Annotated[int, typer.Option(help="Other seeds give other heads.", min=0)] = 0,
    truth: Annotated[bool, typer.Option(help="Write landmarks, angles and expressions beside each clip.")] = True,
) -> None:
    """Write clips of synthetic talking heads whose motion is known."""
    with progress_bar("rendering") as progress:
        written = synthesize_clips(folder, clips=clips, frames=frames, size=size, seed=seed, truth=truth, progress=progress)
    typer.echo(f"{folder}: {len(written)} clips")


if __name__ == "__main__":
    main(app)
