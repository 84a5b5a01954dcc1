"""Landmarks: what is measured on them, and that they lie where the face is."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.record_face_mesh import pictures
from mrfa.data.clips import list_clips, read_clip
from mrfa.data.guidance import annotate_clip
from mrfa.data.images import read_image
from mrfa.faces.landmarks import (
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


@pytest.mark.parametrize("name", pictures())
def test_landmarks_are_those_of_mediapipe(name: str) -> None:
    """As recorded by `benchmarks/record_face_mesh.py`, depth and the irises too: within 0.07 pixels of a face of 256, or 0.3 by
    OpenCV 5, which samples pictures more exactly than mediapipe's does.
    """
    recorded = np.load(Path(__file__).with_name("face_mesh.npz"))[name]
    found = FaceLandmarker().in_space(pictures()[name])
    assert found is not None
    x0, y0, x1, y1 = face_box(recorded)
    side = max(x1 - x0, y1 - y0)
    np.testing.assert_allclose(found, recorded, atol=0.0015 * side)
    np.testing.assert_allclose(face_box(found), (x0, y0, x1, y1), atol=0.0005 * side)


def test_a_real_face(frame: np.ndarray) -> None:
    landmarker = FaceLandmarker()
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
    frames = read_clip(list_clips(faces / "test")[0].path, 256)[:5]
    single, tracking = FaceLandmarker(), FaceLandmarker(static=False)
    for frame in frames:
        alone, tracked = single(frame), tracking(frame)
        assert alone is not None and tracked is not None
        assert np.abs(alone - tracked).mean() < 2


def test_any_size_of_picture(faces: Path) -> None:
    image = read_image(sorted((faces / "portraits").iterdir())[0])
    landmarker = FaceLandmarker()
    full, half = landmarker(image), landmarker(np.ascontiguousarray(image[::2, ::2]))
    assert full is not None and half is not None
    assert np.abs(full / 2 - half).mean() < 0.02 * max(image.shape[:2])


def test_annotated_clip_is_half_pixel_normalised(frame: np.ndarray) -> None:
    wide = np.concatenate([frame, np.zeros_like(frame[:, :64])], 1)
    groups, found = annotate_clip(np.stack([wide, np.zeros_like(wide)]))
    assert groups.shape == (2, 26, 2) and groups.dtype == np.float32
    assert found.dtype == bool and found.tolist() == [True, False]
    assert (groups[1] == 0).all()
    landmarks = FaceLandmarker()(wide)
    assert landmarks is not None
    np.testing.assert_allclose((groups[0] + 1) / 2 * (320, 256) - 0.5, group_means(landmarks), atol=1e-3)
