"""Prepared and packed clips: what is kept, what is noticed, and what one bad clip may do."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import packed_file, write_clip
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import mrfa.data.prepared as prepared_module
from mrfa.data.clips import Clip
from mrfa.data.guidance import GROUPS
from mrfa.data.images import write_image
from mrfa.data.packed import pack_clips, unpack_clips
from mrfa.data.prepared import PreparedClip, prepare_clips, read_frames, write_prepared
from mrfa.errors import InputError
from mrfa.processes import Processes


def test_broken_clip_is_reported_and_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "good_0.mp4", frames=4, shade=90)
    (folder / "bad_0.mp4").write_bytes(b"no video")
    write_clip(folder / "short_0.mp4", frames=1, shade=90)
    clips, problems = prepare_clips(folder, tmp_path / "cache", size=64, landmarks=False)
    assert [clip.identity for clip in clips] == ["good"]
    assert len(problems) == 2 and "bad_0.mp4" in problems[0] and problems[1] == "short_0: only one frame"
    frames = read_frames(clips[0], [0, 3])
    assert frames.images.shape == (2, 64, 64, 3)
    assert frames.groups.shape == (2, GROUPS, 2) and not frames.found.any()


def test_any_error_of_a_clip_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, size: int) -> np.ndarray:
        raise cv2.error("no memory")

    monkeypatch.setattr(prepared_module, "read_clip", fail)
    job = prepared_module._Job(Clip(tmp_path / "a.mp4", "a"), tmp_path / "a.safetensors", 64, False)
    problem = prepared_module._prepare(job)
    assert problem == "error: no memory"


def _die_at_one(job: prepared_module._Job) -> str:
    if job.clip.identity == "killer":
        os._exit(11)
    return "read"


def test_a_process_that_dies_takes_one_clip_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_module, "_prepare", _die_at_one)
    jobs = [prepared_module._Job(Clip(tmp_path, name), tmp_path, 64, False) for name in ("a", "killer", "b", "c")]
    told: list[tuple[int, int]] = []
    problems = prepared_module._prepare_all(jobs, 1, lambda done, total: told.append((done, total)))
    assert {clip.identity: what for clip, what in problems} == {
        "killer": "the process that read it died",
        **dict.fromkeys(("a", "b", "c"), "read"),
    }
    assert told[-1] == (4, 4)


def test_a_damaged_frame_is_no_frame(tmp_path: Path) -> None:
    clip = PreparedClip(tmp_path / "a.safetensors", "a", "a", 3)
    write_prepared(clip.path, np.zeros((3, 32, 32, 3), np.uint8), None, None)
    tensors = load_file(clip.path)
    tensors["jpeg"][tensors["offsets"][1] : tensors["offsets"][2]] = 0
    save_file(tensors, clip.path)
    assert clip.read([0, 2]).images.shape == (2, 32, 32, 3)
    with pytest.raises(InputError, match=r"a\.safetensors is damaged"):
        clip.read([0, 1])


def test_no_clips_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no clips"):
        prepare_clips(tmp_path, tmp_path / "cache", size=64, landmarks=False)
    (tmp_path / "bad_0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"no usable clip in .*: .*bad_0\.mp4"):
        prepare_clips(tmp_path, tmp_path / "cache", size=64, landmarks=False)


def test_one_edited_picture_is_noticed(tmp_path: Path) -> None:
    folder, cache = tmp_path / "clips" / "anna_0", tmp_path / "cache"
    folder.mkdir(parents=True)
    for number in range(3):
        write_image(folder / f"{number}.png", np.full((64, 64, 3), 50, np.uint8))
    first, _ = prepare_clips(tmp_path / "clips", cache, size=64, landmarks=False)
    again, _ = prepare_clips(tmp_path / "clips", cache, size=64, landmarks=False)
    assert first == again
    # In place, so that nothing but the picture itself changes.
    data = cv2.imencode(".png", np.full((64, 64, 3), 200, np.uint8))[1].tobytes()
    with (folder / "1.png").open("r+b") as file:
        file.write(data)
        file.truncate()
    edited, _ = prepare_clips(tmp_path / "clips", cache, size=64, landmarks=False)
    assert read_frames(edited[0], [0, 1, 2]).images[:, 0, 0, 0].tolist() == [50, 200, 50]


def test_all_that_decides_a_prepared_clip_is_in_its_name(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = Clip(clips / "anna_0.mp4", "anna")
    names = [prepared_module._cache_name(clip, *settings) for settings in ((64, True), (96, True), (64, False))]
    monkeypatch.setattr(prepared_module, "FORMAT", prepared_module.FORMAT + 1)
    names.append(prepared_module._cache_name(clip, 64, True))
    assert len(set(names)) == 4 and all(name.startswith("anna_0-") for name in names)


def test_a_damaged_cache_is_made_anew(clips: Path, tmp_path: Path) -> None:
    prepared, _ = prepare_clips(clips, tmp_path, size=64, landmarks=False)
    prepared[0].path.write_bytes(b"half written")
    assert prepare_clips(clips, tmp_path, size=64, landmarks=False)[0] == prepared
    assert len(read_frames(prepared[0], [0, 5]).images) == 2


def test_each_process_prepares_its_share(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[list[object]] = []
    monkeypatch.setattr(Processes, "gather", lambda self, values: waited.append(values) or values)
    with pytest.raises(InputError, match="share their --cache"):
        prepare_clips(clips, tmp_path, size=64, landmarks=False, processes=Processes(1, 2, 2))
    assert [path.name.startswith("ben_0") for path in tmp_path.iterdir()] == [True]
    prepared, _ = prepare_clips(clips, tmp_path, size=64, landmarks=False, processes=Processes(0, 2, 2))
    assert [clip.name for clip in prepared] == ["anna_0", "ben_0"] and len(waited) == 2


def test_packed_clips_of_one_name_stay_apart(tmp_path: Path) -> None:
    for number, identity in enumerate(("anna", "ben")):
        (tmp_path / "clips" / identity).mkdir(parents=True)
        write_clip(tmp_path / "clips" / identity / "0.mp4", frames=3 + number, shade=60 + 80 * number)
    (tmp_path / "clips" / "bad_0.mp4").write_bytes(b"no video")
    packed, told = tmp_path / "packed.safetensors", list[str]()
    assert pack_clips(tmp_path / "clips", packed, tmp_path / "cache", size=96, report=told.append) == 2
    assert len(told) == 1 and "bad_0.mp4" in told[0]
    clips = unpack_clips(packed, tmp_path / "other")
    assert sorted((clip.identity, clip.frames) for clip in clips) == [("anna", 3), ("ben", 4)]
    assert read_frames(clips[0], [0]).images.shape == (1, 96, 96, 3)
    with safe_open(packed, framework="np") as file:
        assert (file.metadata()["format"], file.metadata()["size"]) == ("2", "96")


def test_stills_are_packed_as_they_are(stills: Path, tmp_path: Path) -> None:
    (stills / "bad_s0.jpg").write_bytes(b"no picture")
    packed, told = tmp_path / "packed.safetensors", list[str]()
    assert pack_clips(stills, packed, tmp_path / "cache", size=96, report=told.append) == 3
    assert len(told) == 1 and "bad_s0.jpg" in told[0]
    tensors = load_file(packed)
    assert tensors["picture/anna_s1"].tobytes() == (stills / "anna_s1.png").read_bytes()
    clips = unpack_clips(packed, tmp_path / "other")
    assert [(clip.name, clip.identity, clip.frames, clip.still) for clip in clips] == [
        ("anna_s0", "anna", 1, True),
        ("anna_s1", "anna", 1, True),
        ("ben_s0", "ben", 1, True),
    ]
    prepared, _ = prepare_clips(stills, tmp_path / "cache", size=96, landmarks=True)
    for one, other in zip(prepared, clips, strict=True):
        assert one.still and (read_frames(one, [0]).images == read_frames(other, [0]).images).all()
    with safe_open(packed, framework="np") as file:
        metadata = file.metadata()
    save_file(tensors | {"picture/anna_s1": np.zeros(9, np.uint8)}, packed, metadata=metadata)
    with pytest.raises(InputError, match="the clip anna_s1 is damaged"):
        unpack_clips(packed, tmp_path / "third")


def test_unpacked_clips_are_kept_until_the_packed_file_changes(clips: Path, tmp_path: Path) -> None:
    packed, cache = tmp_path / "packed.safetensors", tmp_path / "cache"
    packed_file(packed, {"anna_0": clips / "anna_0.mp4"})
    first = unpack_clips(packed, cache)
    written = first[0].path.stat().st_mtime_ns
    assert unpack_clips(packed, cache) == first and first[0].path.stat().st_mtime_ns == written
    frames = read_frames(first[0], [0, 5])
    assert frames.found.all() and (frames.groups == 0.25).all()
    packed_file(packed, {"anna_0": clips / "ben_0.mp4"})
    other = unpack_clips(packed, cache)
    assert read_frames(other[0], [0]).images[0, 0, 63, 0] > 120 > read_frames(first[0], [0]).images[0, 0, 63, 0]


def test_older_packed_files_are_refused(clips: Path, tmp_path: Path) -> None:
    packed = packed_file(tmp_path / "old.safetensors", {"anna_0": clips / "anna_0.mp4"}, format="1")
    with pytest.raises(InputError, match="pack the clips again"):
        unpack_clips(packed, tmp_path / "cache")
    save_file(load_file(packed), packed, metadata={"identities": '{"anna_0": "anna"}'})
    with pytest.raises(InputError, match="pack the clips again"):
        unpack_clips(packed, tmp_path / "cache")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"size": "1000000000"}, "impossible"),
        ({"size": "many"}, "not a packed data set"),
        ({"identities": '{"carl_0": "carl"}'}, "clips are missing"),
        ({"identities": "[1]"}, "not a packed data set|clips are missing"),
        ({"identities": "{}"}, "clips are missing"),
    ],
)
def test_packed_files_that_lie(clips: Path, tmp_path: Path, metadata: dict[str, str], message: str) -> None:
    packed = packed_file(tmp_path / "packed.safetensors", {"anna_0": clips / "anna_0.mp4"}, **metadata)
    with pytest.raises(InputError, match=message):
        unpack_clips(packed, tmp_path / "cache")


def test_packed_clips_that_are_damaged(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    packed = packed_file(tmp_path / "packed.safetensors", {"anna_0": clips / "anna_0.mp4", "bad_0": tmp_path / "bad.mp4"})
    with pytest.raises(InputError, match="the clip bad_0 is damaged"):
        unpack_clips(packed, tmp_path / "cache")


def test_packed_landmarks_that_are_no_numbers(clips: Path, tmp_path: Path) -> None:
    packed = packed_file(tmp_path / "packed.safetensors", {"anna_0": clips / "anna_0.mp4"})
    with safe_open(packed, framework="np") as file:
        metadata = file.metadata()
    tensors = load_file(packed)
    tensors["groups/anna_0"][2, 0, 0] = np.nan
    save_file(tensors, packed, metadata=metadata)
    with pytest.raises(InputError, match="the clip anna_0 is damaged"):
        unpack_clips(packed, tmp_path / "cache")


def test_names_in_a_packed_file_lead_nowhere_else(clips: Path, tmp_path: Path) -> None:
    packed = packed_file(tmp_path / "packed.safetensors", {"../../escaped_0": clips / "anna_0.mp4"})
    unpacked = unpack_clips(packed, tmp_path / "a" / "cache")
    assert unpacked[0].path.parent == tmp_path / "a" / "cache" and unpacked[0].frames == 6
