"""What of the package works on this machine: what `mrfa doctor` tells."""

import os
import platform
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from typing import Literal, NamedTuple, NoReturn

import av
import cv2
import torch

from mrfa import __version__
from mrfa.animation.job import demo_files
from mrfa.data.images import read_image
from mrfa.devices import fastest_precision, pick_device, precision_name
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.weights import bundled_models, load_model

# What each extra is for.
EXTRAS = {
    "train": "mrfa train",
    "evaluate": "mrfa evaluate, mrfa table and mrfa figure",
    "identity": "the metric of identity",
    "paper-metrics": "the paper's own metrics",
    "live": "mrfa live into a camera of other programs",
    "web": "mrfa serve",
    "onnx": "mrfa export to ONNX, and --backend onnxruntime",
    "openvino": "mrfa export to OpenVINO, and --backend openvino",
    "ray": "mrfa batch on several machines",
    "c2pa": "signed marks of origin",
}
# Of the encoders that FFmpeg may lack, those that results need.
ENCODERS = ("libx264", "aac")

State = Literal["works", "absent", "broken"]


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        part: of the package.
        name: within the part.
        state: `absent` is what was never installed and is not needed.
        text: what was found.
        remedy: what to do about it, where something can be done.
    """

    part: str
    name: str
    state: State
    text: str
    remedy: str | None = None


def examine() -> Iterator[Finding]:
    """Look at everything, one thing after another. Whatever is wrong is told, not raised."""
    yield Finding("system", "mrfa", "works", __version__)
    yield Finding("system", "Python", "works", f"{platform.python_version()} on {platform.platform(terse=True)}")
    yield Finding("system", "PyTorch", "works", f"{torch.__version__}, {torch.get_num_threads()} of {os.cpu_count()} cores")
    yield from _devices()
    for part, name, look in (("faces", "detector", _faces), ("video", "FFmpeg", _video)):
        yield _tried(part, name, look, "pip install --force-reinstall mrfa")
    for folder in sorted(bundled_models().iterdir()):
        yield _tried("models", folder.name, partial(_model, folder.name), "pip install --force-reinstall mrfa")
    for extra in EXTRAS:
        yield _extra(extra)
    yield from _metrics()


def _devices() -> Iterator[Finding]:
    names = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    best = pick_device()
    for name in [*names, "cpu"]:
        device = torch.device(name)
        known = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
        precision = precision_name(fastest_precision(device))
        default = ", the default" if device.type == best.type and device.index in (None, 0) else ""
        yield Finding("devices", name, "works", f"{known}, fastest in {precision}{default}")


def _tried(part: str, name: str, look: Callable[[], str], remedy: str) -> Finding:
    begin = time.perf_counter()
    try:
        text = look()
    except Exception as error:
        return Finding(part, name, "broken", _line(error), remedy)
    return Finding(part, name, "works", f"{text}, {(time.perf_counter() - begin) * 1000:.0f} ms")


def _faces() -> str:
    """Of the portrait that comes with the package."""
    if len(FaceFinder().all(read_image(demo_files()[0]))) != 1:
        raise InputError("the face of the bundled portrait is not found")
    return f"OpenCV {cv2.__version__} finds the face of the bundled portrait"


def _video() -> str:
    missing = [name for name in ENCODERS if name not in av.codecs_available]
    if missing:
        raise InputError(f"PyAV {av.__version__} cannot write {' and '.join(missing)}")
    return f"PyAV {av.__version__} writes H.264 and AAC"


def _model(name: str) -> str:
    parameters = sum(parameter.numel() for parameter in load_model(name).parameters())
    return f"{parameters / 1e6:.1f} million parameters"


def _extra(extra: str) -> Finding:
    """By what its packages say of themselves: to import all of them would take long."""
    packages = _requirements(extra)
    versions = {package: _version(package) for package in packages}
    missing = [package for package, version in versions.items() if version is None]
    there = ", ".join(f"{package} {version}" for package, version in versions.items() if version is not None)
    name = f"{extra}: {EXTRAS[extra]}"
    if missing or not packages:
        text = f"without {', '.join(missing)}" if packages else "unknown to the version that is installed"
        return Finding("extras", name, "absent", text, f"pip install 'mrfa[{extra}]'")
    return Finding("extras", name, "works", there)


def _requirements(extra: str) -> list[str]:
    """Names of the packages of an extra."""
    try:
        lines = metadata.requires("mrfa") or []
    except metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return []
    wanted = re.compile(rf"""extra == ['"]{extra}['"]""")
    return [found[0] for line in lines if wanted.search(line) and (found := re.match(r"[\w.-]+", line))]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _metrics() -> Iterator[Finding]:
    """Each as `mrfa evaluate` would load it, but that nothing is fetched."""
    try:
        from mrfa.evaluation.metrics import METRICS, load_metrics
    except ImportError as error:
        yield Finding("metrics", "all", "absent", _line(error), "pip install 'mrfa[evaluate]'")
        return
    there, others = [], []
    with _without_network():
        for name in METRICS:
            try:
                _, problems = load_metrics([name])
            except Exception as error:
                problems = [_line(error)]
            if problems:
                others.append(Finding("metrics", name, "absent", problems[0].removeprefix(f"{name}: ")))
            else:
                there.append(name)
    yield Finding("metrics", f"{len(there)} of {len(METRICS)}", "works", ", ".join(there))
    yield from others


@contextmanager
def _without_network() -> Iterator[None]:
    """Weights that are not here would be fetched, hundreds of megabytes of them."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError("mrfa doctor fetches nothing")

    before = socket.getaddrinfo
    socket.getaddrinfo = refuse
    try:
        yield
    finally:
        socket.getaddrinfo = before


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
