"""The commands `mrfa figure ...`: one thin typed function a figure."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mrfa.cli_options import BatchSizeOption, DeviceOption, PrecisionOption

figure = typer.Typer(help="Draw figures like the paper's.", no_args_is_help=True)

MethodsArgument = Annotated[
    list[str],
    typer.Argument(metavar="[LABEL=]MODEL...", help="Model folders, bundled models, or folders of result videos."),
]
FigureOutput = Annotated[Path, typer.Option("--output", "-o", help="The picture to write (.png).")]
FigureData = Annotated[Path | None, typer.Option(help="Folder of clips to choose from.")]
FigureClips = Annotated[
    list[str] | None, typer.Option("--clip", metavar="CLIP[:FRAME]", help="Show this clip, its first frame driven by this one.")
]
FigurePairs = Annotated[
    list[str] | None,
    typer.Option("--pair", metavar="SOURCE,DRIVING[:FRAME]", help="Show this pair; the source may be a picture."),
]
RowsOption = Annotated[int, typer.Option(help="How many to choose where none is given.", min=1)]
SeedOption = Annotated[int, typer.Option(help="Other seeds choose others.", min=0)]
CoarseOption = Annotated[bool, typer.Option("--coarse", help="Also show each network's coarse motion alone.")]
MotionOption = Annotated[Literal["auto", "relative", "absolute"], typer.Option(help="Of other people, as of mrfa animate.")]
CellOption = Annotated[int, typer.Option(help="Side of each picture in pixels.", min=64, max=1024)]
# Below this the captions of the flow figure would be cut.
SMALLEST_LABELLED = 128


@figure.command("reconstruction")
def figure_reconstruction(
    models: MethodsArgument,
    output: FigureOutput,
    data: FigureData = None,
    clip: FigureClips = None,
    rows: RowsOption = 4,
    seed: SeedOption = 0,
    coarse: CoarseOption = False,
    cell: CellOption = 192,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Clips driven by themselves, a method a column (Figure 4)."""
    _check_output(output)
    from mrfa.data.images import write_image
    from mrfa.data.origin import Origin
    from mrfa.evaluation.figures.examples import reconstruction_examples
    from mrfa.evaluation.figures.results import draw_results, load_columns
    from mrfa.evaluation.methods import Compute

    examples = reconstruction_examples(data, clip or (), rows=rows, seed=seed)
    columns = load_columns(models, Compute(device, precision, batch_size))
    write_image(output, draw_results(examples, columns, coarse=coarse, cell=cell), origin=Origin.now(composite=True))


@figure.command("cross-identity")
def figure_cross_identity(
    models: MethodsArgument,
    output: FigureOutput,
    data: FigureData = None,
    pair: FigurePairs = None,
    rows: RowsOption = 4,
    seed: SeedOption = 0,
    motion: MotionOption = "auto",
    coarse: CoarseOption = False,
    cell: CellOption = 192,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Portraits driven by other people, a method a column (Figures 5 and 6)."""
    _check_output(output)
    from mrfa.data.images import write_image
    from mrfa.data.origin import Origin
    from mrfa.evaluation.figures.examples import cross_identity_examples
    from mrfa.evaluation.figures.results import draw_results, load_columns
    from mrfa.evaluation.methods import Compute, CrossMotion

    examples = cross_identity_examples(data, pair or (), rows=rows, seed=seed)
    columns = load_columns(models, Compute(device, precision, batch_size), CrossMotion(motion))
    write_image(output, draw_results(examples, columns, coarse=coarse, cell=cell), origin=Origin.now(composite=True))


@figure.command("flow")
def figure_flow(
    model: Annotated[str, typer.Argument(help="Model folder, or name of a bundled model.")],
    output: FigureOutput,
    data: FigureData = None,
    clip: FigureClips = None,
    pair: FigurePairs = None,
    rows: RowsOption = 1,
    seed: SeedOption = 0,
    motion: MotionOption = "auto",
    cell: Annotated[int, typer.Option(help="Side of each picture in pixels.", min=SMALLEST_LABELLED, max=1024)] = 192,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """The flow of every iteration, what each changed, occlusion maps and keypoints (Figure 7)."""
    _check_output(output)
    from mrfa.animation.animator import Animator
    from mrfa.data.images import write_image
    from mrfa.data.origin import Origin
    from mrfa.evaluation.figures.examples import cross_identity_examples, reconstruction_examples
    from mrfa.evaluation.figures.flow import draw_flow
    from mrfa.evaluation.methods import CrossMotion

    examples = cross_identity_examples(data, pair, rows=rows, seed=seed) if pair else []
    if clip or not pair:
        examples = reconstruction_examples(data, clip or (), rows=rows, seed=seed) + examples
    animator = Animator.from_pretrained(model, device=device, dtype=precision, batch_size=batch_size)
    write_image(output, draw_flow(animator, examples, CrossMotion(motion), cell=cell), origin=Origin.now(composite=True))


def _check_output(path: Path) -> None:
    """Find out before the work that the picture cannot be drawn or written."""
    from mrfa.data.files import check_writable
    from mrfa.data.images import format_of
    from mrfa.extras import require

    require("matplotlib", extra="evaluate")
    format_of(path)
    check_writable(path)
