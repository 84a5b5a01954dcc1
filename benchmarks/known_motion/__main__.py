"""`python -m benchmarks.known_motion MODEL`: the flow of every stage against the truth."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.known_motion.flow_errors import make_motion_table, measure_motion, summarise_motion
from benchmarks.known_motion.flow_picture import draw_motion
from mrfa.animation.animator import Animator
from mrfa.cli import main
from mrfa.cli_evaluate import progress_bar
from mrfa.cli_options import DeviceOption, PrecisionOption
from mrfa.data.files import check_writable, replacing
from mrfa.data.images import write_image

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def known_motion(
    model: Annotated[str, typer.Argument(help="Model folder, or name of a bundled model.")],
    heads: Annotated[int, typer.Option(help="Synthetic heads.", min=1)] = 40,
    pairs: Annotated[int, typer.Option(help="Pairs of pictures of each head.", min=1, max=99)] = 6,
    seed: Annotated[int, typer.Option(help="Of the first head.", min=0)] = 1000,
    output: Annotated[Path | None, typer.Option(help="JSON file for all figures.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG or JPEG file with flows and errors of a few pairs.")] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
) -> None:
    """Compare the flows with the truth, on synthetic heads: coarse motion and every refinement, by region."""
    for path in (output, picture):
        if path is not None:
            check_writable(path)
    animator = Animator.from_pretrained(model, device=device, dtype=precision)
    with progress_bar("heads") as progress:
        scores = measure_motion(animator, heads=heads, pairs=pairs, seed=seed, progress=progress)
    summary = summarise_motion(scores)
    Console().print(make_motion_table(summary, heads=heads, pairs=pairs))
    if output is not None:
        content = {"model": model, "heads": heads, "pairs": pairs, "seed": seed, "stages": summary}
        with replacing(output) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")
    if picture is not None:
        write_image(picture, draw_motion(scores.pairs))


if __name__ == "__main__":
    main(app)
