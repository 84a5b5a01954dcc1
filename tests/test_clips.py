"""Folders of clips: what is found in them, whom it shows, and what a clip reads as."""

from pathlib import Path

import numpy as np
import pytest

from mrfa.data.clips import list_clips, read_clip, square
from mrfa.data.images import write_image
from mrfa.errors import InputError


def _touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_identity_is_the_name_up_to_the_last_number(tmp_path: Path) -> None:
    _touch(*(tmp_path / name for name in ("p010_1.mp4", "p010_0.MKV", "a_b_12.mp4", "alone.mov", "notes.txt")))
    found = {clip.path.name: clip.identity for clip in list_clips(tmp_path)}
    assert found == {"a_b_12.mp4": "a_b", "alone.mov": "alone", "p010_0.MKV": "p010", "p010_1.mp4": "p010"}


def test_identity_is_the_folder_where_clips_lie_in_folders(tmp_path: Path) -> None:
    _touch(tmp_path / "anna" / "x_0.mp4", tmp_path / "anna" / "y_0.mp4")
    _touch(tmp_path / "ben" / "take1" / "0.png", tmp_path / "ben" / "take1" / "1.png", tmp_path / "carl_3" / "0.jpg")
    found = [(str(clip.path.relative_to(tmp_path)), clip.identity) for clip in list_clips(tmp_path)]
    assert found == [("anna/x_0.mp4", "anna"), ("anna/y_0.mp4", "anna"), ("ben/take1", "ben"), ("carl_3", "carl")]


def test_pictures_beside_the_clips_are_no_clip(tmp_path: Path) -> None:
    _touch(tmp_path / "cover.png", tmp_path / "p_0.mp4")
    assert [clip.path.name for clip in list_clips(tmp_path)] == ["p_0.mp4"]


def test_pictures_alone_are_stills_where_these_are_asked_for(tmp_path: Path) -> None:
    _touch(*(tmp_path / name for name in ("r0001_s0.jpg", "r0001_s1.jpg", "ben_3.PNG", "carl.webp", "notes.txt")))
    found = {clip.path.name: (clip.identity, clip.still) for clip in list_clips(tmp_path, stills=True)}
    people = {"r0001_s0.jpg": "r0001", "r0001_s1.jpg": "r0001", "ben_3.PNG": "ben", "carl.webp": "carl"}
    assert found == {name: (identity, True) for name, identity in people.items()}
    with pytest.raises(InputError, match="neither videos nor folders of pictures"):
        list_clips(tmp_path)
    _touch(tmp_path / "anna_0.mp4")
    assert [(clip.path.name, clip.still) for clip in list_clips(tmp_path, stills=True)] == [("anna_0.mp4", False)]


def test_folders_without_clips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of clips"):
        list_clips(tmp_path / "missing")
    with pytest.raises(InputError, match="neither videos nor folders of pictures"):
        list_clips(tmp_path)
    with pytest.raises(InputError, match="neither videos, folders of pictures nor pictures"):
        list_clips(tmp_path, stills=True)


def test_a_video_is_read_whole_and_resized(clips: Path) -> None:
    path = list_clips(clips)[0].path
    frames = read_clip(path, 64)
    assert frames.shape == (6, 64, 64, 3) and frames.dtype == np.uint8
    # The bright square of the fixture moves right by four pixels a frame.
    assert frames[0, 20, 8, 0] > 150 > frames[0, 20, 40, 0]
    assert frames[5, 20, 8, 0] < 150 < frames[5, 20, 40, 0]
    assert read_clip(path, 32).shape == (6, 32, 32, 3)


def test_a_folder_of_pictures_is_read_in_natural_order(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    for number in (10, 2, 1):
        write_image(folder / f"{number}.png", np.full((8, 8, 3), number, np.uint8))
    assert read_clip(folder, 8)[:, 0, 0, 0].tolist() == [1, 2, 10]


def test_a_broken_clip_names_itself(tmp_path: Path) -> None:
    path = tmp_path / "bad_0.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(InputError, match=r"bad_0\.mp4"):
        read_clip(path, 64)


def test_square_takes_the_middle() -> None:
    image = np.zeros((4, 8, 3), np.uint8)
    image[:, 2:6] = 200
    assert (square(image, 4) == 200).all()
    assert (square(image.transpose(1, 0, 2), 4) == 200).all()
    assert square(image, 16).shape == (16, 16, 3)


def test_real_clips(faces: Path) -> None:
    found = list_clips(faces / "test")
    assert len(found) == 45
    assert {clip.identity for clip in found} >= {"g344", "p010"}
    assert sum(clip.identity == "p010" for clip in found) == 3
