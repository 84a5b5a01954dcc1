"""Whole training runs of a few steps on tiny clips."""

import subprocess
import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

L = pytest.importorskip("lightning")

from conftest import TINY, packed_file
from typer.testing import CliRunner

import mrfa.training.module as module_file
import mrfa.training.run as run_module
from mrfa.cli import app
from mrfa.data.packed import pack_clips
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.processes import ALONE
from mrfa.training.augmentation import Pair
from mrfa.training.callbacks import Checkpoints, ImagesPerSecond
from mrfa.training.compact import read_compact
from mrfa.training.config import Config, DegradationConfig, dump_config, load_config
from mrfa.training.graph import GradientGraph
from mrfa.training.module import TrainingModule
from mrfa.training.objective import Losses
from mrfa.training.pairs import PairBatch
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


def test_resumed_run_equals_an_unbroken_one(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bit for bit: weights, their average, the discriminator, moments and schedule."""
    steps: list[int] = []
    monkeypatch.setattr(ImagesPerSecond, "on_train_batch_end", lambda self, trainer, *unused: steps.append(trainer.global_step))
    adversarial = {"weight": 0.1, "warmup_steps": 1}
    config = _config(training__steps=4, training__average=0.5, training__objective__adversarial=adversarial)
    options: dict[str, Any] = {"data": clips, "cache": tmp_path / "cache", "checkpoint_every": 3}
    train(config, output=tmp_path / "whole", **options)
    train(config, output=tmp_path / "parts", time_limit=1e-6, **options)
    assert _checkpoint(tmp_path / "parts")["global_step"] == 1
    assert capsys.readouterr().err.count("stopped after 1 of 4 steps") == 1
    train(config, output=tmp_path / "parts", resume=True, **options)
    assert steps == [1, 2, 3, 4, 1, 2, 3, 4]
    whole, parts = _checkpoint(tmp_path / "whole"), _checkpoint(tmp_path / "parts")
    assert whole["global_step"] == parts["global_step"] == 4
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    for name in ("optimizer_states", "lr_schedulers"):
        torch.testing.assert_close(whole[name], parts[name], atol=0, rtol=0)
    a, b = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(a[key], b[key]) for key in a)


class _Unrecorded(GradientGraph):
    """Stands for a recorded step where there is no GPU: the same passes, not recorded."""

    def __call__(self, pair: Pair, phase: Hashable) -> Losses:
        self.pair = pair
        self.phases = [*getattr(self, "phases", []), phase]
        for parameter in self.parameters:
            parameter.grad = None
        losses = self.losses(pair)
        losses.total.backward()
        return Losses(losses.total.detach(), {name: value.detach() for name, value in losses.parts.items()})


def test_a_step_whose_gradients_are_in_place_is_like_any_other(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adversarial = {"weight": 0.1, "warmup_steps": 2}
    config = _config(training__steps=3, training__average=0.5, training__objective__adversarial=adversarial)
    graphs: list[_Unrecorded] = []

    def graph(*arguments: Any) -> _Unrecorded:
        graphs.append(_Unrecorded(*arguments))
        return graphs[-1]

    for name in ("plain", "recorded"):
        if name == "recorded":
            monkeypatch.setattr(TrainingModule, "_can_record", lambda self: True)
            monkeypatch.setattr(module_file, "GradientGraph", graph)
        train(config, data=clips, output=tmp_path / name, cache=tmp_path / "cache")
    assert [one.phases for one in graphs] == [[(False, False, 0.0), (False, False, 0.0), (False, True, 0.0)]]
    plain, recorded = _checkpoint(tmp_path / "plain"), _checkpoint(tmp_path / "recorded")
    torch.testing.assert_close(plain["state_dict"], recorded["state_dict"], atol=0, rtol=0)
    torch.testing.assert_close(plain["optimizer_states"], recorded["optimizer_states"], atol=0, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_recorded_steps_have_the_losses_of_plain_ones(clips: Path, tmp_path: Path) -> None:
    settings = {
        "training__steps": 4,
        "training__average": 0.5,
        "training__objective__adversarial": {"weight": 0.1, "warmup_steps": 2},
    }
    for name, recorded in (("plain", False), ("recorded", True)):
        config = _config(training__cuda_graph=recorded, **settings)
        train(config, data=clips, output=tmp_path / name, cache=tmp_path / "cache", device="cuda")
    plain, recorded = _checkpoint(tmp_path / "plain"), _checkpoint(tmp_path / "recorded")
    torch.testing.assert_close(plain["state_dict"], recorded["state_dict"], atol=1e-3, rtol=1e-2)


def _checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def test_run_goes_on_from_small_files(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=6, training__average=0.5)
    run = tmp_path / "run"
    train(config, data=clips, output=run, checkpoint_every=3, time_limit=1e-6, compact=True)
    before = _checkpoint(run)
    (run / "checkpoints" / "last.ckpt").unlink()
    read_compact(run / "compact", tmp_path / "whole.ckpt", averaged=True)
    whole = torch.load(tmp_path / "whole.ckpt", weights_only=True)["state_dict"]
    assert whole.keys() == before["state_dict"].keys()
    name = "encoder.first.0.weight"
    assert torch.equal(whole[f"network.{name}"], before["state_dict"][f"network.{name}"].half().float())
    assert torch.equal(whole[f"averaged.module.{name}"], whole[f"network.{name}"])
    assert sum(part.stat().st_size for part in (run / "compact").iterdir()) < 0.4 * _bytes(before)
    train(config, data=clips, output=run, checkpoint_every=3, resume=True, compact=True)
    after = _checkpoint(run)
    assert (before["global_step"], after["global_step"]) == (1, 6)
    next(iter((run / "compact").iterdir())).write_bytes(b"no checkpoint")
    (run / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(InputError, match="compact checkpoint"):
        train(config, data=clips, output=run, resume=True)


def _bytes(checkpoint: dict[str, Any]) -> int:
    moments = [value for state in checkpoint["optimizer_states"][0]["state"].values() for value in state.values()]
    return sum(value.numel() * value.element_size() for value in [*checkpoint["state_dict"].values(), *moments])


def test_average_follows_every_update(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a checkpoint, as the model folder, holds that of its own step."""
    kept: list[dict[str, torch.Tensor]] = []
    save = Checkpoints._save_checkpoint

    def keep(self: Checkpoints, trainer: L.Trainer) -> None:
        save(self, trainer)
        kept.append(torch.load(self.checkpoint, weights_only=True)["state_dict"])

    monkeypatch.setattr(Checkpoints, "_save_checkpoint", keep)
    config = _config(training__steps=4, training__average=0.28, training__learning_rate=0.01)
    folder = train(config, data=clips, output=tmp_path / "run", checkpoint_every=1)
    stored = load_file(folder / "model.safetensors")
    # A weight, and a statistic of a batch norm.
    for name in ("encoder.first.0.weight", "encoder.first.1.running_mean"):
        values = [state[f"network.{name}"] for state in kept]
        average = values[0]
        # (1 + n) / (10 + n) after n updates, and at most what is configured.
        for now, decay in zip(values[1:], (3 / 12, 0.28, 0.28), strict=True):
            average = decay * average + (1 - decay) * now
        torch.testing.assert_close(kept[3][f"averaged.module.{name}"], average)
        assert not torch.allclose(average, values[3])
        assert torch.equal(stored[name], kept[3][f"averaged.module.{name}"].half())


def test_last_step_is_kept_wherever_the_run_ends(clips: Path, tmp_path: Path) -> None:
    train(_config(training__steps=3), data=clips, output=tmp_path / "run", checkpoint_every=2)
    assert _checkpoint(tmp_path / "run")["global_step"] == 3
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["last.ckpt"]


def test_losses_that_look_at_the_face_get_landmarks(clips: Path, tmp_path: Path) -> None:
    adversarial = {"weight": 0.1, "away_weight": 0.5, "warmup_steps": 0}
    away = _config(training__steps=1, training__objective__adversarial=adversarial)
    assert train(away, data=clips, output=tmp_path / "run", cache=tmp_path / "cache").is_dir()
    assert all("groups" in load_file(path) for path in (tmp_path / "cache").iterdir())


def test_detector_steps_without_guidance_are_none(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=1, training__objective__guidance__detector_steps=5)
    train(config, data=clips, output=tmp_path / "run")
    assert "decoder" in _learned(config, tmp_path / "run")


def test_detector_learns_alone_in_its_first_steps(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=2, training__objective__guidance={"weight": 1.0, "detector_steps": 2})
    train(config, data=clips, output=tmp_path / "run")
    assert _learned(config, tmp_path / "run") == {"detector"}


def test_seed_decides_where_a_run_starts(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=1, training__learning_rate=1e-12, training__seed=5)
    train(config, data=clips, output=tmp_path / "run")
    L.seed_everything(5)
    start = Network(config.network).encoder.state_dict()["first.0.weight"]
    torch.testing.assert_close(_checkpoint(tmp_path / "run")["state_dict"]["network.encoder.first.0.weight"], start)


def _learned(config: Config, run: Path) -> set[str]:
    """Which parts of the network a run has changed."""
    L.seed_everything(config.training.seed)
    start, after = Network(config.network).state_dict(), _checkpoint(run)["state_dict"]
    return {name.partition(".")[0] for name, value in start.items() if not torch.equal(value, after[f"network.{name}"])}


def test_trained_model_loads_and_runs(clips: Path, tmp_path: Path) -> None:
    config = _config(training__steps=2)
    folder = train(config, data=clips, output=tmp_path / "run", validation=clips, checkpoint_every=1)
    network = load_model(folder)
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert output.image.isfinite().all()
    assert list((tmp_path / "run" / "logs").glob("events*"))


def test_every_option_of_the_objective_trains(clips: Path, tmp_path: Path) -> None:
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


def test_clips_and_stills_train_together(clips: Path, stills: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From folder and packed file, with every kind of degradation."""
    drawn: list[PairBatch] = []
    step = TrainingModule.training_step

    def keep(self: TrainingModule, batch: PairBatch, number: int) -> torch.Tensor:
        drawn.append(batch)
        return step(self, batch, number)

    monkeypatch.setattr(TrainingModule, "training_step", keep)
    worse = dict.fromkeys(DegradationConfig.model_fields, 0.5)
    settings: dict[str, Any] = {"training__batch_size": 4, "training__augmentation__degradation": worse}
    config = _config(training__steps=3, training__sampling={"stills": 0.5, "weights": [1, 0.5]}, **settings)
    packed = tmp_path / "stills.safetensors"
    pack_clips(stills, packed, tmp_path / "cache", size=64)
    folder = train(config, data=[clips, packed], output=tmp_path / "run")
    still = torch.cat([batch["still"] for batch in drawn])
    assert (folder / "model.safetensors").is_file() and 2 < int(still.sum()) < 10
    prepared = run_module._prepare_all([clips, packed], tmp_path / "run" / "cache", config, ALONE)
    assert [(clip.identity, clip.weight) for clip in prepared][1:3] == [("ben", 1.0), ("anna", 0.5)]
    config = _config(training__sampling={"weights": [1, 0.5, 2]}, **settings)
    with pytest.raises(InputError, match="3 values for 2 data sets"):
        train(config, data=[clips, packed], output=tmp_path / "other")


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
    changes = {"network__detector__keypoints": 29, "network__coordinates": "corner_aligned"}
    other = _config(training__steps=1, network__detector__residual_levels=0, **changes)
    train(other, data=clips, output=tmp_path / "b", init=str(first))
    said = " ".join(capsys.readouterr().err.split())
    assert "started afresh" in said and "heatmap_head" in said.partition("left behind")[0]
    assert "hourglass.residual" in said.partition("left behind")[2]
    assert "half_pixel, this network as corner_aligned" in said


def test_device_precision_and_batch_size_are_options(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(dump_config(_config(training__steps=1)))
    arguments = ["train", str(tmp_path / "tiny.yaml"), "--data", str(clips)]
    options = ["--device", "cpu", "--precision", "bf16", "--batch-size", "1"]
    done = CliRunner().invoke(app, [*arguments, "--output", str(tmp_path / "run"), *options], catch_exceptions=False)
    assert done.exit_code == 0
    training = load_config(tmp_path / "run" / "model").training
    assert (training.precision, training.batch_size) == ("bf16-mixed", 1)
    with pytest.raises(InputError, match="no device 'cuda:9'"):
        train(_config(training__steps=1), data=clips, output=tmp_path / "other", device="cuda:9")


def test_existing_run_is_not_overwritten(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match="add --resume"):
        train(_config(training__steps=1), data=clips, output=tmp_path)
    with pytest.raises(InputError, match="nothing to resume"):
        train(_config(training__steps=1), data=clips, output=tmp_path / "new", resume=True)


@pytest.mark.parametrize("steps", [1, 3])
def test_loss_that_is_not_finite_stops_with_the_batch_saved(steps: int, clips: Path, tmp_path: Path) -> None:
    """Found in the next step, or before anything is kept."""
    config = _config(training__steps=steps, training__objective__image_weight=float("inf"))
    with pytest.raises(InputError, match="loss is not finite at step 0"):
        train(config, data=clips, output=tmp_path / "run")
    saved = load_file(next((tmp_path / "run").glob("not-finite-*.safetensors")))
    assert saved["source"].shape == (2, 3, 64, 64)
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()


def test_figures_are_kept_without_tensorboard(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*arguments: object, **options: object) -> None:
        raise ModuleNotFoundError("no tensorboard")

    monkeypatch.setattr(run_module, "TensorBoardLogger", absent)
    train(_config(training__steps=2), data=clips, output=tmp_path, validation=clips, checkpoint_every=1)
    header = (tmp_path / "logs" / "metrics.csv").read_text().partition("\n")[0]
    assert {"validation/picture", "validation/sharpness", "validation/artefact"} <= set(header.split(","))


def test_packed_data_needs_no_video_library(clips: Path, tmp_path: Path) -> None:
    """Training machines may have no PyAV."""
    packed = packed_file(tmp_path / "packed.safetensors", {"anna_0": clips / "anna_0.mp4"})
    code = f"""
import sys
sys.modules["av"] = None
import mrfa.training.run
assert not any(name.startswith("mrfa.evaluation") for name in sys.modules)
from pathlib import Path
from mrfa.data.packed import unpack_clips
print(unpack_clips(Path({str(packed)!r}), Path({str(tmp_path)!r}))[0].frames)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["6"], result.stderr
