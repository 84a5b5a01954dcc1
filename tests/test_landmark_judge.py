"""The landmark judge on landmarks made by hand."""

import numpy as np
import pytest

from mrfa.evaluation.landmark_judge import average_keypoint_distance, judge_landmarks


@pytest.fixture
def landmarks() -> np.ndarray:
    points = np.random.default_rng(0).uniform(60, 200, (478, 2)).astype(np.float32)
    points[33], points[263] = (80, 100), (180, 100)  # outer eye corners, 100 apart
    points[13], points[14] = (130, 170), (130, 180)  # inner lips
    for upper, lower in ((159, 145), (386, 374)):
        points[upper], points[lower] = (100, 95), (100, 105)
    return points


def test_a_shift_by_n_pixels_is_an_akd_of_n_and_opens_nothing(landmarks: np.ndarray) -> None:
    errors = judge_landmarks(landmarks + np.float32([3, 4]), landmarks, 256)
    assert errors.akd == pytest.approx(5, abs=1e-4)
    assert errors.mouth == pytest.approx(0, abs=1e-6)
    assert errors.eye == pytest.approx(0, abs=1e-6)


def test_distances_are_those_of_a_picture_of_256(landmarks: np.ndarray) -> None:
    assert judge_landmarks(landmarks + np.float32([3, 4]), landmarks, 128).akd == pytest.approx(10, abs=1e-4)


def test_openings_are_in_distances_of_the_eye_corners(landmarks: np.ndarray) -> None:
    opened = landmarks.copy()
    opened[14] += (0, 20)
    opened[145] += (0, 6)
    errors = judge_landmarks(opened, landmarks, 256)
    assert errors.mouth == pytest.approx(0.2, abs=1e-6)
    assert errors.eye == pytest.approx(0.03, abs=1e-6)
    assert errors.akd == pytest.approx(26 / 478, abs=1e-4)
    # A smaller face has the same openings.
    halved = judge_landmarks(opened / 2, landmarks / 2, 256)
    assert halved.mouth == pytest.approx(errors.mouth, abs=1e-5)


def test_a_face_not_found_is_no_number(landmarks: np.ndarray) -> None:
    assert np.isnan(judge_landmarks(None, landmarks, 256)).all()
    assert np.isnan(judge_landmarks(landmarks, None, 256)).all()


def test_average_distance_is_the_mean_of_distances() -> None:
    assert average_keypoint_distance(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[3.0, 4.0], [1.0, 1.0]])) == 2.5
