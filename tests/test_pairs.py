"""Pairs of frames: who is drawn, that frames keep their landmarks, and that processes share the work."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning")

from mrfa.animation.head import face_statistics
from mrfa.data.guidance import GROUPS
from mrfa.data.prepared import PreparedClip, write_prepared
from mrfa.errors import InputError
from mrfa.training.config import SamplingConfig, TrainingConfig
from mrfa.training.pairs import PairData, PairDataset, PairDraw, PairNumbers, ResidentPairs


def _clip(folder: Path, name: str, frames: int, *, size: int = 32, found: bool = True) -> PreparedClip:
    """A clip whose grey and whose landmarks say the number of the frame: 10 levels and 0.01 a frame."""
    images = np.stack([np.full((size, size, 3), 10 * number, np.uint8) for number in range(frames)])
    groups = np.stack([np.full((GROUPS, 2), 0.01 * number, np.float32) for number in range(frames)])
    path = folder / f"{name}.safetensors"
    write_prepared(path, images, groups, np.full(frames, found))
    return PreparedClip(path, name, name.partition("_")[0], frames)


def test_frames_come_with_their_own_landmarks(tmp_path: Path) -> None:
    dataset = PairDataset([_clip(tmp_path, "anna_0", 20)], SamplingConfig(), size=32, seed=3)
    for number in range(20):
        pair = dataset[number]
        frames = [round(float(pair[f"{which}_groups"][0, 0]) / 0.01) for which in ("source", "driving")]
        assert frames[0] != frames[1] and pair["found"]
        for which, frame in zip(("source", "driving"), frames, strict=True):
            assert pair[which].shape == (3, 32, 32) and abs(int(pair[which][0, 0, 0]) - 10 * frame) <= 2


def test_pair_is_believed_where_both_frames_show_a_face(tmp_path: Path) -> None:
    clip = _clip(tmp_path, "anna_0", 2)
    images, groups = np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, GROUPS, 2), np.float32)
    write_prepared(clip.path, images, groups, np.array([True, False]))
    resident = ResidentPairs([clip], SamplingConfig(), size=32, seed=0, batch=2, device=torch.device("cpu"))
    assert not PairDataset([clip], SamplingConfig(), size=32, seed=0)[0]["found"] and not resident[0]["found"].any()


def test_pairs_say_where_people_are_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = _clip(tmp_path, "anna_0", 9)
    monkeypatch.setattr("mrfa.training.pairs._of_thread", threading.local())
    monkeypatch.setattr("mrfa.training.pairs.PersonSegmenter", lambda: lambda picture: picture[:16, :16, 0] // 2)
    single = PairDataset([clip], SamplingConfig(), size=32, seed=0, people=True)[3]
    batch = ResidentPairs([clip], SamplingConfig(), size=32, seed=0, batch=4, device=torch.device("cpu"), people=True)[0]
    for which in ("source", "driving"):
        expected = batch[which][:, :1, :16, :16] // 2  # type: ignore[literal-required]
        assert torch.equal(batch[f"{which}_person"], expected)  # type: ignore[literal-required]
        assert np.array_equal(single[f"{which}_person"], expected[3].numpy())


def test_no_thread_loads_two_segmenters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []

    def segmenter() -> Callable[[np.ndarray], np.ndarray]:
        loaded.append(threading.get_ident())
        return lambda picture: picture[:16, :16, 0]

    monkeypatch.setattr("mrfa.training.pairs._of_thread", threading.local())
    monkeypatch.setattr("mrfa.training.pairs.PersonSegmenter", segmenter)
    clips = [_clip(tmp_path, f"anna_{number}", 1) for number in range(100)]
    ResidentPairs(clips, SamplingConfig(), size=32, seed=0, batch=2, device=torch.device("cpu"), people=True)
    assert 1 <= len(loaded) == len(set(loaded))


def test_identities_are_drawn_alike_however_many_clips_they_have(tmp_path: Path) -> None:
    clips = [PreparedClip(tmp_path, f"anna_{number}", "anna", 9) for number in range(9)] + [PreparedClip(tmp_path, "b", "ben", 9)]
    draw = PairDraw(clips, SamplingConfig(), seed=0)
    drawn = [draw(number) for number in range(1000)]
    assert 430 < sum(number == 9 for number, _ in drawn) < 570
    assert all(a != b and 0 <= a < 9 and 0 <= b < 9 for _, (a, b) in drawn)
    assert len(Counter(number for number, _ in drawn)) == 10
    assert drawn[:20] != [PairDraw(clips, SamplingConfig(), seed=1)(number) for number in range(20)]
    assert drawn[:20] == [PairDraw(clips, SamplingConfig(), seed=0)(number) for number in range(20)]


def _drawn(clips: list[PreparedClip], sampling: SamplingConfig, count: int = 2000) -> Counter[str]:
    """How often each clip is drawn."""
    draw = PairDraw(clips, sampling, seed=0)
    return Counter(clips[draw(number)[0]].name for number in range(count))


def test_people_are_drawn_by_the_weights_of_their_data(tmp_path: Path) -> None:
    heavy = [PreparedClip(tmp_path, name, name[0], 9, 3.0) for name in ("a0", "a1")]
    light = [PreparedClip(tmp_path, name, name[0], 9) for name in ("b0", "c0")]
    drawn = _drawn(heavy + light, SamplingConfig())
    assert 540 < drawn["a0"] < 660 and 540 < drawn["a1"] < 660 and 350 < drawn["b0"] < 450 and 350 < drawn["c0"] < 450


def test_stills_are_a_share_of_the_pairs(tmp_path: Path) -> None:
    clips = [PreparedClip(tmp_path, "a0", "a", 9), *(PreparedClip(tmp_path, f"s{n}", str(n), 1) for n in range(50))]
    assert 540 < _drawn(clips, SamplingConfig(stills=0.7))["a0"] < 660
    assert _drawn(clips, SamplingConfig(stills=0.0))["a0"] == 2000
    assert len(_drawn(clips[1:], SamplingConfig(stills=0.1))) == 50
    draw = PairDraw(clips, SamplingConfig(stills=1.0), seed=0)
    assert all(draw(number)[1] == [0, 0] for number in range(20))


def test_heads_are_those_of_stills_with_a_face(tmp_path: Path) -> None:
    """And the same in a resident batch."""
    clips = [_clip(tmp_path, "anna_0", 5), _clip(tmp_path, "ben_s0", 1), _clip(tmp_path, "carl_s0", 1, found=False)]
    groups = (face_statistics().mean[None, :, :2] / 2).numpy().astype(np.float32)
    write_prepared(clips[1].path, np.zeros((1, 32, 32, 3), np.uint8), groups, np.array([True]))
    sampling = SamplingConfig(stills=0.6)
    dataset = PairDataset(clips, sampling, size=24, seed=4)
    resident: Any = ResidentPairs(clips, sampling, size=24, seed=4, batch=24, device=torch.device("cpu"))
    pairs, seen = [dataset[number] for number in range(24)], set()
    for key, value in resident[0].items():
        assert (value.numpy() == np.stack([pair[key] for pair in pairs])).all()
    for number, pair in enumerate(pairs):
        name = clips[dataset.draw(number)[0]].name
        assert pair["still"] == (name != "anna_0") and pair["found"] == (name != "carl_s0")
        assert (pair["heads"] != 0).any() == (name == "ben_s0")
        assert not pair["still"] or (pair["source"] == pair["driving"]).all()
        seen.add(name)
    assert len(seen) == 3


def test_stills_neither_lengthen_an_epoch_nor_validate(tmp_path: Path) -> None:
    stills = [PreparedClip(tmp_path, name, name[0], 1) for name in ("c0", "d0", "e0")]
    config = TrainingConfig(epochs=10, pairs_per_identity=8, batch_size=4)
    moving = [PreparedClip(tmp_path, name, name[0], 9) for name in ("a0", "b0")]
    data = PairData(config, moving + stills, moving + stills)
    assert data.total_steps == 40 and data.validation_clips == moving
    assert PairData(config, stills, None).total_steps == 60
    with pytest.raises(InputError, match="validation data are stills"):
        PairData(config, moving, stills)


def test_resident_batches_are_those_of_the_data_set(tmp_path: Path) -> None:
    clips = [_clip(tmp_path, "anna_0", 5), _clip(tmp_path, "ben_0", 7)]
    dataset = PairDataset(clips, SamplingConfig(), size=24, seed=4)
    resident: Any = ResidentPairs(clips, SamplingConfig(), size=24, seed=4, batch=3, device=torch.device("cpu"))
    for key, value in resident[2].items():
        assert (value.numpy() == np.stack([dataset[number][key] for number in (6, 7, 8)])).all()


def test_pictures_are_enlarged_smoothly(tmp_path: Path) -> None:
    clip = _clip(tmp_path, "anna_0", 2, size=32)
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3)).astype(np.uint8)
    write_prepared(clip.path, np.stack([picture, picture]), None, None)
    stored = PairDataset([clip], SamplingConfig(), size=32, seed=0)[0]["source"].transpose(1, 2, 0)
    for size, how in ((64, cv2.INTER_CUBIC), (16, cv2.INTER_AREA)):
        got = PairDataset([clip], SamplingConfig(), size=size, seed=0)[0]["source"].transpose(1, 2, 0)
        assert (got == cv2.resize(stored, (size, size), interpolation=how)).all()


def _numbers(rank: int, count: int, *, step: int = 0, steps: int = 5, per_step: int = 6) -> list[int]:
    trainer: Any = SimpleNamespace(global_step=step, global_rank=rank, world_size=count)
    numbers = PairNumbers(trainer, steps=steps, per_step=per_step)
    assert len(numbers) == steps * per_step // count
    return list(numbers)


def test_processes_share_the_pairs_of_a_step() -> None:
    assert _numbers(0, 1) == list(range(30))
    shares = [_numbers(rank, 3) for rank in range(3)]
    assert sorted(number for share in shares for number in share) == list(range(30))
    for step in range(5):
        drawn = [number for share in shares for number in share[2 * step : 2 * step + 2]]
        assert sorted(drawn) == list(range(6 * step, 6 * step + 6))


def test_resumed_numbers_go_on() -> None:
    assert _numbers(1, 2, step=3) == _numbers(1, 2)[9:]


def test_epochs_count_pairs_of_identities(tmp_path: Path) -> None:
    clips = [PreparedClip(tmp_path, name, name[0], 9) for name in ("a0", "a1", "b0")]
    assert PairData(TrainingConfig(epochs=10, pairs_per_identity=8, batch_size=4), clips, None).total_steps == 40
    assert PairData(TrainingConfig(steps=7), clips, None).total_steps == 7


def test_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    data = PairData(TrainingConfig(steps=1, batch_size=6, workers=0), [_clip(tmp_path, "anna_0", 3)], None)
    data.trainer = SimpleNamespace(world_size=4)  # type: ignore[assignment]
    with pytest.raises(InputError, match="batch_size=6 must be a multiple of the 4 processes"):
        data.train_dataloader()


def test_validation_pairs_are_always_the_same(tmp_path: Path) -> None:
    clips = [_clip(tmp_path, "anna_0", 9), _clip(tmp_path, "ben_0", 9)]
    sets = [PairData(TrainingConfig(image_size=64, workers=0, seed=seed), clips, clips) for seed in (0, 1)]
    first, second = (list(data.val_dataloader()[0]) for data in sets)
    assert sum(len(batch["source"]) for batch in first) == PairData.VALIDATION_PAIRS
    assert all(torch.equal(a["source_groups"], b["source_groups"]) for a, b in zip(first, second, strict=True))
