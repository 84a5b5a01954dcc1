"""The benchmarks of training, on the CPU with tiny networks: what they compare is what they say."""

import json
import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.nn.functional import all_reduce
from typer.testing import CliRunner

pytest.importorskip("lightning")

from conftest import tiny_preset

from benchmarks import several_gpus, training_step
from mrfa.processes import launch
from mrfa.training import run
from mrfa.training.config import dump_config


@pytest.fixture(scope="module", autouse=True)
def _imports_once() -> None:
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "1"
    multiprocessing.set_forkserver_preload(["benchmarks.several_gpus", "test_training_benchmarks"])


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(dump_config(tiny_preset("voxceleb1-transformer", training__objective__image="pyramid")))
    return path


def _shared_norm(self: torch.nn.SyncBatchNorm, x: Tensor) -> Tensor:
    """What torch has on GPUs alone."""
    count = torch.distributed.get_world_size()
    mean, square = (all_reduce(value.mean((0, 2, 3))) / count for value in (x, x * x))
    variance, number = square - mean**2, count * x.numel() / x.shape[1]
    with torch.no_grad():
        self.running_mean.lerp_(mean, 0.1)  # type: ignore[union-attr]
        self.running_var.lerp_(variance * number / (number - 1), 0.1)  # type: ignore[union-attr]
    mean, scale, bias = (value.view(-1, 1, 1) for value in (mean, self.weight * (variance + self.eps).rsqrt(), self.bias))
    return (x - mean) * scale + bias


def _follow(folder: Path, preset: Path, sharing: bool) -> None:
    torch.set_num_threads(1)
    if sharing:
        run.share_norms = lambda config, processes: processes.count > 1
        torch.nn.SyncBatchNorm.forward = _shared_norm  # type: ignore[method-assign]
    several_gpus.follow_both(folder, str(preset), 2, 4, {})


@pytest.mark.parametrize("sharing", [True, False])
def test_processes_that_share_norms_learn_what_one_does(preset: Path, tmp_path: Path, sharing: bool) -> None:
    (tmp_path / "runs").mkdir()
    launch(2, partial(_follow, tmp_path / "runs", preset, sharing))
    found: dict[str, Any] = several_gpus.differences(tmp_path / "runs")
    assert found["first GPU's weights are the last one's"]
    difference = found["all GPUs to one"]
    assert (difference["losses, relative"]["step 1"] < 1e-5) == sharing
    assert (difference["gradients of the first step, relative"] < 0.05) == sharing


def test_ways_to_make_a_step_are_compared(preset: Path, tmp_path: Path) -> None:
    arguments = [str(preset), str(tmp_path / "out.json"), "--batch=2", "--rounds=2", "--steps=1"]
    arguments += ["--mode=fp32", "--mode=fp32, checkpoints"]
    result = CliRunner().invoke(training_step.app, arguments, catch_exceptions=False)
    assert "| fp32, checkpoints |" in result.output
    found = json.loads((tmp_path / "out.json").read_text())["batches"]["2"]
    assert [len(values["pairs/s"]) for values in found.values()] == [2, 2]


def test_a_way_without_enough_memory_is_said_to_be_one() -> None:
    asked: list[str] = []
    kept: list[int] = []

    def measure(name: str) -> training_step.Measured | str:
        asked.append(name)
        return "out of memory" if name == "large" else training_step.Measured(10.0 * len(asked), 1.0)

    def keep(results: dict[str, dict[str, Any]]) -> None:
        kept.append(sum(len(values["pairs/s"]) for values in results.values()))

    found = training_step.in_turn(["small", "large"], 2, measure, keep)
    assert asked == ["small", "large", "small"]
    assert kept == [1, 1, 2]
    assert found["small"]["pairs/s"] == [10.0, 30.0] and found["large"]["problem"] == "out of memory"
    assert training_step.table(found, "small").splitlines()[2:] == [
        "| small | 20.0 (10.0 to 30.0) | 1.00 | 1.0 |",
        "| large | out of memory | | |",
    ]
