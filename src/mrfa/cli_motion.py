"""The commands `mrfa motion ...`: motion templates."""

from pathlib import Path
from typing import Annotated

import typer

from mrfa.cli_options import BatchSizeOption, DeviceOption, ModelOption, PrecisionOption
from mrfa.cli_progress import frames_progress, report

motion = typer.Typer(help="Make motion templates, small files that drive any portrait.", no_args_is_help=True)

CropOption = Annotated[str, typer.Option(metavar="auto|none|X,Y,W,H", help="Where the face is in the driver.")]


@motion.command()
def extract(
    driving: Annotated[Path, typer.Argument(help="Video or folder of pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The template to write (.safetensors).")],
    model: ModelOption = "small",
    crop: CropOption = "auto",
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Save a driver's motion as a small template that drives any portrait later."""
    with frames_progress(output) as on_progress:
        from mrfa.animation.animator import Animator
        from mrfa.animation.extraction import extract_motion

        animator = Animator.from_pretrained(model, device=device, dtype=precision, batch_size=batch_size)
        result = extract_motion(driving, output, model=animator, driving_crop=crop, on_progress=on_progress)
    report(output, result.frames, result.warnings)
