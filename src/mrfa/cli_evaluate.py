"""The command line of the evaluation: `mrfa evaluate ...`."""

from pathlib import Path
from typing import Annotated

import typer

evaluate = typer.Typer(help="Measure how good a model is.", no_args_is_help=True)


@evaluate.command("reconstruction")
def evaluate_reconstruction(
    model: Annotated[str, typer.Argument(help="Model folder, or name of a bundled model.")],
    data: Annotated[Path, typer.Option(help="Folder of clips of people that the model has never seen.")],
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="PNG file for a contact sheet.")] = None,
    frames_per_clip: Annotated[int, typer.Option(help="Evenly spaced frames a clip; 0 for all.", min=0)] = 6,
    clips: Annotated[int, typer.Option(help="Evenly spaced clips of the folder; 0 for all.", min=0)] = 0,
) -> None:
    """Animate each clip's first frame by its later frames, and compare with these: a quick look beside baselines."""
    from mrfa.evaluation.command import run_reconstruction

    run_reconstruction(model, data, output=output, sheet=sheet, frames_per_clip=frames_per_clip or None, clips=clips or None)


@evaluate.command("protocol")
def evaluate_protocol(
    model: Annotated[str, typer.Argument(help="Model folder, name of a bundled model, or folder of result videos.")],
    data: Annotated[Path, typer.Option(help="Folder of clips of people that the model has never seen.")],
    folder: Annotated[Path, typer.Option(help="Folder for all results; an interrupted evaluation goes on there.")],
    cross_identity: Annotated[bool, typer.Option("--cross-identity", help="Drive portraits by other people.")] = False,
    absolute: Annotated[bool, typer.Option("--absolute", help="Cross-identity by absolute motion.")] = False,
    pairs: Annotated[int, typer.Option(help="Cross-identity pairs to draw.", min=1)] = 50,
    seed: Annotated[int, typer.Option(help="Of the pairs.", min=0)] = 0,
    variant: Annotated[str, typer.Option(help="standard, or paper: as the published figures were computed.")] = "standard",
    judges: Annotated[str | None, typer.Option(help="Names between commas; all that can be had by default.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Folder of the judges' weights.")] = None,
    frames_per_clip: Annotated[int, typer.Option(help="Evenly spaced frames a clip; 0 for all.", min=0)] = 0,
    clips: Annotated[int, typer.Option(help="The first so many clips; 0 for all.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
) -> None:
    """Run one of the paper's protocols with all judges: figures with intervals, a CSV file and the worst clips."""
    from mrfa.evaluation.command import run_protocol

    run_protocol(
        model,
        data,
        folder,
        protocol="cross-identity" if cross_identity else "reconstruction",
        variant=variant,
        judges=judges,
        weights=weights,
        device=device,
        frames_per_clip=frames_per_clip or None,
        clips=clips or None,
        relative=not absolute,
        pairs=pairs,
        seed=seed,
    )
