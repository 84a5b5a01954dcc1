"""The baselines: the thin-plate warp keeps its promises."""

import cv2
import numpy as np

from mrfa.evaluation.baselines import WARP_LANDMARKS, thin_plate_map, thin_plate_warp, warped_source
from mrfa.evaluation.metrics.landmarks import FaceMesh


def test_map_passes_through_its_points() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(8, 90, 16), np.arange(8, 60, 12)), -1).reshape(-1, 2)
    targets = grid + rng.normal(size=grid.shape)
    backward = thin_plate_map(grid, targets, 64, 96)
    assert backward.shape == (64, 96, 2)
    np.testing.assert_allclose(backward[grid[:, 1], grid[:, 0]], targets, atol=0.05)


def test_affine_motion_is_met_exactly_everywhere() -> None:
    points = np.random.default_rng(0).uniform(0, 64, (20, 2))
    matrix, shift = np.array([[1.1, 0.2], [-0.1, 0.9]]), np.array([3.0, -2.0])
    backward = thin_plate_map(points, points @ matrix.T + shift, 64, 64)
    expected = np.stack(np.meshgrid(np.arange(64), np.arange(64)), -1) @ matrix.T + shift
    np.testing.assert_allclose(backward, expected, atol=1e-3)


def test_coinciding_points_do_not_break_the_solve() -> None:
    points = np.array([[10.0, 10], [10, 10], [50, 10], [10, 50], [50, 50]])
    targets = points.copy()
    targets[1] += 4
    backward = thin_plate_map(points, targets, 64, 64)
    assert np.isfinite(backward).all()
    assert np.abs(backward[10, 10] - 12).max() < 0.2


def test_warp_moves_the_face_and_keeps_the_border() -> None:
    rng = np.random.default_rng(0)
    source = cv2.GaussianBlur(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8), (0, 0), 4)
    landmarks = rng.uniform(48, 80, (478, 2)).astype(np.float32)
    still = thin_plate_warp(source, landmarks, landmarks)
    assert np.abs(still.astype(int) - source).max() <= 1
    moved = thin_plate_warp(source, landmarks, landmarks + np.float32([6, 4]))
    # What was at p in the source is now at p + (6, 4).
    face = moved[60:76, 60:78].astype(int)
    assert np.abs(face - source[56:72, 54:72]).max() <= 3
    assert np.abs(moved[[0, -1], ::127].astype(int) - source[[0, -1], ::127]).max() <= 3
    assert len(WARP_LANDMARKS) == 117


def test_a_warp_without_a_face_is_the_source() -> None:
    class Faces(FaceMesh):
        def __init__(self) -> None:
            pass

        def __call__(self, picture: np.ndarray) -> np.ndarray | None:
            centre = int(picture[0, 0, 0])
            spread = np.random.default_rng(0).uniform(-9, 9, (478, 3))
            return spread + centre if centre else None

    source = np.random.default_rng(1).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    source[0, 0, 0] = 30
    driving = np.stack([source, source, source])
    driving[:, 0, 0, 0] = (30, 36, 0)
    warped = warped_source(source, driving, Faces())
    assert np.abs(warped[0].astype(int) - source).max() <= 1 and (warped[2] == source).all()
    assert np.abs(warped[1][34:38, 34:38].astype(int) - source[28:32, 28:32]).max() <= 12
    assert (warped_source(driving[2], driving, Faces()) == driving[2]).all()
