"""Options that every command that computes has, with the same names and meaning.

Their default is None everywhere: `mrfa.animation.animator` decides then, see `pick_device` and `pick_precision`.
"""

from typing import Annotated

import typer

ModelOption = Annotated[str, typer.Option(help="Bundled model or model folder.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda|cuda:N|mps", help="Where to compute; the fastest there is by default.")
]
PrecisionOption = Annotated[
    str | None, typer.Option("--precision", metavar="fp32|bf16|fp16", help="Of the network's convolutions; fp32 by default.")
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Frames computed together; by default as the device likes.")
]
