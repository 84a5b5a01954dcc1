"""Engines by name: torch itself, or the network's graphs in ONNX Runtime or OpenVINO, on the CPU."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.engine import CheckedEngine, Engine, TorchEngine
from mrfa.devices import PRECISIONS, pick_precision, precision_name
from mrfa.errors import InputError
from mrfa.export_graphs import GraphName, like, named
from mrfa.extras import require
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output, Source, expand_source

Backend = Literal["torch", "onnxruntime", "openvino"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
Tensors = dict[str, Tensor]
Run = Callable[[Tensors], Tensors]

_PRECISIONS = {"torch": tuple(PRECISIONS), "onnxruntime": ("fp32",), "openvino": ("fp32", "bf16")}


def pick_engine(network: Network, dtype: str | torch.dtype | None, *, backend: str = "torch", compile: bool = False) -> Engine:
    """The engine of a backend and a precision.

    Args:
        network: on the device on which to compute.
        dtype: see `pick_precision`; with `auto` the first pictures are compared with those of float32.
        backend: `torch`, or another runtime.
        compile: see `TorchEngine`.

    Raises:
        InputError: no such backend or precision, its packages are missing, or it does not compute on the network's device.
    """
    device = next(network.parameters()).device
    precision = pick_precision(dtype, device)
    if dtype == "auto" and precision_name(precision) not in _PRECISIONS.get(backend, ()):
        precision = torch.float32
    if backend == "torch":
        make: Callable[[torch.dtype], Engine] = partial(TorchEngine, network, compile=compile)
    else:
        _check(backend, precision, device, compile=compile)
        make = partial(GraphEngine, network, backend)
    engine = make(precision)
    return CheckedEngine(engine, partial(make, torch.float32)) if dtype == "auto" and precision != torch.float32 else engine


def _check(backend: str, precision: torch.dtype, device: torch.device, *, compile: bool) -> None:
    if backend not in BACKENDS:
        raise InputError(f"there is no backend '{backend}': choose from {', '.join(BACKENDS)}")
    if device.type != "cpu":
        raise InputError(f"the backend {backend} computes on the CPU, not on {device}: choose the device cpu")
    known = _PRECISIONS[backend]
    if precision_name(precision) not in known:
        raise InputError(f"the backend {backend} does not compute in {precision_name(precision)}: choose from {', '.join(known)}")
    if compile:
        raise InputError(f"the backend {backend} compiles in its own way: leave compile out")


class GraphEngine:
    """A network's graphs in another runtime, see `Engine`.

    They are exported when a model is first run so, which takes half a minute, and kept: see `export_once`. What the graphs do not
    have, motion without its refinement and a background that moves, the network does itself.

    Args:
        network: on the CPU, in evaluation mode.
        backend: `onnxruntime` or `openvino`.
        dtype: of the convolutions.

    Raises:
        InputError: the backend's packages are missing, or the graphs cannot be kept.
    """

    def __init__(self, network: Network, backend: str, dtype: torch.dtype) -> None:
        from mrfa.export import SUFFIXES, Format, export_once  # takes its time, which torch alone need not

        format: Format = "onnx" if backend == "onnxruntime" else "openvino"
        require(backend, extra=format)
        self.dtype, self._network = dtype, network
        folder, load = export_once(network, format), _onnxruntime if format == "onnx" else _openvino
        self._detect, self._encode, self._animate = (
            load(folder / f"{name}{SUFFIXES[format]}", dtype) for name in get_args(GraphName)
        )
        size = network.config.image_size
        with torch.inference_mode():
            self._source = network.encode_source(torch.zeros(1, 3, size, size))
            self._output = network.animate(self._source, self._source.keypoints)

    def detect(self, images: Tensor) -> Keypoints:
        """See `Engine`."""
        return like(self._source.keypoints, self._detect({"image": images}))  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Source:
        """See `Engine`."""
        made = self._encode({"image": images}) | {"source_image": images}
        return like(self._source, made, "source")  # type: ignore[no-any-return]

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        """See `Engine`."""
        if coarse_only or background is not None:
            with torch.inference_mode():
                return self._network.animate(source, driving, coarse_only=coarse_only, background=background)
        portraits, frames = source.image.shape[0], driving.positions.shape[0]
        keypoints = expand_source(source, frames).keypoints
        # The graph has one portrait, for any number of frames.
        sources, poses, each = named(source, "source"), named(driving, "driving"), frames // portraits
        parts = [
            self._animate(
                {name: value[number : number + 1] for name, value in sources.items()}
                | {name: value[number * each : (number + 1) * each] for name, value in poses.items()}
            )
            for number in range(portraits)
        ]
        joined = parts[0] if portraits == 1 else {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        output: Output = like(self._output, joined)
        motion = output.motion
        if motion.picture_flow is None:  # where it is the last flow, the graph gives it once
            motion = motion._replace(picture_flow=motion.flows[-1])
        return output._replace(source_keypoints=keypoints, driving_keypoints=driving, motion=motion)


def _onnxruntime(path: Path, dtype: torch.dtype) -> Run:
    """A graph in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Tensors) -> Tensors:
        return _tensors(names, session.run(names, _arrays(inputs)))

    return run


def _openvino(path: Path, dtype: torch.dtype) -> Run:
    """A graph in OpenVINO."""
    import openvino

    precision = "bf16" if dtype == torch.bfloat16 else "f32"
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    model = openvino.compile_model(path, "CPU", settings)
    names = [output.any_name for output in model.outputs]
    # A request holds what it was given and gave: each thread has its own.
    of_thread = threading.local()

    def run(inputs: Tensors) -> Tensors:
        if not hasattr(of_thread, "request"):
            of_thread.request = model.create_infer_request()
        outputs = of_thread.request.infer(_arrays(inputs), share_inputs=True)
        return _tensors(names, list(outputs.values()))

    return run


def _arrays(tensors: Tensors) -> dict[str, np.ndarray]:
    return {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}


def _tensors(names: list[str], arrays: list[np.ndarray]) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in zip(names, arrays, strict=True)}
