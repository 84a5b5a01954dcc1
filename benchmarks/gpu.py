"""`python -m benchmarks.gpu OUTPUT.json SECONDS`: how fast the networks are on a CUDA device, and what limits them.

Against the straightforward way, the network in eager float32 with both pictures of every frame. Needs torch, pydantic and PyYAML
alone; all takes some four minutes on an H100. What is measured is written after every network: a run that is cut off has it.
"""

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mrfa.animation.engine import TorchEngine
from mrfa.network.inference import for_inference
from mrfa.network.model import Network, Source
from mrfa.training.config import load_config

NETWORKS = ("paper-transformer", "small", "table6-iterations-3", "paper-affine", "paper-thin-plate")
COMPILED = ("paper-transformer", "small")
BATCHES = (1, 4, 16, 32)
ROUNDS = 3
# Seconds for a network, without and with compiling: not begun with less left.
LEAST = (15, 60)
PARTS = {
    "detector": "detector",
    "dense_motion": "coarse motion",
    "structure": "structure encoder",
    "refinement": "refinement",
    "decoder": "generator",
}


def main(output: Path, seconds: float) -> None:
    """Measure the networks as long as there is time, those that are compiled last."""
    end = time.monotonic() + seconds
    torch.backends.cudnn.allow_tf32 = False
    properties = torch.cuda.get_device_properties(0)
    found: dict[str, object] = {"device": properties.name, "torch": torch.__version__, "peaks": peaks()}
    print(found, flush=True)
    for compile in (False, True):
        for name in COMPILED if compile else NETWORKS:
            if time.monotonic() < end - LEAST[compile]:
                try:
                    found[name + " compiled" * compile] = measured(name, compile=compile)
                except RuntimeError as error:  # the others are worth having
                    found[name + " compiled" * compile] = str(error)
                    print(name, error, flush=True)
                output.write_text(json.dumps(found, indent=1))


def measured(name: str, *, compile: bool) -> dict[str, object]:
    """Of one network with random weights: images a second by mode and batch size, differences to the straightforward way."""
    torch.manual_seed(0)
    network = Network(load_config(name).network).eval().cuda()
    source, driving = torch.rand(1, 3, 256, 256).cuda(), torch.rand(max(BATCHES), 3, 256, 256).cuda()
    result: dict[str, object] = {}
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            expected = network.animate(network.encode_source(source), network.detect(driving[:1])).image
        result["GFLOP a frame"] = counter.get_total_flops() / 1e9
        speeds: dict[str, dict[int, float]] = {}
        if not compile:
            for batch in (1, 16):
                took = timed(partial(network, source.expand(batch, -1, -1, -1), driving[:batch]))
                speeds.setdefault("straightforward fp32", {})[batch] = batch / took
        for mode, engine in engines(network, compile=compile):
            draw = partial(drawn, engine, engine.encode(source))
            # A graph is recorded at the second call and replayed at the third.
            image = [draw(driving[:1]) for _ in range(3)][-1]
            result[f"mean difference, {mode}"] = float((image - expected).abs().mean())
            speeds[mode] = {batch: batch / timed(partial(draw, driving[:batch])) for batch in ((1, 16) if compile else BATCHES)}
            print(name, mode, {batch: round(speed, 1) for batch, speed in speeds[mode].items()}, flush=True)
            del engine, draw
        result["images a second"] = speeds
        if not compile:
            result["parts, bf16, batch 16"] = parts(network, source, driving[:16])
    print(name, json.dumps(result), flush=True)
    return result


def engines(network: Network, *, compile: bool) -> Iterator[tuple[str, TorchEngine]]:
    """The modes, one at a time."""
    if compile:
        yield "bf16 compiled, graphs", TorchEngine(network, torch.bfloat16, compile=True)
        return
    yield "fp32, graphs", TorchEngine(network, torch.float32)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield "tf32, graphs", TorchEngine(network, torch.float32)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield "bf16", TorchEngine(network, torch.bfloat16, graphs=False)
    yield "bf16, graphs", TorchEngine(network, torch.bfloat16)


