"""Fixtures: a tiny network, and the real faces where they lie beside the checkout."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from mrfa.data.guidance import GROUPS
from mrfa.data.images import write_image
from mrfa.efficientnet import BLOCKS
from mrfa.network.model import Network
from mrfa.training.config import Config, load_config
from mrfa.training.pairs import PairBatch
from mrfa.training.stills import HEAD_POINTS

SHARED = Path(__file__).resolve().parents[2] / "shared"

TINY = {
    "network.image_size": 64,
    "network.detector.keypoints": 28,
    "network.detector.stem_widths": [4],
    "network.detector.width": 4,
    "network.detector.max_width": 16,
    "network.detector.blocks": 3,
    "network.coarse.width": 4,
    "network.coarse.max_width": 16,
    "network.coarse.blocks": 3,
    "network.correlation.width": 4,
    "network.correlation.max_width": 16,
    "network.correlation.blocks": 2,
    "network.correlation.channels": 8,
    "network.refinement.correlation_widths": [8, 8],
    "network.refinement.flow_widths": [4, 4],
    "network.refinement.motion_width": 8,
    "network.refinement.context_width": 8,
    "network.refinement.warped_width": 8,
    "network.refinement.head_width": 8,
    "network.generator.widths": [4, 8, 8, 8, 8, 8],
    "training.image_size": 64,
    "training.batch_size": 2,
    "training.precision": "32-true",
}


TINY_DETECTORS: dict[str, dict[str, object]] = {
    "affine": {"kind": "affine", "keypoints": 4, "width": 4, "max_width": 16, "blocks": 3},
    "thin_plate": {"kind": "thin_plate", "groups": 3, "points": 4, "width": 16},
    "transformer": {
        "kind": "transformer",
        "keypoints": 4,
        "width": 16,
        "layers": 2,
        "hidden": 24,
        "patch": 2,
        "trunk_widths": [4, 8, 16],
        "trunk_stem_width": 4,
    },
}


def tiny_preset(name: str, **settings: object) -> Config:
    """A preset's structure and settings at 64x64 with a few channels; settings as `training__steps=2`.

    With a detail level it is 128x128.
    """
    network = load_config(name).network
    preset, side = network.detector, TINY["network.image_size"] * network.reduction
    detector = TINY_DETECTORS[preset.kind]
    if preset.kind == "affine" and preset.layout == "landmarks":
        detector = detector | {"keypoints": TINY["network.detector.keypoints"], "layout": "landmarks"}
    shrunk = {key: value for key, value in TINY.items() if ".detector." not in key}
    changes = {key.replace("__", "."): value for key, value in settings.items()}
    sizes = {"network.correlation.embedding_size": 16, "network.image_size": side, "training.image_size": side}
    return load_config(name, {**shrunk, **sizes, "network.detector": detector, **changes})


def pair_batch(pictures: tuple[Tensor, Tensor], groups: tuple[Tensor, Tensor]) -> PairBatch:
    """Pairs of frames of clips, all with a face: source and driving pictures uint8 `[B, 3, H, W]`, and groups `[B, G, 2]`."""
    count = len(pictures[0])
    return {
        "source": pictures[0],
        "driving": pictures[1],
        "source_groups": groups[0],
        "driving_groups": groups[1],
        "found": torch.ones(count, dtype=torch.bool),
        "still": torch.zeros(count, dtype=torch.bool),
        "heads": torch.zeros(count, HEAD_POINTS, 3),
        "source_person": torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
        "driving_person": torch.zeros(count, 1, 1, 1, dtype=torch.uint8),
    }


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _alike_on_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is fp32."""
    monkeypatch.setattr("mrfa.devices._cpu_has", lambda *questions: False)


@pytest.fixture(scope="session")
def tiny_config() -> Config:
    """The bundled preset's structure at 64x64 with a few channels."""
    return load_config("small", TINY)


