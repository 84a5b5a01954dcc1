"""Options that every command that computes has, with the same names and meaning.

Their default is None everywhere: `mrfa.devices` decides then, see `pick_device` and `pick_precision`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, cast, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ModelOption = Annotated[str, typer.Option(help="Bundled model or model folder.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="cpu|cuda|cuda:N|mps", help="Where to compute; the fastest there is by default.")
]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        "--precision", metavar="auto|fp32|bf16|fp16", help="Of the network's convolutions; auto: the fastest that is safe."
    ),
]
BackendOption = Annotated[
    str, typer.Option("--backend", metavar="torch|onnxruntime|openvino", help="What computes; all but torch on the CPU.")
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Frames computed together; by default as the device likes.")
]


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Make the fields of a command's argument `settings`, a pydantic model, options of it: names, types, defaults and help."""
    signature = inspect.signature(command, eval_str=True)
    kind: type[BaseModel] = signature.parameters["settings"].annotation
    fields = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=_option(name, field))
        for name, field in kind.model_fields.items()
    ]
    own = [parameter for name, parameter in signature.parameters.items() if name != "settings"]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        settings = kind(**{name: values.pop(name) for name in kind.model_fields})
        command(**values, settings=settings)

    run.__signature__ = signature.replace(parameters=[*own, *fields])  # type: ignore[attr-defined]
    return run


def _option(name: str, field: FieldInfo) -> Any:
    """A field as typer has options: switches where they are off by default, and one text where there are several values."""
    switch = f"--{name.replace('_', '-')}"
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    option = typer.Option(
        *([switch] if field.default is False else []),
        help=field.description,
        metavar=cast("str | None", extra.get("metavar")),
        min=_bound(field, Ge),
        max=_bound(field, Le),
    )
    several = any(get_origin(part) is tuple for part in (field.annotation, *get_args(field.annotation)))
    return Annotated[str | None if several else field.annotation, option]


def _bound(field: FieldInfo, kind: type[Ge] | type[Le]) -> Any:
    bounds = (getattr(constraint, kind.__name__.lower()) for constraint in field.metadata if isinstance(constraint, kind))
    return next(bounds, None)
