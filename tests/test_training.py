"""Whole training runs of a few steps on tiny clips."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("lightning")

from conftest import TINY

from mrfa.data.packed import pack_clips
from mrfa.data.prepared import prepare_clips
from mrfa.errors import InputError
from mrfa.training.config import Config, load_config
from mrfa.training.pairs import PairDataset
from mrfa.training.run import train
from mrfa.weights import load_model

UNGUIDED = {
    "training.objective.guidance.weight": 0,
    "training.objective.guidance.region_weight": 1,
    "training.objective.guidance.detector_steps": 0,
    "training.workers": 0,
}


def _config(**more: object) -> Config:
    return load_config("small", TINY | UNGUIDED | {key.replace("__", "."): value for key, value in more.items()})


def test_resumed_run_equals_an_unbroken_one(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=4)
    whole = train(config, data=clips, output=tmp_path / "whole", cache=tmp_path / "cache", checkpoint_every=2)
    train(config, data=clips, output=tmp_path / "parts", cache=tmp_path / "cache", checkpoint_every=2, time_limit=1e-6)
    parts = train(config, data=clips, output=tmp_path / "parts", cache=tmp_path / "cache", checkpoint_every=2, resume=True)
    a, b = load_file(whole / "model.safetensors"), load_file(parts / "model.safetensors")
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-3) for key in a)


def test_run_goes_on_from_small_files(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=6, training__average=0.5)
    run = tmp_path / "run"
    train(config, data=clips, output=run, checkpoint_every=3, time_limit=1e-6, compact=True)
    before = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    (run / "checkpoints" / "last.ckpt").unlink()
    assert sum(part.stat().st_size for part in (run / "compact").iterdir()) < 0.4 * _bytes(before)
    train(config, data=clips, output=run, checkpoint_every=3, resume=True, compact=True)
    after = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert (before["global_step"], after["global_step"]) == (1, 6)
    next(iter((run / "compact").iterdir())).write_bytes(b"no checkpoint")
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(InputError, match="compact checkpoint"):
        train(config, data=clips, output=run, resume=True)


def _bytes(checkpoint: dict[str, Any]) -> int:
    moments = [value for state in checkpoint["optimizer_states"][0]["state"].values() for value in state.values()]
    return sum(value.numel() * value.element_size() for value in [*checkpoint["state_dict"].values(), *moments])


def test_averaged_weights_lag_behind(clips: Path, tmp_path: Path) -> None:
    last = train(_config(training__steps=2, training__average=0), data=clips, output=tmp_path / "last")
    averaged = train(_config(training__steps=2, training__average=0.9), data=clips, output=tmp_path / "averaged")
    a, b = load_file(last / "model.safetensors"), load_file(averaged / "model.safetensors")
    assert any(not torch.equal(a[key], b[key]) for key in a)


def test_trained_model_loads_and_runs(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=2)
    folder = train(config, data=clips, output=tmp_path / "run", validation=clips, checkpoint_every=1)
    network = load_model(folder)
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert output.image.isfinite().all()
    assert list((tmp_path / "run" / "logs").glob("events*"))


def test_every_option_of_the_objective_trains(clips: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    config = load_config(
        "small",
        TINY
        | {
            "training.steps": 3,
            "training.workers": 0,
            "training.resident": True,
            "training.objective.guidance.detector_steps": 1,
            "training.objective.consistency_weight": 1.0,
            "training.objective.adversarial.weight": 0.1,
            "training.objective.adversarial.warmup_steps": 2,
        },
    )
    packed = tmp_path / "packed.safetensors"
    assert pack_clips(clips, packed, tmp_path / "cache", size=64) == 2
    folder = train(config, data=packed, output=tmp_path / "run", init=None)
    assert (folder / "model.safetensors").is_file()


def test_training_from_another_models_weights(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=1, training__learning_rate=1e-12)
    first = train(config, data=clips, output=tmp_path / "a")
    more = _config(training__steps=1, training__learning_rate=1e-12, network__detector__keypoints=29)
    wider = load_file(train(more, data=clips, output=tmp_path / "c", init=str(first)) / "model.safetensors")
    assert torch.equal(wider["encoder.first.0.weight"], load_file(first / "model.safetensors")["encoder.first.0.weight"])
    second = train(config, data=clips, output=tmp_path / "b", init=str(first))
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    weights = [key for key in a if key.endswith("weight") and a[key].ndim == 4]
    assert all(torch.allclose(a[key].float(), b[key].float(), atol=1e-3) for key in weights)


def test_start_says_what_is_fresh_and_what_is_left_behind(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(_config(training__steps=1), data=clips, output=tmp_path / "a")
    other = _config(training__steps=1, network__detector__keypoints=29, network__detector__residual_levels=0)
    train(other, data=clips, output=tmp_path / "b", init=str(first))
    said = " ".join(capsys.readouterr().err.split())
    assert "started afresh" in said and "heatmap_head" in said.partition("left behind")[0]
    assert "hourglass.residual" in said.partition("left behind")[2]


def test_existing_run_is_not_overwritten(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match="add --resume"):
        train(_config(training__steps=1), data=clips, output=tmp_path)
    with pytest.raises(InputError, match="nothing to resume"):
        train(_config(training__steps=1), data=clips, output=tmp_path / "new", resume=True)


def test_loss_that_is_not_finite_stops_with_the_batch_saved(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=3, training__objective__image_weight=float("inf"))
    with pytest.raises(InputError, match="loss is not finite at step 0"):
        train(config, data=clips, output=tmp_path / "run")
    saved = load_file(next((tmp_path / "run").glob("not-finite-*.safetensors")))
    assert saved["source"].shape == (2, 3, 64, 64)


def test_pairs_are_of_one_clip_and_always_the_same(clips: Path, tmp_path: Path) -> None:
    prepared, _ = prepare_clips(clips, tmp_path, size=64, landmarks=False)
    dataset = PairDataset(prepared, size=64, seed=1)
    first, again = dataset[3], dataset[3]
    assert (first["source"] == again["source"]).all()
    assert abs(int(first["source"][0, 0, 0]) - int(first["driving"][0, 0, 0])) < 10
