"""Other runtimes draw what torch draws."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_preset
from test_cli_animate import fails

import mrfa.export
from mrfa.animation.animator import Animator
from mrfa.errors import InputError
from mrfa.network.model import Network, Output

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxscript"), "openvino": ("openvino",)}
# Of 1; a grey level is 0.004.
TOLERANCE = 1e-4


def network() -> Network:
    torch.manual_seed(0)
    return Network(tiny_preset("small", network__refinement__iterations=3).network).eval()


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(count)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRFA_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module", params=PACKAGES)
def backend(request: pytest.FixtureRequest, cache: Path) -> str:
    if any(find_spec(package) is None for package in PACKAGES[request.param]):
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def animators(backend: str) -> tuple[Animator, Animator]:
    """One of torch, and one of another runtime."""
    return Animator(network()), Animator(network(), backend=backend)


def close(output: Output, expected: Output) -> bool:
    pairs = [(output.image, expected.image), (output.coarse.flow, expected.coarse.flow)]
    pairs += list(zip(output.motion.flows, expected.motion.flows, strict=True))
    pairs += [(output.source_keypoints.positions, expected.source_keypoints.positions)]
    return all(one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=TOLERANCE) for one, other in pairs)


def test_frames_are_those_of_torch(animators: tuple[Animator, Animator]) -> None:
    torchs, others = (list(animator.animate(animator.encode(pictures(1)[0]), pictures(5, 1))) for animator in animators)
    assert len(others) == 5 and all(np.abs(a - b.astype(int)).max() <= 1 for a, b in zip(torchs, others, strict=True))


def test_steps_are_those_of_torch(animators: tuple[Animator, Animator]) -> None:
    def steps(animator: Animator) -> list[Output]:
        one, two = animator.encode(pictures(1)[0]), animator.encode(pictures(2, 2))
        driving = pictures(3, 1)
        return [
            animator.step(two, driving),
            animator.draw(two, animator.detect(driving[:2])),
            animator.step(one, driving, same_video=True),
            animator.step(one, driving, coarse_only=True),
        ]

    for output, expected in zip(*map(steps, animators), strict=True):
        assert close(output, expected)


def test_threads_may_share_one(animators: tuple[Animator, Animator]) -> None:
    _, animator = animators
    source, frames = animator.encode(pictures(1)[0]), pictures(8, 1)

    def drawn(frame: np.ndarray) -> torch.Tensor:
        return animator.step(source, frame).image

    with ThreadPoolExecutor(4) as pool:
        assert all(map(torch.equal, pool.map(drawn, frames), map(drawn, frames)))


def test_graphs_are_made_once(animators: tuple[Animator, Animator], backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(*arguments: object) -> None:
        raise AssertionError

    monkeypatch.setattr(mrfa.export, "export_network", again)
    Animator(network(), backend=backend)
    other = network()
    next(other.parameters()).data.add_(1)
    with pytest.raises(AssertionError):
        Animator(other, backend=backend)


def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / name for name in ("portrait.png", "driving.mp4", "-o", "out.mp4")]
    arguments = [file.name if file.name == "-o" else file for file in files]
    monkeypatch.setattr("mrfa.extras.find_spec", lambda module: None)
    for options, message in {
        ("--backend", "tensorflow"): "there is no backend 'tensorflow': choose from torch, onnxruntime, openvino",
        ("--backend", "openvino"): "pip install 'mrfa[openvino]'",
        ("--backend", "onnxruntime"): "pip install 'mrfa[onnx]'",
        ("--backend", "onnxruntime", "--precision", "bf16"): "does not compute in bf16: choose from fp32",
    }.items():
        assert message in fails(monkeypatch, capsys, "animate", *arguments, *options)
    with pytest.raises(InputError, match="leave compile out"):
        Animator(network(), backend="openvino", compile=True)
    assert not list(tmp_path.iterdir())
