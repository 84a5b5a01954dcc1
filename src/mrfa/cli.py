"""The command line: one thin typed function a command."""

import os
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Annotated

# With cores shared, waiting threads that spin make small operations ten times slower. Set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import typer

from mrfa.animation.options import Options
from mrfa.cli_batch import batch
from mrfa.cli_bench import bench
from mrfa.cli_doctor import doctor
from mrfa.cli_evaluate import evaluate, table
from mrfa.cli_export import export
from mrfa.cli_figures import figure
from mrfa.cli_live import live
from mrfa.cli_motion import motion
from mrfa.cli_options import BackendOption, BatchSizeOption, DeviceOption, ModelOption, PrecisionOption, with_settings
from mrfa.cli_prepare import prepare, shard
from mrfa.cli_progress import frames_progress, report
from mrfa.cli_serve import serve
from mrfa.cli_stop import Stopped, keeps, stoppable
from mrfa.cli_verify import verify
from mrfa.errors import InputError

app = typer.Typer(
    name="mrfa",
    help="Animate a portrait by a driving video.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Keeps the commands' names, however few there are."""


@app.command()
def train(
    preset: Annotated[str, typer.Argument(help="Preset name, YAML file or model folder.")],
    data: Annotated[
        list[str],
        typer.Option(help="Folder of clips, stills or shards, packed file, or address of shards; may be given several times."),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the run.")],
    validation: Annotated[str | None, typer.Option(help="Folder of clips, or shards, of other people.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared clips.")] = None,
    init: Annotated[str | None, typer.Option(help="Model to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.", min=1)] = 500,
    time_limit: Annotated[float | None, typer.Option(help="Minutes after which to stop cleanly, to be resumed.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Leave a checkpoint in files of at most 16 MiB too.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, such as training.steps=5000.")] = None,
    device: Annotated[str | None, typer.Option("--device", help="The one device to train on; all GPUs by default.")] = None,
    precision: PrecisionOption = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Pairs a step; the preset's by default.")] = None,
) -> None:
    """Train a model on clips and stills."""
    from mrfa.config import parse_overrides
    from mrfa.extras import require
    from mrfa.training.config import load_config

    require("lightning", extra="train")
    from mrfa.training.run import train as run

    overrides = parse_overrides(settings or [])
    if precision is not None:
        overrides["training.precision"] = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}.get(precision, precision)
    if batch_size is not None:
        overrides["training.batch_size"] = batch_size
    config = load_config(preset, overrides)
    with keeps(f"{output} keeps the last checkpoint, if there was one: add --resume to go on from it"):
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
            compact=compact,
            device=device,
        )
    typer.echo(f"model: {folder}")


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the authors' code (.pth, .pth.tar).")],
    output: Annotated[Path, typer.Argument(help="The model folder to write.")],
    prior: Annotated[str, typer.Option(metavar="affine|tps|transformer", help="Which prior the checkpoint has.")],
    prior_only: Annotated[bool, typer.Option("--prior-only", help="The checkpoint has no motion refinement.")] = False,
) -> None:
    """Make a model folder of a checkpoint of the authors' code."""
    from mrfa.conversion import convert_checkpoint

    parameters = convert_checkpoint(checkpoint, output, prior=prior, prior_only=prior_only)
    typer.echo(f"{output}: a model of {parameters:,} parameters")


@app.command()
def pack(
    data: Annotated[Path, typer.Argument(help="Folder of video clips or of stills.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The packed file (.safetensors).")],
    cache: Annotated[Path, typer.Option(help="Folder for prepared clips.")],
    size: Annotated[int, typer.Option(help="Side of the pictures to train on, in pixels.", min=32, max=2048)] = 256,
) -> None:
    """Pack clips and their landmarks into one file, to train on another machine without PyAV."""
    from mrfa.data.packed import pack_clips

    kept = f"{output} was not written; {cache} keeps the clips that are prepared, and the same command goes on from there"
    with keeps(kept):
        packed = pack_clips(data, output, cache, size=size, report=lambda problem: typer.echo(f"skipped: {problem}", err=True))
    typer.echo(f"packed {packed} clips into {output}")


