"""Animate a portrait by a driving video: the public names, imported on first use to keep the command line quick."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.animation.animator import Animator
    from mrfa.animation.job import animate_file
    from mrfa.data.images import read_image
    from mrfa.data.video import open_frames
    from mrfa.network.keypoints import Keypoints
    from mrfa.network.model import Network
    from mrfa.weights import load_model

__all__ = [
    "Animator",
    "InputError",
    "Keypoints",
    "Network",
    "__version__",
    "animate_file",
    "load_model",
    "open_frames",
    "read_image",
]

try:
    __version__ = version("mrfa")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"

_HOMES = {
    "Animator": "mrfa.animation.animator",
    "Keypoints": "mrfa.network.keypoints",
    "Network": "mrfa.network.model",
    "animate_file": "mrfa.animation.job",
    "load_model": "mrfa.weights",
    "open_frames": "mrfa.data.video",
    "read_image": "mrfa.data.images",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mrfa' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
