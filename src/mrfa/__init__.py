"""Animate a portrait by a driving video: the public names, imported on first use to keep the command line quick."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.animation.animator import Animator
    from mrfa.animation.motion import transfer_motion
    from mrfa.weights import load_model

__all__ = ["Animator", "InputError", "__version__", "load_model", "transfer_motion"]

try:
    __version__ = version("mrfa")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "Animator": "mrfa.animation.animator",
    "load_model": "mrfa.weights",
    "transfer_motion": "mrfa.animation.motion",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrfa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
