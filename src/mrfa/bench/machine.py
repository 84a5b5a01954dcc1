"""What the figures of a benchmark belong to: processor, device, versions; and the most that they could be."""

import os
import platform
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch

# What a processor is asked for, by Linux's names: what convolutions gain from.
INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
    "sve",
)
# Whose versions are told, of those that are installed.
PACKAGES = ("mrfa", "torch", "numpy", "opencv-python-headless", "av", "onnxruntime", "openvino")
# Side of the matrices multiplied, and how often.
SIDE = {"cpu": 1536, "cuda": 8192, "mps": 4096}
PRODUCTS = 5


class Machine(NamedTuple):
    """Where something was measured.

    Attributes:
        processor: its name.
        instructions: which of `INSTRUCTIONS` it has, where the system says so; else what torch uses.
        cores: that this process may use.
        threads: of torch.
        device: the name of the GPU, or `cpu`.
        versions: by package.
    """

    processor: str
    instructions: list[str]
    cores: int
    threads: int
    device: str
    versions: dict[str, str]


def describe(device: torch.device) -> Machine:
    """This machine, and a device of it."""
    facts = _processor_facts()
    flags = set(facts.get("flags", facts.get("Features", "")).split())
    known = [name for name in INSTRUCTIONS if name in flags] or [torch.backends.cpu.get_cpu_capability()]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    processor = facts.get("model name") or platform.processor() or platform.machine()
    return Machine(processor, known, cores, torch.get_num_threads(), name, versions)


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second, two for each multiplication with its sum, of products of large matrices: the best of some."""
    side = SIDE[device.type]
    matrix = torch.rand(side, side, device=device).to(dtype)
    clock, best = Stopwatch(device), float("inf")
    for _ in range(PRODUCTS):
        torch.mm(matrix, matrix)
        best = min(best, clock.lap())
    return 2 * side**3 / best


class Stopwatch:
    """Measures how long work takes, on a GPU until it is done."""

    def __init__(self, device: torch.device = torch.device("cpu")) -> None:  # noqa: B008 -- it does not change
        self._device, self._begun = device, 0.0
        self.lap()

    def lap(self) -> float:
        """Seconds since the lap before, or since the beginning."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()
        now = time.perf_counter()
        took, self._begun = now - self._begun, now
        return took


def _processor_facts() -> dict[str, str]:
    """What Linux says of the first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
