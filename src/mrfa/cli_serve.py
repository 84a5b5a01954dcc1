"""The command `mrfa serve`."""

import time
from typing import Annotated

import typer

from mrfa.cli_options import BatchSizeOption, DeviceOption, ModelOption, PrecisionOption
from mrfa.cli_stop import keeps


def serve(
    host: Annotated[str, typer.Option(help="Where to listen: 0.0.0.0 lets in all who reach this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="To listen on; 0: any that is free.")] = 7860,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
    max_seconds: Annotated[int, typer.Option(min=1, help="Length of a driving video.")] = 60,
    max_megabytes: Annotated[int, typer.Option(min=1, help="Size of a file.")] = 200,
    max_waiting: Annotated[int, typer.Option(min=0, help="Animations that wait while one is made.")] = 8,
    model: ModelOption = "small",
    device: DeviceOption = None,
    precision: PrecisionOption = "auto",
    batch_size: BatchSizeOption = None,
) -> None:
    """Animate portraits on a web page, on this machine alone."""
    import webbrowser

    from mrfa.extras import require

    require("gradio", extra="web")
    from mrfa.animation.animator import Animator
    from mrfa.web.limits import Limits
    from mrfa.web.server import serving

    animator = Animator.from_pretrained(model, device=device, dtype=precision, batch_size=batch_size)
    limits = Limits(megabytes=max_megabytes, seconds=max_seconds, waiting=max_waiting)
    with keeps("what was uploaded and made is deleted"), serving(animator, limits, host=host, port=port) as url:
        typer.echo(f"{url} is the page; Ctrl-C ends it")
        if browser:
            webbrowser.open(url)
        while True:
            time.sleep(3600)
