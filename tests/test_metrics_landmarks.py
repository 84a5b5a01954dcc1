"""Metrics of landmarks: made by hand, by stand-ins for detectors, and on real faces."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mrfa.evaluation.metrics import Frames, load_metrics
from mrfa.evaluation.metrics.landmarks import (
    FaceMesh,
    akd,
    compare_meshes,
    eye_difference,
    face_alignment_akd,
    lost_faces,
    mouth_difference,
)


class Meshes(FaceMesh):
    """Landmarks by the first pixel of a picture."""

    def __init__(self, meshes: list[np.ndarray | None]) -> None:
        self.meshes = meshes

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        return self.meshes[int(picture[0, 0, 0])]


def numbered(count: int, *, driving: int = 0) -> Frames:
    """Generated frame i shows mesh i, the driving frames all show one."""
    pictures = np.zeros((count, 128, 128, 3), np.uint8)
    generated = pictures.copy()
    generated[:, 0, 0, 0] = np.arange(count)
    pictures[:, 0, 0, 0] = driving
    return Frames(pictures[0], pictures, generated)


@pytest.fixture
def landmarks() -> np.ndarray:
    points = np.random.default_rng(0).uniform(60, 200, (478, 2)).astype(np.float32)
    points[33], points[263] = (80, 100), (180, 100)  # outer eye corners, 100 apart
    points[13], points[14] = (130, 170), (130, 180)  # inner lips
    for upper, lower in ((159, 145), (386, 374)):
        points[upper], points[lower] = (100, 95), (100, 105)
    return points


def test_a_shift_by_n_pixels_is_an_akd_of_n_and_opens_nothing(landmarks: np.ndarray) -> None:
    shifted = landmarks + np.float32([3, 4])
    assert akd("standard")(shifted, landmarks, 256) == pytest.approx(5, abs=1e-4)
    assert akd("paper")(shifted, landmarks, 256) == pytest.approx(3.5, abs=1e-4)
    assert mouth_difference(shifted, landmarks, 256) == pytest.approx(0, abs=1e-6)
    assert eye_difference(shifted, landmarks, 256) == pytest.approx(0, abs=1e-6)


def test_distances_are_those_of_a_picture_of_256(landmarks: np.ndarray) -> None:
    assert akd("standard")(landmarks + np.float32([3, 4]), landmarks, 128) == pytest.approx(10, abs=1e-4)


def test_akd_is_the_mean_of_distances(landmarks: np.ndarray) -> None:
    moved = landmarks.copy()
    moved[0] += (3, 4)
    assert akd("standard")(moved, landmarks, 256) == pytest.approx(5 / 478, abs=1e-5)


def test_openings_are_in_distances_of_the_eye_corners(landmarks: np.ndarray) -> None:
    opened = landmarks.copy()
    opened[14] += (0, 20)
    opened[145] += (0, 6)
    assert mouth_difference(opened, landmarks, 256) == pytest.approx(0.2, abs=1e-6)
    assert eye_difference(opened, landmarks, 256) == pytest.approx(0.03, abs=1e-6)
    # A smaller face has the same openings.
    assert mouth_difference(opened / 2, landmarks / 2, 256) == pytest.approx(0.2, abs=1e-5)


def test_a_face_not_found_is_no_number_but_counted() -> None:
    mesh = np.random.default_rng(0).normal(size=(478, 3)) * 20 + 60
    faces = Meshes([mesh, mesh + np.array([3, 4, 50]), None])
    values = compare_meshes(akd("standard"), faces)(numbered(3))
    assert values[0] == 0 and values[1] == pytest.approx(5 * 256 / 128) and np.isnan(values[2])
    assert lost_faces(faces)(numbered(3)).tolist() == [0, 0, 1]
    assert np.isnan(lost_faces(faces)(numbered(3, driving=2))).all()


def test_face_alignment_distance() -> None:
    def landmarks(picture: np.ndarray) -> list[np.ndarray] | None:
        return [np.full((68, 2), float(picture[0, 0, 0]))] if picture.any() else None

    measure = face_alignment_akd(SimpleNamespace(get_landmarks_from_image=landmarks), "standard")
    true, made = (np.full((2, 128, 128, 3), value, np.uint8) for value in (10, 13))
    made[1] = 0
    values = measure(Frames(true[0], true, made))
    assert values[0] == pytest.approx(3 * np.sqrt(2) * 2) and np.isnan(values[1])


def test_the_same_pictures_are_alike(faces: Path) -> None:
    from mrfa.data.clips import read_clip

    clip = read_clip(sorted((faces / "test").glob("*.mp4"))[0], 256)[:20:10]
    names = ["AKD (mediapipe)", "ARD (mediapipe)", "AUH (mediapipe)", "mouth opening (mediapipe)", "lost faces (mediapipe)"]
    metrics, problems = load_metrics(names)
    assert not problems
    for metric in metrics:
        assert np.allclose(metric.measure(Frames(clip[0], clip, clip)), 0)
    rolled = np.stack([np.rot90(picture) for picture in clip])
    ard = metrics[1].measure(Frames(clip[0], clip, rolled))
    assert np.isnan(ard).all() or np.nanmean(ard) > 20
