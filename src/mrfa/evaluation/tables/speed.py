"""Frames per second of a model, for Table 6."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mrfa.network.keypoints import Keypoints
from mrfa.weights import load_model

WARM_UP = 3
FRAMES = 15


class Speed(NamedTuple):
    """Frames per second, the driving side alone: detection, motion and generation of one frame at a time.

    Attributes:
        frames_per_second: by the median time of a frame.
        device: and its threads, in words.
    """

    frames_per_second: float
    device: str


@torch.inference_mode()
def measure_speed(model: str | Path, *, device: str = "cpu", frames: int = FRAMES) -> Speed:
    """Time a model on random pictures, after a warm-up; what depends on the portrait alone is computed once."""
    network = load_model(model, device)
    size = network.config.image_size
    torch.manual_seed(0)
    portrait, driving = (torch.rand(1, 3, size, size, device=device) for _ in range(2))
    source = network.encode_source(portrait)
    times = []
    for _ in range(WARM_UP + frames):
        start = time.perf_counter()
        keypoints: Keypoints = network.detect(driving)
        network.animate(source, keypoints)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return Speed(1 / float(np.median(times[WARM_UP:])), _name(device))


def _name(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device}, {torch.get_num_threads()} threads"
