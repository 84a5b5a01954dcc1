"""The command `mrfa bench`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mrfa.cli_evaluate import progress_bar
from mrfa.cli_options import BatchSizeOption, DeviceOption
from mrfa.cli_stop import keeps


def bench(
    model: Annotated[str, typer.Argument(help="Bundled model, model folder, or preset (random weights).")] = "small",
    mode: Annotated[
        list[str] | None,
        typer.Option(
            metavar="fp32|bf16|fp16|compile|onnxruntime|openvino",
            help="Or several, such as bf16+compile; may be given several times. By default fp32 and what is fast here.",
        ),
    ] = None,
    frames: Annotated[int, typer.Option(help="Of the driver; more on a fast device.", min=1)] = 48,
    rounds: Annotated[int, typer.Option(help="How often each way is measured.", min=1)] = 3,
    side: Annotated[int, typer.Option(help="Of portrait and driver, in pixels.", min=64, max=4096)] = 256,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A JSON file to write.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A picture to write (.png).")] = None,
    device: DeviceOption = None,
    batch_size: BatchSizeOption = None,
) -> None:
    """Measure how fast a model is here, as ratios to running it straightforwardly, and what takes the time."""
    from mrfa.data.files import check_writable
    from mrfa.data.images import format_of, write_image
    from mrfa.extras import require

    if chart is not None:
        require("matplotlib", extra="evaluate")
        format_of(chart)
    for path in (output, chart):
        if path is not None:
            check_writable(path)
    from rich.console import Console

    from mrfa.bench.measure import measure
    from mrfa.bench.report import draw_chart, make_tables, write_json

    with keeps("nothing was written"), progress_bar("rounds") as progress:
        report = measure(
            model,
            mode or (),
            device=device,
            batch_size=batch_size,
            frames=frames,
            rounds=rounds,
            side=side,
            progress=progress,
        )
    Console(width=None if sys.stdout.isatty() else 200).print(*make_tables(report))
    if output is not None:
        write_json(report, output)
    if chart is not None:
        write_image(chart, draw_chart(report))
