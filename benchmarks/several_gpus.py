"""`python -m benchmarks.several_gpus scaling|equality|resumption ... OUTPUT.json`: training on all GPUs of this machine.

Where there is no GPU, two processes on the CPU stand for them.
"""

import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from benchmarks.training_step import FASTEST, MODES, Bench, Measured, Mode, device_name, in_turn, random_pairs, table
from mrfa.config import parse_overrides
from mrfa.network.model import Network
from mrfa.processes import ALONE, Processes, launch
from mrfa.training import run as run_file
from mrfa.training.config import load_config
from mrfa.training.losses.equivariance import RandomTransform
from mrfa.training.pairs import PairBatch, PairDraw
from mrfa.training.run import train

app = typer.Typer(add_completion=False)
Preset = Annotated[str, typer.Argument(help="name of a training preset")]
Output = Annotated[Path, typer.Argument(help="JSON file to write")]
Overrides = Annotated[list[str], typer.Option("--set", help="KEY=VALUE, overrides of the preset")]

# Nothing that differs from process to process but the pairs.
PLAIN = {"horizontal_flip": False, "time_flip": False, "colour_jitter": 0.0}
FLOAT32 = Mode({}, tf32=False)
FAULTS = {"killed": signal.SIGKILL, "told to end": signal.SIGTERM}


def count_devices() -> int:
    return torch.cuda.device_count() if torch.cuda.is_available() else 2


def own_device() -> torch.device:
    """That of this process."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


@app.command()
def scaling(
    preset: Preset,
    output: Output,
    batch: Annotated[list[int], typer.Option(help="pairs a step on each GPU")] = [20],  # noqa: B006
    mode: Annotated[list[str], typer.Option(help="ways, as of benchmarks.training_step")] = [FASTEST],  # noqa: B006
    rounds: int = 3,
    steps: int = 4,
    override: Overrides = [],  # noqa: B006
) -> None:
    """How many times as fast all GPUs together are as one of them with the same number of pairs on each."""
    arguments = (preset, output, batch, mode, rounds, steps, parse_overrides(override))
    launch(count_devices(), partial(_scaling, *arguments))


def _scaling(
    preset: str, output: Path, batches: list[int], modes: list[str], rounds: int, steps: int, settings: dict[str, Any]
) -> None:
    processes = Processes.join()
    bench = Bench(preset, settings, own_device())
    found: dict[str, Any] = {"preset": preset, "device": device_name(bench.device), "GPUs": processes.count, "batches": {}}
    enough = run_file.ENOUGH
    for batch in batches:
        for mode in modes:

            def measure(way: str, batch: int = batch, mode: str = mode) -> Measured | str:
                processes.wait()
                if way == "one":
                    return bench.measure(MODES[mode], batch, steps) if processes.rank == 0 else Measured(1.0, 0.0)
                run_file.ENOUGH = 0 if way == "all, norms of their own" else enough
                return bench.measure(MODES[mode], batch * processes.count, steps, processes)

            def keep(results: dict[str, dict[str, Any]], batch: int = batch, mode: str = mode) -> None:
                if processes.rank == 0:
                    found["batches"][f"{batch} on each, {mode}"] = results
                    output.write_text(json.dumps(found, indent=1))

            ways = ["one", "all", *(["all, norms of their own"] if batch < enough else [])]
            results = in_turn(ways, rounds, measure, keep)
            if processes.rank == 0:
                print(f"{preset}, {batch} pairs on each GPU, {mode}\n{table(results, 'one')}", flush=True)


@app.command()
def equality(
    preset: Preset,
    output: Output,
    steps: int = 50,
    batch: Annotated[int, typer.Option(help="pairs a step, of all GPUs together")] = 4,
    override: Overrides = [],  # noqa: B006
) -> None:
    """How far the training of the same pairs on all GPUs and on one of them are from each other, in float32.

    Sums in another order change the last bits, and training amplifies them. So beside it stands how far one GPU is from itself
    with the pairs of each batch in another order.
    """
    with tempfile.TemporaryDirectory() as folder:
        launch(count_devices(), partial(follow_both, Path(folder), preset, steps, batch, parse_overrides(override)))
        found = {"preset": preset, "pairs a step": batch, **differences(Path(folder))}
    output.write_text(json.dumps(found, indent=1))
    print(json.dumps(found), flush=True)


def differences(folder: Path) -> dict[str, Any]:
    """Of the runs that `follow_both` left in a folder."""
    alone, reordered, *together = (torch.load(path, weights_only=True) for path in sorted(folder.iterdir()))
    losses = torch.stack([run["losses"] for run in together]).mean(0)
    first, last = together[0]["weights"], together[-1]["weights"]
    return {
        "GPUs": len(together),
        "all GPUs to one": _difference(losses, together[0], alone),
        "one GPU to itself in another order": _difference(reordered["losses"], reordered, alone),
        "first GPU's weights are the last one's": all(torch.equal(first[name], last[name]) for name in first),
    }


def follow_both(folder: Path, preset: str, steps: int, batch: int, settings: dict[str, Any]) -> None:
    """In each process: its share of the pairs together with the others, then, in the first two, all of them alone."""
    processes = Processes.join()
    count, rank = processes.count, processes.rank
    bench = Bench(preset, {f"training.augmentation.{key}": value for key, value in PLAIN.items()} | settings, own_device())
    torch.save(_follow(bench, batch, list(range(rank, batch, count)), processes, steps), folder / f"together-{rank}")
    if rank < 2:
        order = sorted(range(batch), key=lambda number: (number % count, number)) if rank else list(range(batch))
        torch.save(_follow(bench, batch, order, ALONE, steps), folder / f"alone-{rank}")


def _follow(bench: Bench, batch: int, numbers: list[int], processes: Processes, steps: int) -> dict[str, Any]:
    """Losses of the steps and the weights after them; of each batch of pairs this process has those of these numbers."""
    draw = RandomTransform.draw

    def own_part(count: int, *arguments: Any) -> RandomTransform:
        """Of the transforms of all pairs, which each process draws alike."""
        torch.manual_seed(batch)
        every = draw(batch, *arguments)
        return every._replace(theta=every.theta[numbers], weights=every.weights[numbers])

    RandomTransform.draw = own_part  # type: ignore[method-assign, assignment]
    try:
        trainee = bench.trainee(FLOAT32, batch, processes)
        network = trainee.module.network
        start, losses, gradients = _copied(network.named_parameters()), [], {}
        for step in range(steps):
            losses.append(trainee.step(_smooth_pairs(bench, step * batch, numbers)).cpu())
            if step == 0:
                learned = ((name, value.grad) for name, value in network.named_parameters() if value.grad is not None)
                gradients = _copied(learned)
    finally:
        RandomTransform.draw = draw  # type: ignore[method-assign]
    weights = _copied(network.named_parameters())
    return {"losses": torch.stack(losses), "gradients": gradients, "weights": weights, "start": start}


def _smooth_pairs(bench: Bench, first: int, numbers: list[int]) -> PairBatch:
    """Of each pair number its own smooth pictures, the driving one shifted."""
    size = bench.config.training.image_size
    batch = random_pairs(len(numbers), size, bench.device)
    for place, number in enumerate(numbers):
        drawn = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(first + number)) * 255
        picture = torch.nn.functional.interpolate(drawn, size=(size, size), mode="bilinear").byte()[0]
        batch["source"][place], batch["driving"][place] = picture, picture.roll((number % 5, 3), (1, 2))
    return batch


def _copied(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in tensors}


def _difference(losses: Tensor, run: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of a run, whose losses are those of all its processes, to another one."""
    relative = (losses / other["losses"] - 1).abs()
    steps = sorted({0, min(9, len(losses) - 1), len(losses) - 1})
    nothing = {name: torch.zeros_like(value) for name, value in other["gradients"].items()}
    return {
        "losses, relative": {f"step {step + 1}": float(relative[step]) for step in steps} | {"most": float(relative.max())},
        "gradients of the first step, relative": way_apart(run["gradients"], other["gradients"], nothing),
        "weights, of the way that they went": way_apart(run["weights"], other["weights"], other["start"]),
    }


