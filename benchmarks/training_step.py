"""`python -m benchmarks.training_step PRESET OUTPUT.json`: how fast a training step is on a GPU, and what memory it takes.

The ways are measured in turn, several times over, against the straightforward step: eager, float32 without TF32, contiguous. A
step is that of `mrfa.training.module` without Lightning's loop and the loader, on random pictures; VGG-19 has random weights, as
fast as trained ones. What is measured is written at once: a run that is cut off has it.
"""

import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor
from torch.nn import SyncBatchNorm

from mrfa.backbones import feature_layers
from mrfa.config import parse_overrides
from mrfa.data.guidance import GROUPS
from mrfa.network.model import Network
from mrfa.processes import ALONE, Processes
from mrfa.training import run
from mrfa.training.config import Config, load_config
from mrfa.training.module import TrainingModule
from mrfa.training.objective import Objective
from mrfa.training.pairs import PairBatch
from mrfa.training.stills import HEAD_POINTS

WARMUP = 2
BASELINE = "fp32"
FASTEST = "bf16, channels last, graph"


class Mode(NamedTuple):
    """A way to make a training step.

    Attributes:
        settings: of the configuration, by their keys below `training`.
        tf32: convolutions and matrix products may round to TF32.
        channels_last: layout of weights and features.
    """

    settings: dict[str, Any]
    tf32: bool = True
    channels_last: bool = True


_BF16 = {"precision": "bf16-mixed"}
MODES = {
    BASELINE: Mode({}, tf32=False, channels_last=False),
    "TF32": Mode({}, channels_last=False),
    "bf16": Mode(_BF16, channels_last=False),
    "bf16, channels last": Mode(_BF16),
    FASTEST: Mode(_BF16 | {"cuda_graph": True}),
    "bf16, channels last, graph, checkpoints": Mode(_BF16 | {"cuda_graph": True, "checkpoint_activations": True}),
    "bf16, channels last, graph, compiled": Mode(_BF16 | {"cuda_graph": True, "compile": True}),
    "fp32, checkpoints": Mode({"checkpoint_activations": True}, tf32=False, channels_last=False),
}
ALWAYS = tuple(MODES)[:5]


class Trainee:
    """A network in training, without Lightning's loop.

    Args:
        config: with the mode's settings.
        network: is copied.
        objective: is copied.
        mode: how it is trained.
        processes: that train together.
    """

    def __init__(
        self, config: Config, network: Network, objective: Objective, mode: Mode, device: torch.device, processes: Processes
    ) -> None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = mode.tf32
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        network = deepcopy(network).to(memory_format=layout)  # type: ignore[call-overload]
        folder = Path(tempfile.gettempdir())
        module = TrainingModule(network, deepcopy(objective), config, total_steps=10**6, output=folder, processes=processes)
        if run.share_norms(config, processes):
            module = SyncBatchNorm.convert_sync_batchnorm(module)
        self.module = module.to(device)
        self.optimizer: torch.optim.Optimizer = self.module.configure_optimizers()["optimizer"]
        self.mixed = config.training.precision == "bf16-mixed"

    def step(self, batch: PairBatch) -> Tensor:
        """Losses, gradients, clipping and Adam, as Lightning's loop calls them; the loss, of this process's pairs."""
        module = self.module

        def closure() -> Tensor:
            with torch.autocast(module.device.type, torch.bfloat16, enabled=self.mixed):
                loss = module.training_step(batch, 0)
            module.optimizer_zero_grad(0, 0, self.optimizer)
            module.backward(loss)
            module.on_after_backward()
            module.configure_gradient_clipping(self.optimizer)
            return loss.detach()

        losses: list[Tensor] = []
        module.optimizer_step(0, 0, self.optimizer, lambda: losses.append(closure()))
        return losses[0]


class Measured(NamedTuple):
    """Pairs a second of all processes, and the most memory that tensors of this process took, in GB."""

    pairs_a_second: float
    gigabytes: float


