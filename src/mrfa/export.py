"""Exported models: a folder of three graphs that run without this package, with an example, a manifest and a description."""

import hashlib
import io
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mrfa import __version__
from mrfa.data.files import replacing_folder
from mrfa.errors import InputError
from mrfa.export_graphs import Graph, GraphName, graphs
from mrfa.extras import require
from mrfa.network.inference import for_inference
from mrfa.network.model import Network
from mrfa.weights import find_model, fingerprint, load_model

Format = Literal["onnx", "openvino", "torch"]
FORMATS: tuple[Format, ...] = get_args(Format)
SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
MANIFEST, CARD_NAME = "manifest.json", "README.md"
# The least that has all that the network needs, such as sampling at positions that are computed.
OPSET = 20


def check_format(format: str) -> Format:
    """A format by its name.

    Raises:
        InputError: there is no such format, or its packages are missing.
    """
    if format not in FORMATS:
        raise InputError(f"there is no format '{format}': choose from {', '.join(FORMATS)}")
    for module in {"onnx": ("onnx", "onnxscript"), "openvino": ("openvino",), "torch": ()}[format]:
        require(module, extra=format)
    return format  # type: ignore[return-value]


def export_model(model: str | Path, output: Path, format: str) -> None:
    """Write the graphs of a bundled model or of a model folder into a new folder, with its model card; see `export_network`.

    Raises:
        InputError: no such model or format, the format's packages are missing, or the folder exists or cannot be made.
    """
    checked = check_format(format)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"cannot write {output}: it exists already")
    card = find_model(model) / CARD_NAME
    export_network(load_model(model), output, checked, card.read_text(encoding="utf-8") if card.is_file() else None)


def export_network(network: Network, output: Path, format: Format, card: str | None = None) -> None:
    """Write the graphs of a network, what their tensors are, and an example that runs them, into a new folder.

    Args:
        network: on the CPU. What is written is its faster copy, see `for_inference`.
        output: absent or empty.
        format: `onnx` (ONNX), `openvino` (its own IR) or `torch` (programs of `torch.export`).
        card: text of the model card.

    Raises:
        InputError: the folder cannot be made.
    """
    made, texts = graphs(for_inference(network)), resources.files("mrfa") / "exported"
    runtime = (texts / f"runtime_{format}.py").read_text(encoding="utf-8")
    example = (texts / "example.py").read_text(encoding="utf-8").replace("from runtime import load\n", f"\n{runtime}\n")
    manifest = describe(network, made, format)
    files = {"README.md": (texts / "README.md").read_text(encoding="utf-8"), "example.py": example}
    files[MANIFEST] = json.dumps(manifest, indent=1) + "\n"
    if card is not None:
        files["MODEL_CARD.md"] = card
    with replacing_folder(output) as folder:
        for name, graph in made.items():
            WRITERS[format](graph, folder / f"{name}{SUFFIXES[format]}")
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")


def export_once(network: Network, format: Format) -> Path:
    """The folder of a network's graphs, kept from one run to the next in `MRFA_CACHE`, by default `~/.cache/mrfa`.

    Raises:
        InputError: the format's packages are missing, or the folder cannot be made.
    """
    check_format(format)
    digest = hashlib.sha256(f"{fingerprint(network)} {network.config.model_dump_json()} {torch.__version__}".encode())
    # Graphs of another version of the code are others.
    for path in sorted(Path(__file__).parent.glob("network/*.py")):
        digest.update(path.read_bytes())
    cache = Path(os.environ.get("MRFA_CACHE") or Path.home() / ".cache" / "mrfa")
    folder = cache / f"{format}-{digest.hexdigest()[:16]}"
    if not (folder / MANIFEST).is_file():
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cannot keep graphs in {cache}: {error.strerror}; set MRFA_CACHE to another folder") from None
        try:
            export_network(network, folder, format)
        except InputError:
            if not (folder / MANIFEST).is_file():  # otherwise another process was first
                raise
    return folder


def describe(network: Network, made: Mapping[GraphName, Graph], format: Format) -> dict[str, object]:
    """The manifest: of which model and version the graphs are, and their tensors, all float32, with shapes."""
    return {
        "format": format,
        "mrfa": __version__,
        "model": fingerprint(network),
        "image_size": network.config.image_size,
        "coordinates": network.config.coordinates,
        "graphs": {
            name: {
                "file": f"{name}{SUFFIXES[format]}",
                "inputs": {key: _shape(value.shape, key in graph.batched) for key, value in graph.inputs.items()},
                "outputs": {key: _shape(shape, True) for key, shape in graph.outputs.items()},
            }
            for name, graph in made.items()
        },
    }


def _shape(shape: torch.Size, batched: bool) -> list[int | str]:
    return ["batch", *shape[1:]] if batched else list(shape)


def to_program(graph: Graph) -> ExportedProgram:
    """A graph as `torch.export` has it."""
    batches = {name: {0: Dim.DYNAMIC} if name in graph.batched else {} for name in graph.inputs}
    with torch.no_grad(), _quiet():
        return torch.export.export(graph.module, (graph.inputs,), dynamic_shapes=(batches,))


def _write_torch(graph: Graph, path: Path) -> None:
    program = to_program(graph)
    _drop_unused(program)
    torch.export.save(program, path)


def _drop_unused(program: ExportedProgram) -> None:
    """Take away the weights of the other graphs, and the examples."""
    program.example_inputs = None
    signature, nodes = program.graph_signature, {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    for spec in list(signature.input_specs):
        if spec.target is not None and not nodes[spec.arg.name].users:
            program.graph.erase_node(nodes[spec.arg.name])
            signature.input_specs.remove(spec)
            program.state_dict.pop(spec.target, None)
    program.graph_module.recompile()


def _write_onnx(graph: Graph, path: Path) -> None:
    program = to_program(graph)
    with _quiet():
        written = torch.onnx.export(
            program, input_names=list(graph.inputs), output_names=list(graph.outputs), opset_version=OPSET, verbose=False
        )
        assert written is not None
        written.save(path)


def _write_openvino(graph: Graph, path: Path) -> None:
    import openvino

    names = list(graph.inputs)
    shapes = [openvino.PartialShape(_shape_of_model(graph, name)) for name in names]
    with torch.no_grad(), _quiet():
        model = openvino.convert_model(_Positional(graph), input=shapes, example_input=tuple(graph.inputs.values()))
    for ports, labels in ((model.inputs, names), (model.outputs, graph.outputs)):
        for port, label in zip(ports, labels, strict=True):
            port.get_tensor().set_names({label})
    openvino.save_model(model, path, compress_to_fp16=False)


def _shape_of_model(graph: Graph, name: str) -> list[int]:
    batch, *others = graph.inputs[name].shape
    return [-1 if name in graph.batched else batch, *others]


class _Positional(nn.Module):
    """A graph of tensors by place: OpenVINO has no dictionaries."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.module, self.names = graph.module, list(graph.inputs)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.module(dict(zip(self.names, tensors, strict=True))).values())


WRITERS: dict[Format, Callable[[Graph, Path], None]] = {"onnx": _write_onnx, "openvino": _write_openvino, "torch": _write_torch}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what converters tell their own developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
