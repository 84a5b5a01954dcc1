"""Tiny networks of every kind with made-up weights, and what they compute: the values that `test_expected_values.py` expects.

`python tests/expected_values.py`, in the checkout's folder, writes these values anew. Do so only where a change of values is
wanted, and with code that passes `test_official_equality.py`, which compares with the authors' own values.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from mrfa.network.config import NetworkConfig
from mrfa.network.model import Network, Output

FILE = Path(__file__).with_suffix(".safetensors")
# Not square, so that x and y cannot be taken for one another.
HEIGHT, WIDTH = 64, 96
COORDINATES = ("half_pixel", "corner_aligned", "official")
TINY: dict[str, Any] = {
    "image_size": 64,
    "coarse": {"width": 4, "max_width": 16, "blocks": 2},
    "correlation": {"width": 4, "max_width": 16, "blocks": 2, "channels": 8, "embedding_size": 8, "radius": 2},
    "refinement": {
        "iterations": 5,
        "correlation_widths": [8, 8],
        "flow_widths": [4, 4],
        "motion_width": 6,
        "context_width": 8,
        "warped_width": 8,
        "head_width": 8,
    },
    "generator": {"widths": [4, 6, 8, 8, 8, 8]},
}
AFFINE: dict[str, Any] = {"kind": "affine", "keypoints": 4, "image_divisor": 2, "width": 4, "max_width": 16, "blocks": 2}
KINDS: dict[str, dict[str, Any]] = {
    "affine": {"detector": AFFINE},
    "thin_plate": {"detector": {"kind": "thin_plate", "groups": 3, "points": 4, "width": 16}},
    "transformer": {
        "detector": {
            "kind": "transformer",
            "keypoints": 4,
            "width": 16,
            "layers": 2,
            "heads": 4,
            "hidden": 24,
            "patch": 2,
            "trunk_widths": [4, 8, 16],
            "trunk_stem_width": 4,
        }
    },
    "non_prior": {"detector": AFFINE, "motion": "non_prior"},
    "prior_only": {"detector": AFFINE, "motion": "prior_only"},
    # The bundled model's departures from the paper.
    "bundled": {
        "detector": {**AFFINE, "image_divisor": 1, "stem_widths": [4], "residual_levels": 2, "head_padding": 3, "pose_width": 8},
        "background": "aligned",
        "generator": {**TINY["generator"], "image_blend": "predicted"},
    },
}
CASES = [
    f"{kind}/{coordinates}" for kind in KINDS for coordinates in COORDINATES if (kind, coordinates) != ("bundled", "official")
]
# A driver's background that moved, for the priors that know of it.
BACKGROUND = torch.tensor([[0.95, 0.06, 0.1], [-0.04, 1.05, -0.08], [0.0, 0.0, 1.0]])
SAMPLES = 16
# Affine maps stay far from singular, and correlation tells places apart.
GAINS = {"affine_head": 0.3, "pose_head.6": 0.1, "structure.source.head": 4.0, "structure.driving.head": 4.0}


def compute(case: str) -> dict[str, Tensor]:
    """What one network computes from a batch of two pairs: of each output the mean, the deviation and some of its values."""
    kind, coordinates = case.split("/")
    network = Network(NetworkConfig.model_validate({**TINY, "coordinates": coordinates, **KINDS[kind]})).eval()
    network.load_state_dict({name: _filled(name, value) for name, value in network.state_dict().items()})
    source, driving = (torch.stack([_picture(2 * pair + side) for pair in range(2)]) for side in range(2))
    with torch.no_grad():
        if kind in ("non_prior", "bundled"):
            output = network(source, driving)
        else:
            output = network.animate(
                network.encode_source(source), network.detect(driving), background=BACKGROUND.expand(2, 3, 3)
            )
    return {f"{case}/{name}": _summary(name, value) for name, value in _tensors(output)}


def _tensors(output: Output) -> Iterator[tuple[str, Tensor]]:
    for side, keypoints in (("source", output.source_keypoints), ("driving", output.driving_keypoints)):
        yield f"{side}_positions", keypoints.positions
        if keypoints.affine is not None:
            yield f"{side}_affine", keypoints.affine
    if output.background is not None:
        yield "background", output.background
    yield "coarse_flow", output.coarse.flow
    yield "coarse_occlusion", output.coarse.occlusion
    if output.coarse.mask is not None:
        yield "mask", output.coarse.mask
    for level, (flow, occlusion) in enumerate(zip(output.motion.flows, output.motion.occlusions, strict=True), start=1):
        yield f"flow_{level}", flow
        yield f"occlusion_{level}", occlusion
    yield "picture_flow", output.motion.picture_flow
    yield "image", output.image


def _summary(name: str, value: Tensor) -> Tensor:
    chosen = _random(name).choice(value.numel(), min(SAMPLES, value.numel()), replace=False)
    return torch.cat([value.mean()[None], value.std()[None], value.flatten()[torch.from_numpy(chosen)]])


def _random(name: str) -> np.random.RandomState:
    """Numbers that depend on a name alone; NumPy promises never to change this old generator's."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def _filled(name: str, value: Tensor) -> Tensor:
    """Made-up weights that keep values and motion of the usual size."""
    noise = torch.from_numpy(_random(name).standard_normal(value.shape)).to(value.dtype)
    if name.endswith("running_var"):
        return 1 + 0.2 * noise.clamp(-2, 2)
    if name.endswith("num_batches_tracked"):
        return value
    if value.dim() == 1:
        start = torch.eye(2).flatten() if "affine_head" in name and name.endswith("bias") and len(value) == 4 else 0.0
        return (1.0 if name.endswith("weight") else start) + 0.1 * noise
    gain = next((gain for part, gain in GAINS.items() if part in name), 1.0)
    return noise * gain * (1.5 / value[0].numel()) ** 0.5


def _picture(number: int) -> Tensor:
    """A smooth picture `[3, HEIGHT, WIDTH]` in [0, 1]."""
    random = _random(f"picture {number}")
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    waves = np.zeros((3, HEIGHT, WIDTH))
    for _ in range(6):
        frequency, phase = random.uniform(-12, 12, 2), random.uniform(0, 6.3, (3, 1, 1))
        waves += np.sin(frequency[0] * x + frequency[1] * y + phase)
    return torch.from_numpy(0.5 + 0.08 * waves).float().clamp(0, 1)


if __name__ == "__main__":
    values = {name: value for case in CASES for name, value in compute(case).items()}
    save_file(values, FILE)
    print(f"{FILE}: {len(values)} values of {len(CASES)} networks, {FILE.stat().st_size} bytes")
