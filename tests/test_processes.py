"""Two processes that train one model: they share the work, agree on when to stop, and end together."""

import json
import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning")

from conftest import TINY

import mrfa.training.module as module_file
import mrfa.training.run as run_module
from mrfa.errors import InputError
from mrfa.processes import SLOWEST_STEP, Processes, launch
from mrfa.training.config import load_config
from mrfa.training.module import TrainingModule
from mrfa.training.pairs import PairDraw
from mrfa.training.run import train

SETTINGS = TINY | {
    "training.objective.guidance.weight": 0,
    "training.objective.guidance.region_weight": 1,
    "training.workers": 0,
    "training.average": 0.5,
    "training.steps": 3,
}


@pytest.fixture(scope="module", autouse=True)
def _imports_once() -> None:
    """The processes are forks of one that has imported all that they need; what waits for a dead one is ended soon."""
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "1"  # of torch 2.13 on
    multiprocessing.set_forkserver_preload(["mrfa.training.run", "test_processes"])


def _train(folder: Path, fault: str, **options: Any) -> str:
    """In each process: train with one of the faults below, and leave what this process saw in a file."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    drawn: list[int] = []
    draw = PairDraw.__call__

    def record(self: PairDraw, index: int) -> tuple[int, list[int]]:
        drawn.append(index)
        if fault == "crash" and rank == 1 and index > 1:
            raise RuntimeError("this process crashes")
        if fault == "told to end" and rank == 1 and index > 1:
            os.kill(os.getpid(), signal.SIGTERM)
        if fault == "killed" and rank == 1 and index > 3 and not Processes.restarted():
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, index)

    PairDraw.__call__ = record  # type: ignore[method-assign]
    prepared = run_module.prepare_clips

    def prepare(root: Path, cache: Path, **settings: Any) -> Any:
        result = prepared(root, cache, **settings)
        (folder / f"clips-{rank}").write_text(str(result))
        return result

    run_module.prepare_clips = prepare
    losses, seeds = TrainingModule._losses, []

    def spoil(self: TrainingModule, pair: Any) -> Any:
        seeds.append(torch.initial_seed())
        found = losses(self, pair)
        bad = fault == "not finite" and rank == 1 and self.global_step == 1
        return found._replace(total=found.total * float("nan")) if bad else found

    TrainingModule._losses = spoil  # type: ignore[method-assign]
    if fault == "late clock":
        # The time is over for one process alone.
        options["time_limit"] = 1e-6 if rank == 1 else 60
    stop = TrainingModule.stop_if_not_finite

    def tell(self: TrainingModule, *arguments: Any) -> None:
        try:
            stop(self, *arguments)
        except InputError as error:
            (folder / f"error-{rank}").write_text(str(error))
            raise

    TrainingModule.stop_if_not_finite = tell  # type: ignore[method-assign]
    average, averaged = module_file.average_gradients, []

    def watch(parameters: Any, count: int) -> None:
        learned = list(parameters)
        before = [p.grad.clone() for p in learned if p.grad is not None]
        average(learned, count)
        averaged.append((before, [p.grad.clone() for p in learned if p.grad is not None]))

    module_file.average_gradients = watch
    path = train(load_config("small", SETTINGS), output=folder / "run", cache=folder / "cache", **options)
    torch.save(averaged, folder / f"averaged-{rank}")
    (folder / f"drawn-{rank}.json").write_text(json.dumps([drawn, seeds]))
    return str(path)


def _launch(folder: Path, fault: str = "", **options: Any) -> str:
    return launch(2, partial(_train, folder, fault, **options))


def _train_in_steps(folder: Path, clips: Path) -> str:
    return _train(folder, "killed", data=clips, checkpoint_every=1)


def _checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)


def test_two_processes_share_pairs_and_clips(clips: Path, tmp_path: Path) -> None:
    model = _launch(tmp_path, data=clips)
    assert (Path(model) / "model.safetensors").is_file()
    saw = [json.loads((tmp_path / f"drawn-{rank}.json").read_text()) for rank in range(2)]
    assert [sorted(drawn)[:3] for drawn, _ in saw] == [[0, 2, 4], [1, 3, 5]]
    # Each augments its pairs in its own way.
    assert len({*saw[0][1], *saw[1][1]}) == 6
    assert (tmp_path / "clips-0").read_text() == (tmp_path / "clips-1").read_text()
    assert _checkpoint(tmp_path)["global_step"] == 3
    # Gradients are averaged: one process alone would have gone elsewhere.
    alone = tmp_path / "alone"
    train(load_config("small", SETTINGS), data=clips, output=alone / "run", cache=tmp_path / "cache")
    both, one = _checkpoint(tmp_path)["state_dict"], _checkpoint(alone)["state_dict"]
    assert not torch.equal(both["network.encoder.first.0.weight"], one["network.encoder.first.0.weight"])
    # Every step: both go by the mean of their gradients.
    first, second = (torch.load(tmp_path / f"averaged-{rank}", weights_only=True) for rank in range(2))
    assert len(first) == len(second) == 3
    for (own, mean), (other, same) in zip(first, second, strict=True):
        torch.testing.assert_close(mean, [(a + b) / 2 for a, b in zip(own, other, strict=True)])
        torch.testing.assert_close(mean, same, atol=0, rtol=0)
        assert any(not torch.allclose(a, b) for a, b in zip(own, other, strict=True))


def test_a_run_uses_all_devices_and_the_caller_goes_on_alone(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a study trains one model after the other."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = load_config("small", SETTINGS | {"training.steps": 1})
    for name in ("first", "second"):
        model = train(config, data=clips, output=tmp_path / name, cache=tmp_path / "cache")
        assert (model / "model.safetensors").is_file()
    assert not Processes.started() and multiprocessing.active_children() == []


def test_the_first_clock_stops_all_and_the_run_goes_on(clips: Path, tmp_path: Path) -> None:
    _launch(tmp_path, "late clock", data=clips)
    assert _checkpoint(tmp_path)["global_step"] == 1
    _launch(tmp_path, data=clips, resume=True)
    assert _checkpoint(tmp_path)["global_step"] == 3


def test_a_process_that_is_told_to_end_stops_all_with_a_checkpoint(clips: Path, tmp_path: Path) -> None:
    _launch(tmp_path, "told to end", data=clips)
    assert 0 < _checkpoint(tmp_path)["global_step"] < 3
    _launch(tmp_path, data=clips, resume=True)
    assert _checkpoint(tmp_path)["global_step"] == 3


def test_a_loss_that_is_not_finite_stops_all(clips: Path, tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError, match="not finite at step 1"):
        _launch(tmp_path, "not finite", data=clips)
    assert [path.name for path in (tmp_path / "run").glob("not-finite*")] == ["not-finite-step-1-process-1.safetensors"]
    assert {rank: "another process" in (tmp_path / f"error-{rank}").read_text() for rank in range(2)} == {0: True, 1: False}
    assert time.monotonic() - start < SLOWEST_STEP.total_seconds() / 4


def test_a_process_that_crashes_ends_all(clips: Path, tmp_path: Path) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    start = time.monotonic()
    with pytest.raises(ChildFailedError):
        _launch(tmp_path, "crash", data=clips)
    assert (
        time.monotonic() - start < SLOWEST_STEP.total_seconds() / 4
        and not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    )


def test_a_killed_process_is_started_again_and_all_go_on(clips: Path, tmp_path: Path) -> None:
    """As `torchrun --max-restarts=1` does."""
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    where = {"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "local_addr": "localhost", "start_method": "forkserver"}
    settings = LaunchConfig(1, 1, 2, run_id="restart", max_restarts=1, monitor_interval=0.1, **where)
    elastic_launch(settings, _train_in_steps)(tmp_path, clips)
    assert _checkpoint(tmp_path)["global_step"] == 3
    drawn, seeds = json.loads((tmp_path / "drawn-0.json").read_text())
    assert sorted(drawn)[0] > 0 and 1 <= len(seeds) < 3


@pytest.mark.parametrize("shared", [True, False])
def test_a_store_is_divided_by_restarts_only_where_they_share_it(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    """Machines count their restarts each for itself, so that processes would not find each other by them."""
    stores: list[Any] = []
    names = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RESTART_COUNT": "1"}
    for name, value in (names | {"TORCHELASTIC_USE_AGENT_STORE": str(shared)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Processes, "started", lambda: True)
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda address: iter([(torch.distributed.HashStore(), 0, 2)]))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *some, store, **more: stores.append(store))
    Processes.join()
    assert isinstance(stores[0], torch.distributed.PrefixStore) == shared


def test_errors_of_input_come_back_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of clips"):
        _launch(tmp_path, data=tmp_path / "missing")


def test_each_process_has_a_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for a machine with GPUs."""
    chosen: list[int] = []
    monkeypatch.setattr(Processes, "started", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    for name, value in {"RANK": "5", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert Processes.join() == Processes(rank=5, count=6, local_count=2) and chosen == [1]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match="3 processes need as many devices, but this machine has 2"):
        Processes.join()