@pytest.fixture
def tiny_network(tiny_config: Config) -> Network:
    """A randomly initialised tiny network in evaluation mode, whose keypoints have no meaning, and so are said to have none."""
    torch.manual_seed(0)
    detector = tiny_config.network.detector.model_copy(update={"layout": "free"})
    return Network(tiny_config.network.model_copy(update={"detector": detector})).eval()


@pytest.fixture(scope="session")
def faces() -> Path:
    """Folder of real face clips and portraits."""
    folder = SHARED / "faces"
    if not folder.is_dir():
        pytest.skip("the real face clips do not lie beside this checkout")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two short clips of two identities: a bright square that moves over a pattern."""
    folder = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("anna_0", "ben_0")):
        write_clip(folder / f"{name}.mp4", frames=6, shade=60 + 80 * number)
    return folder


def write_clip(path: Path, *, frames: int, shade: int, side: int = 64) -> None:
    """A small H.264 clip."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            image = np.full((side, side, 3), shade, np.uint8)
            image[::4, :, 1] += 40
            image[10:30, 5 + 4 * index : 25 + 4 * index] = (200, 180, 160)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Three pictures of two people."""
    folder = tmp_path / "stills"
    folder.mkdir()
    for number, name in enumerate(("anna_s0", "anna_s1", "ben_s0")):
        picture = np.random.default_rng(number).integers(0, 255, (64, 80, 3)).astype(np.uint8)
        write_image(folder / f"{name}.png", picture)
    return folder


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Three clips of two people."""
    folder = tmp_path / "people"
    folder.mkdir()
    for number, name in enumerate(("anna_0", "anna_1", "ben_0")):
        write_clip(folder / f"{name}.mp4", frames=4 + number, shade=60 + 50 * number)
    return folder


def packed_file(path: Path, videos: dict[str, Path], *, frames: int = 6, **metadata: str) -> Path:
    """A packed file as `pack_clips` writes it, without the search for landmarks."""
    tensors = {}
    for name, video in videos.items():
        tensors[f"video/{name}"] = np.frombuffer(video.read_bytes(), np.uint8)
        tensors[f"groups/{name}"] = np.full((frames, GROUPS, 2), 0.25, np.float16)
        tensors[f"found/{name}"] = np.ones(frames, bool)
    identities = json.dumps({name: name.rpartition("_")[0] for name in videos})
    save_file(tensors, path, metadata={"format": "2", "size": "64", "identities": identities} | metadata)
    return path


def _norm(name: str, width: int) -> dict[str, Tensor]:
    shifts = {key: torch.randn(width) * 0.2 for key in ("bias", "running_mean")}
    scales = {key: torch.rand(width) + 0.5 for key in ("weight", "running_var")}
    return {f"{name}.{key}": value for key, value in (shifts | scales).items()}


@pytest.fixture(scope="session")
def efficientnet_weights() -> dict[str, Tensor]:
    """Random weights of the names and shapes of EfficientNet-lite0's package."""
    torch.manual_seed(0)
    state = {"_conv_stem.weight": torch.randn(32, 3, 3, 3) * 0.2} | _norm("_bn0", 32)
    for number, block in enumerate(BLOCKS):
        name, inner = f"_blocks.{number}.", block.width * block.widening
        if block.widening > 1:
            state[f"{name}_expand_conv.weight"] = torch.randn(inner, block.width, 1, 1) * block.width**-0.5
            state |= _norm(f"{name}_bn0", inner)
        state[f"{name}_depthwise_conv.weight"] = torch.randn(inner, 1, block.kernel, block.kernel) / block.kernel
        state[f"{name}_project_conv.weight"] = torch.randn(block.out, inner, 1, 1) * inner**-0.5
        state |= _norm(f"{name}_bn1", inner) | _norm(f"{name}_bn2", block.out)
    return state


@pytest.fixture(scope="session")
def efficientnet_file(efficientnet_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("efficientnet") / "lite0.pth"
    torch.save(efficientnet_weights, path)
    return path
