"""The baselines: the thin-plate warp keeps its promises, the coarse motion is the network's."""

import cv2
import numpy as np
import pytest
import torch

from mrfa.evaluation.baselines import (
    SMOOTHING,
    WARP_LANDMARKS,
    coarse_motion,
    repeated_source,
    thin_plate_map,
    thin_plate_warp,
)
from mrfa.network.model import Network


def test_map_passes_through_its_points() -> None:
    generator = torch.Generator().manual_seed(0)
    grid = torch.stack(torch.meshgrid(torch.arange(8.0, 90, 16), torch.arange(8.0, 60, 12), indexing="ij"), -1).view(-1, 2)
    targets = grid + torch.randn(grid.shape, generator=generator)
    backward = thin_plate_map(grid, targets, 64, 96)
    columns, rows = grid.long().unbind(1)
    assert backward.shape == (64, 96, 2)
    torch.testing.assert_close(backward[rows, columns], targets, atol=0.05, rtol=0)


def test_map_equals_scipys() -> None:
    interpolate = pytest.importorskip("scipy.interpolate")
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 63, (60, 2))
    points[1] = points[0] + 0.02  # all but coinciding, as closed lips are
    targets = points + rng.normal(0, 2, points.shape)
    # Scipy's kernel is r^2 log r, half of ours: so is its smoothing.
    exact = interpolate.RBFInterpolator(points / 32, targets - points, kernel="thin_plate_spline", smoothing=SMOOTHING / 2)
    pixels = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), -1)
    expected = pixels + exact(pixels.reshape(-1, 2) / 32).reshape(pixels.shape)
    backward = thin_plate_map(torch.from_numpy(points), torch.from_numpy(targets), 64, 64).numpy()
    np.testing.assert_allclose(backward, expected, atol=0.05)


def test_affine_motion_is_met_exactly_everywhere() -> None:
    points = torch.rand(20, 2, generator=torch.Generator().manual_seed(0)) * 64
    matrix, shift = torch.tensor([[1.1, 0.2], [-0.1, 0.9]]), torch.tensor([3.0, -2.0])
    backward = thin_plate_map(points, points @ matrix.T + shift, 64, 64)
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    expected = torch.stack([columns, rows], -1) @ matrix.T + shift
    torch.testing.assert_close(backward, expected, atol=1e-3, rtol=0)


def test_coinciding_points_do_not_break_the_solve() -> None:
    points = torch.tensor([[10.0, 10.0], [10.0, 10.0], [50.0, 10.0], [10.0, 50.0], [50.0, 50.0]])
    targets = points.clone()
    targets[1] += 4
    backward = thin_plate_map(points, targets, 64, 64)
    assert torch.isfinite(backward).all()
    assert (backward[10, 10] - torch.tensor([12.0, 12.0])).abs().max() < 0.2


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


def test_repeated_source() -> None:
    source = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    repeated = repeated_source(source, 3)
    assert repeated.shape == (3, 2, 2, 3)
    assert (repeated == source).all()


def test_coarse_motion_leaves_the_refinement_out(tiny_network: Network) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    driving = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        source, keypoints = tiny_network.encode_source(image), tiny_network.detect(driving)
        coarse = coarse_motion(tiny_network, source, keypoints)
        for parameter in tiny_network.refinement.parameters():
            parameter.fill_(0.1)
        again = coarse_motion(tiny_network, source, keypoints)
    assert coarse.shape == (2, 3, 64, 64)
    assert torch.equal(coarse, again)
