"""Exported graphs give what the network gives, where this package cannot be imported."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_preset
from PIL import Image
from test_cli_animate import fails
from torch import Tensor

from mrfa.animation.animator import Animator
from mrfa.export import Format, describe, export_network, to_program
from mrfa.export_graphs import drawn, encoded, graphs, named
from mrfa.network.inference import for_inference
from mrfa.network.model import Network, Output
from mrfa.network.thin_plate import eliminate
from mrfa.weights import save_model

PRESETS = ("paper-affine", "paper-thin-plate", "paper-transformer", "paper-npmr", "paper-affine-prior-only")
PACKAGES = {"onnx": "onnxscript", "openvino": "openvino", "torch": "torch"}
# A grey level is 0.004.
TOLERANCE = 1e-4


def tiny(preset: str) -> Network:
    torch.manual_seed(0)
    fewest = {} if preset.endswith("only") else {"network__refinement__iterations": 3}
    return Network(tiny_preset(preset, **fewest).network).eval()


def animated(network: Network, portrait: Tensor, driving: Tensor) -> tuple[dict[str, Tensor], Output]:
    """Inputs and output of the graph `animate`."""
    with torch.no_grad():
        source, keypoints = network.encode_source(portrait), network.detect(driving)
        return named(source, "source") | named(keypoints, "driving"), network.animate(source, keypoints)


def close(outputs: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    assert outputs.keys() == expected.keys()
    return all(torch.allclose(outputs[name], expected[name], rtol=0, atol=TOLERANCE) for name in expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_programs_of_torch_give_what_the_network_gives_for_any_batch(preset: str) -> None:
    network = tiny(preset)
    run = to_program(graphs(for_inference(network))["animate"]).module()
    for batch in (1, 3):
        inputs, output = animated(network, torch.rand(1, 3, 64, 64), torch.rand(batch, 3, 64, 64))
        expected = drawn(output)
        assert output.image.shape[0] == batch and close(run(inputs), expected)


def written(network: Network, folder: Path, format: Format) -> Path:
    if find_spec(PACKAGES[format]) is None or (format == "onnx" and find_spec("onnxruntime") is None):
        pytest.skip(f"the packages of {format} are not installed")
    export_network(network, folder / "exported", format, "what it is")
    return folder / "exported"


# Where ONNX has no solver, and where a detector has attention.
@pytest.mark.parametrize(
    ("preset", "format"),
    [
        ("paper-affine", "torch"),
        ("paper-thin-plate", "openvino"),
        ("paper-npmr", "openvino"),
        ("paper-thin-plate", "onnx"),
        ("paper-transformer", "onnx"),
    ],
)
def test_the_example_animates_without_this_package(preset: str, format: Format, tmp_path: Path) -> None:
    network = tiny(preset)
    folder = written(network, tmp_path, format)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    names = ["portrait.png", "one.png", "two.png"]
    for name, picture in zip(names, pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / name)
    blocked = "import sys; sys.modules['mrfa'] = None; import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    arguments = [str(folder / "example.py"), "portrait.png", "result.png", "one.png", "two.png"]
    done = subprocess.run([sys.executable, "-c", blocked, *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    animator = Animator(network)
    source = animator.encode(pictures[0])
    expected = np.concatenate(list(animator.animate(source, pictures[1:], motion="absolute")), axis=1)
    result = np.asarray(Image.open(tmp_path / "result.png"), int)
    assert np.abs(result - expected).max() <= 1  # what is 0.5 of a grey level may be rounded either way
    assert (folder / "MODEL_CARD.md").read_text() == "what it is"
    if format == "torch":  # of its weights each graph has its own alone
        assert {name.split(".")[1] for name in torch.export.load(folder / "detect.pt2").state_dict} == {"detector"}


def test_the_manifest_says_what_the_tensors_are() -> None:
    network = tiny("paper-affine-prior-only")
    manifest: dict[str, Any] = describe(network, graphs(network), "torch")
    with torch.no_grad():
        source = encoded(network.encode_source(torch.rand(1, 3, 64, 64)))
    animate = manifest["graphs"]["animate"]
    given = {name: shape for name, shape in animate["inputs"].items() if name in source}
    assert given == {name: list(value.shape) for name, value in source.items()}
    assert animate["inputs"]["driving_positions"] == ["batch", 4, 2] and animate["outputs"]["image"] == ["batch", 3, 64, 64]
    assert list(manifest["graphs"]["encode"]["outputs"]) == list(source)


def test_elimination_solves_as_lapack_does() -> None:
    torch.manual_seed(0)
    system, values = torch.randn(20, 3, 8, 8, dtype=torch.float64), torch.randn(20, 3, 8, 2, dtype=torch.float64)
    system[0, 0, 0, 0] = 0  # only with pivots
    assert torch.allclose(eliminate(system, values), torch.linalg.solve(system, values), rtol=1e-8, atol=1e-8)


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tiny("paper-affine-prior-only"), tmp_path / "model", "card")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    monkeypatch.setattr("mrfa.extras.find_spec", lambda module: None)
    for arguments, message in {
        ("new", "--format", "tflite"): "there is no format 'tflite'",
        ("new", "--format", "onnx"): "pip install 'mrfa[onnx]'",
        ("full", "--format", "torch"): "full: it exists already",
        ("absent/new", "--format", "torch"): "absent",
    }.items():
        assert message in fails(monkeypatch, capsys, "export", tmp_path / "model", tmp_path / arguments[0], *arguments[1:])
    assert {path.name for path in tmp_path.iterdir()} == {"model", "full"}