app.add_typer(figure, name="figure")
app.add_typer(motion, name="motion")
app.add_typer(prepare, name="prepare")
app.command()(evaluate)
app.command()(table)
app.command()(bench)
app.command()(shard)
app.command()(live)
app.command()(serve)
app.command()(export)


@app.command()
@with_settings
def animate(
    source: Annotated[Path, typer.Argument(help="Picture of a face, or a video or folder of pictures.")],
    driving: Annotated[Path, typer.Argument(help="Video, folder of pictures, or motion template.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4).")],
    model: ModelOption = "small",
    device: DeviceOption = None,
    precision: PrecisionOption = "auto",
    backend: BackendOption = "torch",
    batch_size: BatchSizeOption = None,
    *,
    settings: Options,
) -> None:
    """Animate a portrait by a driving video; or give a video the driver's expression and sound, and keep its head motion."""
    with frames_progress(output) as on_progress:
        from mrfa.animation.animator import Animator

        animator = Animator.from_pretrained(model, device=device, dtype=precision, backend=backend, batch_size=batch_size)
        result = settings.animate(source, driving, output, animator, on_progress)
    report(output, result.frames, result.warnings, animator)


app.command()(batch)
app.command()(verify)
app.command()(doctor)


@app.command()
def crop(
    picture: Annotated[Path, typer.Argument(help="Picture of one or several faces.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A picture to write that shows the numbers.")] = None,
) -> None:
    """Show which faces are found in a picture, and the crop that each would have."""
    from mrfa.animation.crop import PORTRAIT_MARGIN, square_around
    from mrfa.data.images import format_of, read_image, write_image
    from mrfa.faces.choice import draw_faces, no_face
    from mrfa.faces.finder import FaceFinder

    if output is not None:
        format_of(output)
    image = read_image(picture)
    faces = FaceFinder().all(image)
    if not faces:
        raise no_face(picture)
    for number, face in enumerate(faces, 1):
        box = square_around(face.box, image.shape[1], image.shape[0], PORTRAIT_MARGIN)
        turned = f", turned by {face.turn} degrees" if face.turn else ""
        typer.echo(f"face {number}: --crop {box.x},{box.y},{box.side},{box.side}{turned}")
    if output is not None:
        write_image(output, draw_faces(image, faces))
        typer.echo(f"{output}: the faces with their numbers")


@app.command()
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The video to write (.mp4).")] = Path("demo.mp4"),
    device: DeviceOption = None,
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = None,
) -> None:
    """Animate the bundled portrait by the bundled motion."""
    with frames_progress(output) as on_progress:
        from mrfa.animation.animator import Animator
        from mrfa.animation.job import animate_file, demo_files

        portrait, template = demo_files()
        animator = Animator.from_pretrained(device=device, dtype=precision, batch_size=batch_size)
        result = animate_file(portrait, template, output, model=animator, on_progress=on_progress)
    report(output, result.frames, result.warnings, animator)


def main(commands: typer.Typer = app) -> None:
    """Run a command line; errors of input are one line and exit code 2. A run that is stopped ends with 128 + the signal."""
    try:
        with stoppable(), warnings.catch_warnings():
            warnings.showwarning = _show_warning
            commands()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except Stopped as stop:
        with suppress(OSError):  # the terminal may be gone
            typer.echo(f"stopped: {stop.kept or 'nothing was written'}", err=True)
        sys.exit(128 + stop.number)


def _show_warning(message: Warning | str, *about: object, **more: object) -> None:
    """What libraries warn of, such as Pillow of a damaged picture, as a line of ours."""
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


if __name__ == "__main__":
    main()