def way_apart(some: dict[str, Tensor], others: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """Distance of two networks' values, as a share of the distance of the second one's from a start."""
    apart = sum(float((some[name] - others[name]).double().square().sum()) for name in start)
    gone = sum(float((others[name] - start[name]).double().square().sum()) for name in start)
    return (apart / gone) ** 0.5


@app.command()
def resumption(
    preset: Preset,
    output: Output,
    data: Annotated[Path, typer.Option(help="of the training")],
    cache: Annotated[Path, typer.Option(help="for prepared clips")],
    batch: int = 4,
    override: Overrides = [],  # noqa: B006
) -> None:
    """What comes of a run whose second process is killed or told to end; how far the killed one, resumed, is from an unbroken.

    Beside it stands how far two unbroken runs are from each other, as some of a GPU's sums have no order.
    """
    settings = {"training.batch_size": batch, "training.steps": 9, "training.objective.image": "pyramid", "training.workers": 0}
    settings |= parse_overrides(override)
    multiprocessing.set_forkserver_preload(["benchmarks.several_gpus"])
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: Path(folder) / name for name in ("unbroken", "again", *FAULTS)}
        options = {"data": data, "cache": cache, "checkpoint_every": 3}
        found: dict[str, Any] = {"preset": preset, "GPUs": count_devices()}
        for name, run in runs.items():
            began = time.monotonic()
            with suppress(ChildFailedError):
                launch(count_devices(), partial(_train, preset, settings, run, FAULTS.get(name), 4 * batch), options)
            found[f"seconds, {name}"] = round(time.monotonic() - began, 1)
        for name in FAULTS:
            found[f"steps of the checkpoint, {name}"] = _checkpoint(runs[name])["global_step"]
        launch(count_devices(), partial(_train, preset, settings, runs["killed"], None, 0), options | {"resume": True})
        config = load_config(preset, settings)
        torch.manual_seed(config.training.seed)
        start = _copied(Network(config.network).named_parameters())
        weights = {name: _trained(runs[name], start) for name in ("unbroken", "again", "killed")}
    for name in ("again", "killed"):
        found[f"way apart from the unbroken run, {name}"] = way_apart(weights[name], weights["unbroken"], start)
    output.write_text(json.dumps(found, indent=1))
    print(json.dumps(found), flush=True)


def _train(
    preset: str, settings: dict[str, Any], output: Path, fault: signal.Signals | None, limit: int, options: dict[str, Any]
) -> None:
    """In each process; the second one gets a signal when it draws the pair of a number."""
    draw = PairDraw.__call__

    def drawn(self: PairDraw, index: int) -> tuple[int, list[int]]:
        if fault is not None and index >= limit and os.environ["RANK"] == "1":
            os.kill(os.getpid(), fault)
        return draw(self, index)

    PairDraw.__call__ = drawn  # type: ignore[method-assign]
    train(load_config(preset, settings), output=output, **options)


def _checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)


def _trained(run: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    state = _checkpoint(run)["state_dict"]
    return {name: state[f"network.{name}"] for name in like}


if __name__ == "__main__":
    app()
