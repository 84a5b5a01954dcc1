"""How much memory a way takes, in a process of its own."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

MEGABYTE = 2**20


class Memory(NamedTuple):
    """The most that one video took, in MB.

    Attributes:
        host: beyond torch itself; None where the system does not tell.
        device: of a GPU's memory, None on a CPU.
    """

    host: float | None
    device: float | None


def peak_memory(model: str, mode: str, device: str | None, batch_size: int | None, portrait: Path, driver: Path) -> Memory:
    """What it takes to load a model and to animate from files to a file."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_measured, model, mode, device, batch_size, portrait, driver).result()


def _measured(model: str, mode: str, device: str | None, batch_size: int | None, portrait: Path, driver: Path) -> Memory:
    import torch

    torch.mm(torch.ones(8, 8), torch.ones(8, 8))
    before = _resident("VmRSS")

    from mrfa.bench.ways import load_network, make_way

    network = load_network(model, device)
    make_way(network, mode, batch_size).animate_file(portrait, driver, driver.with_name("memory.mp4"))
    peak, place = _resident("VmHWM"), next(network.parameters()).device
    on_device = torch.cuda.max_memory_reserved(place) / MEGABYTE if place.type == "cuda" else None
    return Memory(None if before is None or peak is None else peak - before, on_device)


def _resident(name: str) -> float | None:
    """Memory of this process, now (`VmRSS`) or at most (`VmHWM`), in MB, where the system is Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)
