"""From the metadata of VoxCeleb1 and CelebV-HQ to a model that two processes trained, as `docs/scale.md` says."""

import multiprocessing
import os
import re
import signal
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_preset
from typer.testing import CliRunner

pytest.importorskip("lightning")

from test_datasets import celeb, info, utterance, write_map
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from mrfa.cli import app
from mrfa.processes import launch
from mrfa.training.pairs import PairDraw
from mrfa.training.run import train


@pytest.fixture(scope="module", autouse=True)
def _imports_once() -> None:
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "1"
    multiprocessing.set_forkserver_preload(["mrfa.training.run", "test_scale"])


def write_voxceleb(folder: Path, people: list[str], *, frames: int = 24) -> None:
    """Text files and videos in the published form, one of each for a person; the face moves a little."""
    for person in people:
        write_map(folder / "videos" / f"{person}_video.mp4", frames)
        boxes = {number: (180 + number, 60 + number % 5, 200, 200) for number in range(2, frames - 2)}
        utterance(folder / "txt" / person / f"{person}_video" / "00001.txt", boxes)


def write_celebvhq(folder: Path, clips: int, *, frames: int = 24) -> None:
    """The JSON file and its videos, one for each clip."""
    described = {}
    for number in range(clips):
        write_map(folder / "videos" / f"celeb{number:06}.mp4", frames)
        described[f"celeb{number:06}_0"] = celeb(f"celeb{number:06}", 0.08, frames / 25, 0.05, 0.9, 0.2, 0.7)
    info(folder / "celebvhq_info.json", **described)


def _command(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def _train(folder: Path, name: str, kill_at: int | None, **options: Any) -> str:
    """In each process; the second one kills itself when it draws the pair of this number."""
    torch.set_num_threads(1)
    draw = PairDraw.__call__

    def dying(self: PairDraw, index: int) -> tuple[int, list[int]]:
        if kill_at is not None and index >= kill_at and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(self, index)

    PairDraw.__call__ = dying  # type: ignore[method-assign]
    # Two epochs of 3 people's 2 pairs each.
    schedule = {"training__epochs": 2, "training__pairs_per_identity": 2, "training__workers": 0}
    config = tiny_preset("voxceleb1-transformer", training__objective__image="pyramid", **schedule)
    data = [folder / "shards" / data for data in ("voxceleb1", "celebvhq")]
    path = train(config, data=data, output=folder / name, cache=folder / "cache", checkpoint_every=2, **options)
    return str(path)


def test_from_metadata_to_a_trained_model(tmp_path: Path) -> None:
    """Prepared, sharded, trained for two epochs by two processes, killed on the way and resumed, and evaluated."""
    write_voxceleb(tmp_path / "vox", ["id10001", "id10002", "id10270"])
    write_celebvhq(tmp_path / "celeb", 2)
    options = ("--size=64", "--smallest=16", "--fewest-frames=8", "--workers=1")
    told = _command("prepare", "voxceleb1", tmp_path / "vox/txt", tmp_path / "vox/videos", "-o", tmp_path / "voxceleb1", *options)
    assert "3 clips, 1 of them for the test; 0 are missing" in told
    metadata = tmp_path / "celeb/celebvhq_info.json"
    told = _command("prepare", "celebvhq", metadata, tmp_path / "celeb/videos", "-o", tmp_path / "celebvhq", "--test=1", *options)
    assert "2 clips, 1 of them for the test; 0 are missing" in told
    for name, clips in (("voxceleb1", 2), ("celebvhq", 1)):
        shards = tmp_path / "shards" / name
        assert f"{clips} clips" in _command("shard", tmp_path / name / "train", "-o", shards, "--size=64", "--workers=1")

    launch(2, partial(_train, tmp_path, "unbroken", None))
    with pytest.raises(ChildFailedError):
        launch(2, partial(_train, tmp_path, "broken", 6))
    assert _checkpoint(tmp_path / "broken")["global_step"] == 2
    model = launch(2, partial(_train, tmp_path, "broken", None, resume=True))
    whole, resumed = (_checkpoint(tmp_path / name) for name in ("unbroken", "broken"))
    assert whole["global_step"] == resumed["global_step"] == 3 * 2 * 2 // 2
    for key, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][key]), key

    table = _command("evaluate", model, "--data", tmp_path / "voxceleb1/test", "--metrics=L1", "--folder", tmp_path / "figures")
    assert "L1" in table and any((tmp_path / "figures").iterdir())


@pytest.mark.parametrize("resumed", [False, True])
def test_the_slurm_script_starts_and_goes_on(tmp_path: Path, resumed: bool) -> None:
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()
    (script,) = re.findall(r"^```bash\n(#!/bin/bash\n.*?)^```", page, re.DOTALL | re.MULTILINE)
    for name, text in (("srun", 'printf "%s\\n" "$@"'), ("scontrol", "printf 'node1\\nnode2\\n'")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    if resumed:
        (tmp_path / "RUN" / "checkpoints").mkdir(parents=True)
        (tmp_path / "RUN" / "checkpoints" / "last.ckpt").touch()
    slurm = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "4",
        "SLURM_JOB_NODELIST": "node[1-4]",
    }
    done = subprocess.run(["bash", "-u", "-c", script], cwd=tmp_path, env=slurm, capture_output=True, text=True)
    started = done.stdout.split()
    assert started[0] == "torchrun" and "node1:29500" in started and ("--resume" in started) == resumed, done.stderr
    assert started[started.index("--nnodes") + 1] == "4"


def _checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
