"""Shards give the frames and the pairs that the clips themselves give, from anywhere and to any process."""

import json
import pickle
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pytest
from conftest import TINY, write_clip
from safetensors.numpy import load_file, save_file
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.data import shards as shards_module
from mrfa.data.guidance import GROUPS
from mrfa.data.prepared import prepare_clips, read_frames
from mrfa.data.shards import INDEX, Shards, is_sharded, shard_name, write_shards
from mrfa.errors import InputError
from mrfa.training.config import SamplingConfig, load_config
from mrfa.training.pairs import PairData, PairDataset, PairNumbers
from mrfa.training.run import train


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting processes takes most of a second; that they are started is tested with what starts them."""

    def run(function: Any, jobs: Any, workers: int, report: Any) -> None:
        for job in jobs:
            report(job, function(pickle.loads(pickle.dumps(job))))

    monkeypatch.setattr(shards_module, "run_apart", run)
    monkeypatch.setattr("mrfa.data.prepared.run_apart", run)


@pytest.fixture
def sharded(people: Path, tmp_path: Path) -> Path:
    """Three clips of 4, 5 and 6 frames, and one that is none, in two shards."""
    (people / "bad_0.mp4").write_bytes(b"no video")
    clips, problems = write_shards(people, tmp_path / "shards", size=64, landmarks=True, clips_a_shard=2)
    assert clips == 3 and len(problems) == 1 and "bad_0.mp4" in problems[0]
    return tmp_path / "shards"


def test_frames_are_those_of_the_clips(people: Path, sharded: Path, tmp_path: Path) -> None:
    clips = Shards(sharded, tmp_path).clips()
    prepared, _ = prepare_clips(people, tmp_path / "cache", size=64, landmarks=True)
    described = [(clip.name, clip.identity, clip.frames, clip.still) for clip in clips]
    assert described == [(clip.name, clip.identity, clip.frames, clip.still) for clip in prepared]
    for clip, other in zip(clips, prepared, strict=True):
        for indices in ([clip.frames - 1, 0], list(range(clip.frames))):
            for mine, theirs in zip(clip.read(indices), read_frames(other, indices), strict=True):
                assert mine.dtype == theirs.dtype and (mine == theirs).all()
    with tarfile.open(sharded / shard_name(0)) as shard:
        assert shard.getnames() == [
            f"{name}/{number:06}.jpg" for name, n in (("anna_0", 4), ("anna_1", 5)) for number in range(n)
        ]


def test_landmarks_are_kept(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def annotate(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places = np.arange(len(frames), dtype=np.float32)[:, None, None] / 8
        return np.broadcast_to(places, (len(frames), GROUPS, 2)), np.arange(len(frames)) % 2 == 0

    monkeypatch.setattr("mrfa.data.prepared.annotate_clip", annotate)
    write_shards(people, tmp_path / "shards", size=64, landmarks=True, clips_a_shard=2)
    frames = Shards(tmp_path / "shards", tmp_path).clips()[2].read([3, 0])
    assert (frames.groups[0] == 0.375).all() and (frames.groups[1] == 0).all() and frames.found.tolist() == [False, True]


def test_names_of_any_length_find_their_frames(tmp_path: Path) -> None:
    """A tar file needs more blocks for long names."""
    folder = tmp_path / "clips" / ("a" * 90) / "é"
    folder.mkdir(parents=True)
    write_clip(folder / f"{'b' * 80}.mp4", frames=3, shade=90)
    write_shards(tmp_path / "clips", tmp_path / "shards", size=64, landmarks=False)
    (clip,) = Shards(tmp_path / "shards", tmp_path).clips()
    assert clip.identity == "é" and clip.read([2]).images.shape == (1, 64, 64, 3)


def test_a_stopped_run_goes_on(people: Path, sharded: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in sharded.iterdir()}
    (sharded / INDEX).unlink()
    next(sharded.glob("part-00001-*")).unlink()
    clips, problems = write_shards(people, sharded, size=64, landmarks=True, clips_a_shard=2)
    assert clips == 3 and len(problems) == 1
    after = {path.name: path.stat().st_mtime_ns for path in sharded.iterdir()}
    assert before.keys() == after.keys()
    written = {name for name in before if before[name] != after[name]}
    assert {name[:11] for name in written} == {"index.safet", "part-00001-", "shard-00001"}
    write_clip(people / "anna_0.mp4", frames=9, shade=10)
    write_shards(people, sharded, size=64, landmarks=True, clips_a_shard=2)
    assert Shards(sharded, sharded).clips()[0].frames == 9
    assert len(list(sharded.glob("part-*"))) == 2


@pytest.fixture
def remote(sharded: Path, tmp_path: Path) -> str:
    """The same shards in an object storage."""
    files = fsspec.filesystem("memory")
    for path in sharded.iterdir():
        files.put_file(str(path), f"/{tmp_path.name}/vox/{path.name}")
    return f"memory://{tmp_path.name}/vox"


def test_shards_are_read_from_object_storage(remote: str, sharded: Path, tmp_path: Path) -> None:
    assert is_sharded(remote) and is_sharded(sharded) and not is_sharded(tmp_path)
    clips = Shards(remote, tmp_path / "cache").clips()
    near = Shards(sharded, tmp_path).clips()
    assert (clips[2].read([5, 1]).images == near[2].read([5, 1]).images).all()
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".safetensors"]
    written = next((tmp_path / "cache").iterdir()).stat().st_mtime_ns
    assert Shards(remote, tmp_path / "cache").clips()[0].frames == 4
    assert next((tmp_path / "cache").iterdir()).stat().st_mtime_ns == written
    for address in ("memory://bucket/nothing", "nosuchkind://bucket"):
        with pytest.raises(InputError, match=address):
            Shards(address, tmp_path / "cache")


def _drawn(location: str | Path, cache: Path, *, ranks: int, workers: int, step: int = 0) -> list[list[list[Any]]]:
    """By rank and step, the pairs that a training of 5 steps of 8 pairs draws."""
    drawn = []
    for rank in range(ranks):
        dataset = PairDataset(Shards(location, cache).clips(), SamplingConfig(), size=64, seed=3)
        trainer: Any = SimpleNamespace(global_step=step, global_rank=rank, world_size=ranks)
        numbers = PairNumbers(trainer, steps=5, per_step=8)
        loader = DataLoader(dataset, batch_size=8 // ranks, sampler=numbers, num_workers=workers)
        batches = [np.stack([batch["source"].numpy(), batch["driving"].numpy()], 1) for batch in loader]
        drawn.append([[pair.tobytes() for pair in batch] for batch in batches])
    return drawn


def test_pairs_are_the_same_over_processes_workers_and_resumptions(sharded: Path, tmp_path: Path) -> None:
    """Every pair of a step is drawn by one process and one worker alone, and a run that goes on draws what it would have."""
    alone = _drawn(sharded, tmp_path, ranks=1, workers=0)[0]
    ranks = _drawn(sharded, tmp_path, ranks=2, workers=2)
    for step in range(5):
        shares = [ranks[rank][step] for rank in range(2)]
        assert [pair for both in zip(*shares, strict=True) for pair in both] == alone[step]
    assert _drawn(sharded, tmp_path, ranks=2, workers=2, step=3) == [share[3:] for share in ranks]
    dataset = PairDataset(Shards(sharded, tmp_path).clips(), SamplingConfig(), size=64, seed=3)
    chosen = [dataset.draw(number) for number in range(40)]
    assert len({(clip, *pair) for clip, pair in chosen}) > 20


def test_workers_read_from_object_storage(remote: str, sharded: Path, tmp_path: Path) -> None:
    assert _drawn(remote, tmp_path, ranks=1, workers=2) == _drawn(sharded, tmp_path, ranks=1, workers=0)


@pytest.mark.parametrize(
    "change",
    [
        {"names": np.frombuffer(b"[]", np.uint8)},
        {"names": np.frombuffer(json.dumps([["a", 1]] * 3).encode(), np.uint8)},
        {"firsts": np.array([0, 4, 3, 15], np.uint64)},
        {"firsts": np.array([0, 4, 9, 16], np.uint64)},
        {"lengths": np.full(15, 2**30, np.uint32)},
        {"offsets": np.zeros(14, np.uint64)},
        {"groups": np.zeros((15, 3, 2), np.float16)},
        {"shards": np.zeros(2, np.uint32)},
    ],
)
def test_an_index_that_lies(sharded: Path, tmp_path: Path, change: dict[str, np.ndarray]) -> None:
    tensors = load_file(sharded / INDEX)
    save_file(tensors | change, sharded / INDEX)
    with pytest.raises(InputError, match="is damaged: make the shards again"):
        Shards(sharded, tmp_path).clips()[0].read([0, 1])


def test_shards_that_are_damaged(sharded: Path, tmp_path: Path) -> None:
    clips = Shards(sharded, tmp_path).clips()
    shard = sharded / shard_name(1)
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(InputError, match=r"cannot read a frame of .*shard-00001.tar: it is damaged"):
        clips[2].read([0, 1])
    shard.unlink()
    with pytest.raises(InputError, match=r"shard-00001.tar: .*No such file"):
        clips[2].read([0, 1])
    (sharded / INDEX).write_bytes(b"nothing")
    with pytest.raises(InputError, match="no index of shards"):
        Shards(sharded, tmp_path)


def test_no_clip_at_all(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "bad_0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"no usable clip for .*bad_0\.mp4"):
        write_shards(tmp_path / "clips", tmp_path / "shards", size=64, landmarks=False)


def test_training_reads_shards_beside_folders(people: Path, tmp_path: Path) -> None:
    arguments = ["shard", people, "-o", tmp_path / "shards", "--size=64", "--workers=1"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0 and f"{tmp_path / 'shards'}: 3 clips" in result.output
    settings = TINY | {"training.steps": 1, "training.workers": 0, "training.objective.perceptual_weight": 0}
    with pytest.raises(InputError, match="add --landmarks to mrfa shard"):
        train(load_config("small", settings), data=tmp_path / "shards", output=tmp_path / "refused", device="cpu")
    (people / "carl_0.mp4").write_bytes((people / "ben_0.mp4").read_bytes())
    write_shards(people, tmp_path / "shards", size=64, landmarks=True)
    data = [str(tmp_path / "shards"), people]
    config = load_config("small", settings | {"training.sampling.weights": [2, 1]})
    model = train(config, data=data, validation=str(tmp_path / "shards"), output=tmp_path / "run", device="cpu")
    assert (model / "model.safetensors").is_file()


def test_an_epoch_of_shards_is_that_of_the_clips(people: Path, sharded: Path, tmp_path: Path) -> None:
    config = load_config(
        "small", TINY | {"training.epochs": 3, "training.steps": None, "training.pairs_per_identity": 4}
    ).training
    prepared, _ = prepare_clips(people, tmp_path / "cache", size=64, landmarks=False)
    assert PairData(config, Shards(sharded, tmp_path).clips(), None).total_steps == PairData(config, prepared, None).total_steps
