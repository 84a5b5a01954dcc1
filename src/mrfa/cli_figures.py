"""The commands `mrfa figure ...`: one thin typed function a figure."""

from pathlib import Path
from typing import Annotated

import typer

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
AbsoluteOption = Annotated[bool, typer.Option("--absolute", help="Take the driver's pose, not only its motion.")]
CellOption = Annotated[int, typer.Option(help="Side of each picture in pixels.", min=64, max=1024)]
# Below this the captions of the flow figure would be cut.
SMALLEST_LABELLED = 128
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]


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
    device: DeviceOption = "cpu",
) -> None:
    """Clips driven by themselves, a method a column (Figure 4)."""
    from mrfa.evaluation.figures.command import figure_reconstruction as draw

    draw(models, output, data=data, clips=clip or (), rows=rows, seed=seed, coarse=coarse, cell=cell, device=device)


@figure.command("cross-identity")
def figure_cross_identity(
    models: MethodsArgument,
    output: FigureOutput,
    data: FigureData = None,
    pair: FigurePairs = None,
    rows: RowsOption = 4,
    seed: SeedOption = 0,
    absolute: AbsoluteOption = False,
    coarse: CoarseOption = False,
    cell: CellOption = 192,
    device: DeviceOption = "cpu",
) -> None:
    """Portraits driven by other people, a method a column (Figures 5 and 6)."""
    from mrfa.evaluation.figures.command import figure_cross_identity as draw

    draw(
        models,
        output,
        data=data,
        pairs=pair or (),
        rows=rows,
        seed=seed,
        absolute=absolute,
        coarse=coarse,
        cell=cell,
        device=device,
    )


@figure.command("flow")
def figure_flow(
    model: Annotated[str, typer.Argument(help="Model folder, or name of a bundled model.")],
    output: FigureOutput,
    data: FigureData = None,
    clip: FigureClips = None,
    pair: FigurePairs = None,
    rows: RowsOption = 1,
    seed: SeedOption = 0,
    absolute: AbsoluteOption = False,
    cell: Annotated[int, typer.Option(help="Side of each picture in pixels.", min=SMALLEST_LABELLED, max=1024)] = 192,
    device: DeviceOption = "cpu",
) -> None:
    """The flow of every iteration, what each changed, occlusion maps and keypoints (Figure 7)."""
    from mrfa.evaluation.figures.command import figure_flow as draw

    draw(
        model,
        output,
        data=data,
        clips=clip or (),
        pairs=pair or (),
        rows=rows,
        seed=seed,
        absolute=absolute,
        cell=cell,
        device=device,
    )