class Bench:
    """Measures training steps of a preset.

    Args:
        preset: its name.
        settings: overrides by dotted key.
        device: to train on.
    """

    def __init__(self, preset: str, settings: dict[str, Any], device: torch.device) -> None:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "vgg19.pth"
            torch.save({f"features.{key}": value for key, value in feature_layers("vgg19").state_dict().items()}, weights)
            base = load_config(preset, {"training.precision": "32-true", "training.cuda_graph": False} | settings)
            config = base.training.objective.model_copy(update={"vgg_weights": str(weights)})
            self.objective = Objective(config)
        self.config = base
        self.network = Network(base.network)
        self.device = device

    def trainee(self, mode: Mode, batch: int, processes: Processes = ALONE) -> Trainee:
        """A network before its first step; `batch` is that of all processes together."""
        training = self.config.training.model_copy(update=mode.settings | {"batch_size": batch})
        config = self.config.model_copy(update={"training": training})
        return Trainee(config, self.network, self.objective, mode, self.device, processes)

    def measure(self, mode: Mode, batch: int, steps: int, processes: Processes = ALONE) -> Measured | str:
        """Of some steps after the first ones; what is wrong, where the memory does not suffice."""
        free_memory(self.device)
        try:
            return self._measure(mode, batch, steps, processes)
        except RuntimeError as error:  # in a recording it is another than torch.OutOfMemoryError
            return str(error).splitlines()[0]
        finally:
            free_memory(self.device)

    def _measure(self, mode: Mode, batch: int, steps: int, processes: Processes) -> Measured:
        trainee = self.trainee(mode, batch, processes)
        pairs = random_pairs(batch // processes.count, self.config.training.image_size, self.device)
        for _ in range(WARMUP):
            trainee.step(pairs)
        wait_for(self.device)
        processes.wait()
        begin = time.perf_counter()
        for _ in range(steps):
            trainee.step(pairs)
        wait_for(self.device)
        took = time.perf_counter() - begin
        most = torch.cuda.max_memory_allocated(self.device) / 1e9 if self.device.type == "cuda" else float("nan")
        return Measured(steps * batch / took, most)


def random_pairs(count: int, size: int, device: torch.device) -> PairBatch:
    """Noise, as both pictures of each pair, with landmarks anywhere."""
    source, driving = (torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, device=device) for _ in range(2))
    groups = torch.rand(count, GROUPS, 2, device=device) - 0.5
    nobody = torch.zeros(count, 1, 1, 1, dtype=torch.uint8, device=device)
    return {
        "source": source,
        "driving": driving,
        "source_groups": groups,
        "driving_groups": groups,
        "found": torch.ones(count, dtype=torch.bool, device=device),
        "still": torch.zeros(count, dtype=torch.bool, device=device),
        "heads": torch.zeros(count, HEAD_POINTS, 3, device=device),
        "source_person": nobody,
        "driving_person": nobody,
    }


def free_memory(device: torch.device) -> None:
    """Give back what a measurement held, and count the next one's memory from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turn(
    names: list[str], rounds: int, measure: Callable[[str], Measured | str], keep: Callable[[dict[str, dict[str, Any]]], None]
) -> dict[str, dict[str, Any]]:
    """Measure each of several ways in every round; one that fails, as where memory does not suffice, is not tried again.

    What is known so far is kept after each measurement.
    """
    found: dict[str, dict[str, Any]] = {name: {"pairs/s": [], "GB": 0.0} for name in names}
    for _ in range(rounds):
        for name, values in found.items():
            if "problem" in values:
                continue
            measured = measure(name)
            print(name, measured, flush=True)
            if isinstance(measured, str):
                values["problem"] = measured
            else:
                values["pairs/s"].append(round(measured.pairs_a_second, 2))
                values["GB"] = max(values["GB"], round(measured.gigabytes, 2))
            keep(found)
    return found


def table(found: dict[str, dict[str, Any]], baseline: str) -> str:
    """Median, least and most of each way, its ratio to the baseline of the same round, and its memory."""
    lines = ["| | pairs/s | times | GB |", "| --- | --- | --- | --- |"]
    base = found.get(baseline, {"problem": "not measured"})
    for name, values in found.items():
        if "problem" in values:
            lines.append(f"| {name} | {values['problem']} | | |")
            continue
        rates = values["pairs/s"]
        known = "problem" not in base
        times = statistics.median(a / b for a, b in zip(rates, base["pairs/s"], strict=True)) if known else float("nan")
        spread = f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"
        lines.append(f"| {name} | {spread} | {times:.2f} | {values['GB']:.1f} |")
    return "\n".join(lines)


app = typer.Typer(add_completion=False)


@app.command()
def main(
    preset: Annotated[str, typer.Argument(help="name of a training preset")],
    output: Annotated[Path, typer.Argument(help="JSON file to write")],
    batch: Annotated[list[int], typer.Option(help="pairs a step, at which all ways are measured")] = [20],  # noqa: B006
    mode: Annotated[list[str], typer.Option(help=f"ways: {'; '.join(MODES)}")] = list(ALWAYS),  # noqa: B006
    rounds: int = 3,
    steps: Annotated[int, typer.Option(help="timed steps a round")] = 3,
    override: Annotated[list[str], typer.Option("--set", help="KEY=VALUE, overrides of the preset")] = [],  # noqa: B006
) -> None:
    """Measure a preset's training step."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bench = Bench(preset, parse_overrides(override), device)
    found: dict[str, Any] = {"preset": preset, "device": device_name(device), "torch": torch.__version__, "batches": {}}
    for count in batch:

        def measure(name: str, count: int = count) -> Measured | str:
            return bench.measure(MODES[name], count, steps)

        def keep(results: dict[str, dict[str, Any]], count: int = count) -> None:
            found["batches"][count] = results
            output.write_text(json.dumps(found, indent=1))

        print(f"{preset}, {count} pairs a step\n{table(in_turn(mode, rounds, measure, keep), BASELINE)}", flush=True)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    app()
