"""Landmarks: what is measured on them, and that mediapipe's lie where the face is."""

import builtins
import os
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mrfa.data import landmarks as landmarks_module
from mrfa.data.clips import list_clips, read_clip
from mrfa.data.guidance import annotate_clip
from mrfa.data.images import read_image
from mrfa.data.landmarks import (
    LANDMARK_GROUPS,
    FaceLandmarker,
    eye_opening,
    face_box,
    group_means,
    mouth_opening,
)

GROUP_NAMES = list(LANDMARK_GROUPS)


@pytest.fixture
def landmarks() -> np.ndarray:
    points = np.random.default_rng(0).uniform(60, 200, (478, 2)).astype(np.float32)
    points[33], points[263] = (80, 100), (180, 100)  # outer eye corners, 100 apart
    return points


@pytest.fixture(scope="module")
def frame(faces: Path) -> np.ndarray:
    return read_clip(list_clips(faces / "test")[0].path, 256)[0]


def test_there_are_26_groups_of_different_points_of_the_mesh() -> None:
    indices = [index for group in LANDMARK_GROUPS.values() for index in group]
    assert len(LANDMARK_GROUPS) == 26
    assert len(set(indices)) == len(indices)
    assert min(indices) >= 0 and max(indices) < 478
    for name in GROUP_NAMES:
        side, _, rest = name.partition("_")
        if side == "right":
            assert len(LANDMARK_GROUPS[f"left_{rest}"]) == len(LANDMARK_GROUPS[name])


def test_group_means(landmarks: np.ndarray) -> None:
    means = group_means(landmarks)
    assert means.shape == (26, 2)
    np.testing.assert_allclose(means[GROUP_NAMES.index("right_eye_outer")], (80, 100))
    np.testing.assert_allclose(means[GROUP_NAMES.index("nose_tip")], (landmarks[1] + landmarks[4]) / 2, rtol=1e-5)


def test_openings_are_in_distances_of_the_outer_eye_corners(landmarks: np.ndarray) -> None:
    landmarks[13], landmarks[14] = (130, 170), (130, 185)
    landmarks[159], landmarks[145] = (90, 95), (90, 105)
    landmarks[386], landmarks[374] = (170, 100), (170, 100)
    assert mouth_opening(landmarks) == pytest.approx(0.15)
    assert eye_opening(landmarks) == pytest.approx(0.05)  # one eye 0.1, the other shut


def test_face_box_leaves_the_irises_out(landmarks: np.ndarray) -> None:
    landmarks[5], landmarks[6] = (10, 20), (220, 240)
    landmarks[470] = (0, 0)
    assert face_box(landmarks) == (10, 20, 220, 240)


def test_whole_numbers_are_pixel_centres() -> None:
    """Mediapipe counts from the picture's edge, in shares of its sides."""
    point = SimpleNamespace(x=0.25, y=0.5, z=0.1)
    found = SimpleNamespace(multi_face_landmarks=[SimpleNamespace(landmark=[point])])
    landmarker = object.__new__(FaceLandmarker)
    landmarker._mesh = SimpleNamespace(process=lambda image: found)
    points = landmarker.in_space(np.zeros((10, 20, 3), np.uint8))
    assert points is not None
    np.testing.assert_allclose(points, [[4.5, 4.5, 2]], rtol=1e-6)


def test_absent_mediapipe_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from mrfa.errors import InputError

    real = builtins.__import__

    def without(name: str, *arguments: object, **options: object) -> ModuleType:
        if name.startswith("mediapipe"):
            raise ImportError(name)
        return real(name, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install mediapipe==0\.10\.14"):
        FaceLandmarker()


def test_other_threads_keep_the_error_stream(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """mediapipe's notes are kept off it only where nobody else could write to it meanwhile."""
    alone = threading.active_count()
    monkeypatch.setattr(landmarks_module.threading, "active_count", lambda: len(threading.enumerate()) - alone + 1)
    with landmarks_module._quiet():
        os.write(2, b"note\n")
    assert capfd.readouterr().err == ""
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        with landmarks_module._quiet():
            os.write(2, b"message\n")
    finally:
        end.set()
        other.join()
    assert capfd.readouterr().err == "message\n"


def test_a_real_face(frame: np.ndarray) -> None:
    pytest.importorskip("mediapipe")
    with FaceLandmarker() as landmarker:
        found = landmarker(frame)
        assert found is not None and found.shape == (478, 2) and found.dtype == np.float32
        assert landmarker(np.zeros_like(frame)) is None
        # A picture moved by whole pixels has its landmarks moved by as many; the detector itself scatters by up to a pixel.
        moved = landmarker(np.roll(frame, (5, 7), (0, 1)))
    assert moved is not None
    np.testing.assert_allclose((moved - found).mean(0), (7, 5), atol=1)
    means = dict(zip(GROUP_NAMES, group_means(found), strict=True))
    # The person's right is on the picture's left; brows, lids, nose, lips and chin come from top to bottom.
    assert means["right_eye_outer"][0] < means["right_eye_inner"][0] < means["left_eye_inner"][0] < means["left_eye_outer"][0]
    assert means["right_mouth_corner"][0] < means["left_mouth_corner"][0]
    assert means["right_jaw"][0] < means["chin"][0] < means["left_jaw"][0]
    order = ("forehead", "right_brow_inner", "right_upper_lid", "right_lower_lid", "nose_tip", "upper_lip_outer", "chin")
    heights = [float(means[name][1]) for name in order]
    assert heights == sorted(heights)
    x0, y0, x1, y1 = face_box(found)
    assert 0 < x0 < means["nose_tip"][0] < x1 < 256 and y0 < means["nose_tip"][1] < y1
    assert 0 <= eye_opening(found) < 0.4 and 0 <= mouth_opening(found) < 0.8


def test_tracking_agrees_with_single_pictures(faces: Path) -> None:
    pytest.importorskip("mediapipe")
    frames = read_clip(list_clips(faces / "test")[0].path, 256)[:5]
    with FaceLandmarker() as single, FaceLandmarker(static=False) as tracking:
        for frame in frames:
            alone, tracked = single(frame), tracking(frame)
            assert alone is not None and tracked is not None
            assert np.abs(alone - tracked).mean() < 2


def test_any_size_of_picture(faces: Path) -> None:
    pytest.importorskip("mediapipe")
    image = read_image(sorted((faces / "portraits").iterdir())[0])
    with FaceLandmarker() as landmarker:
        full, half = landmarker(image), landmarker(np.ascontiguousarray(image[::2, ::2]))
    assert full is not None and half is not None
    assert np.abs(full / 2 - half).mean() < 0.02 * max(image.shape[:2])


def test_annotated_clip_is_half_pixel_normalised(frame: np.ndarray) -> None:
    pytest.importorskip("mediapipe")
    wide = np.concatenate([frame, np.zeros_like(frame[:, :64])], 1)
    groups, found = annotate_clip(np.stack([wide, np.zeros_like(wide)]))
    assert groups.shape == (2, 26, 2) and groups.dtype == np.float32
    assert found.dtype == bool and found.tolist() == [True, False]
    assert (groups[1] == 0).all()
    with FaceLandmarker() as landmarker:
        landmarks = landmarker(wide)
    assert landmarks is not None
    np.testing.assert_allclose((groups[0] + 1) / 2 * (320, 256) - 0.5, group_means(landmarks), atol=1e-3)