def drawn(engine: TorchEngine, source: Source, frames: Tensor) -> Tensor:
    """A portrait as frames show it."""
    return engine.animate(source, engine.detect(frames)).image


def timed(function: Callable[[], object], calls: int = 2) -> float:
    """Seconds of a call, the median of rounds of some calls."""
    took = []
    for number in range(ROUNDS + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(calls):
            function()
        torch.cuda.synchronize()
        if number:
            took.append((time.perf_counter() - begin) / calls)
    return statistics.median(took)


def peaks() -> dict[str, float]:
    """What the device reaches at best: TFLOP/s of matrix products, GB/s of copies."""
    found = {}
    for label, dtype, tf32 in (("fp32", torch.float32, False), ("tf32", torch.float32, True), ("bf16", torch.bfloat16, False)):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        matrix = torch.rand(8192, 8192, device="cuda", dtype=dtype)
        found[f"{label} TFLOP/s"] = 2 * 8192**3 / timed(partial(torch.mm, matrix, matrix)) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    large = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    found["GB/s"] = 2 * 2**30 / timed(large.clone) / 1e9
    return found


def parts(network: Network, source: Tensor, driving: Tensor) -> dict[str, dict[str, float]]:
    """Of each part of a bf16 network, run eagerly: milliseconds a frame, TFLOP/s, and GB/s of what its steps read and write."""
    fast = for_inference(network, torch.bfloat16)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        encoded = fast.encode_source(source)

        def run() -> None:
            fast.animate(encoded, fast.detect(driving))

        run()
        with FlopCounterMode(display=False) as counter:
            run()
        with watched(fast) as work, Counter(work):
            run()
        with watched(fast) as clock:
            for _ in range(3):
                run()
            torch.cuda.synchronize()
    result, flops = {}, counter.get_flop_counts()
    for name, part in modules(fast):
        if clock.events[name]:
            # The median of three runs of all the calls of a part.
            calls = len(clock.events[name]) // 3
            times = [first.elapsed_time(last) for first, last in clock.events[name]]
            took = statistics.median(sum(times[number * calls : (number + 1) * calls]) for number in range(3))
            result[PARTS[name]] = {
                "ms a frame": took / len(driving),
                "TFLOP/s": sum(flops[type(part).__name__].values()) / took / 1e9,
                "GB/s": work.moved[name] / took / 1e6,
            }
    return result


class Work:
    """What a network's parts do: which one is at work, and of each its bytes and its times."""

    def __init__(self) -> None:
        self.current = ""
        self.moved: dict[str, float] = defaultdict(float)
        self.events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = defaultdict(list)


class Counter(TorchDispatchMode):
    """Counts bytes for the part that is at work."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work

    def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
        out = function(*arguments, **(named or {}))
        if self.work.current and not function.is_view:
            self.work.moved[self.work.current] += sum(size(leaf) for leaf in tree_leaves((arguments, named, out)))
        return out


def size(leaf: object) -> int:
    """Bytes of a tensor, of those of its values that lie in memory once."""
    if not isinstance(leaf, Tensor):
        return 0
    own = [side for side, step in zip(leaf.shape, leaf.stride(), strict=True) if step]
    return int(torch.Size(own).numel()) * leaf.element_size()


@contextmanager
def watched(network: Network) -> Iterator[Work]:
    """Watch the parts of a network."""
    work, handles = Work(), []
    for name, part in modules(network):

        def before(module: nn.Module, inputs: object, name: str = name) -> None:
            work.current = name
            work.events[name].append((event(), event()))
            work.events[name][-1][0].record()

        def after(module: nn.Module, inputs: object, output: object, name: str = name) -> None:
            work.current = ""
            work.events[name][-1][1].record()

        handles += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]
    try:
        yield work
    finally:
        for handle in handles:
            handle.remove()


def modules(network: Network) -> Iterable[tuple[str, nn.Module]]:
    """The parts that a network has."""
    for name in PARTS:
        part = getattr(network, name)
        if part is not None:
            yield name, part.driving if name == "structure" else part


def event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
