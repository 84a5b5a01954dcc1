"""The command `mrfa export`."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    model: Annotated[str, typer.Argument(help="Bundled model or model folder.")],
    output: Annotated[Path, typer.Argument(help="The folder to write.")],
    format: Annotated[str, typer.Option(metavar="onnx|openvino|torch", help="What the graphs are to run in.")] = "onnx",
) -> None:
    """Write a model as three graphs that run without this package, with an example."""
    from mrfa.export import export_model

    export_model(model, output, format)
    typer.echo(f"{output}: the graphs detect, encode and animate, and example.py, which runs them")
