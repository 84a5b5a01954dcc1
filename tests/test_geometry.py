import math

import pytest
import torch

from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions, invert_2x2


def test_identity_grid_spans_pixel_centres() -> None:
    grid = CORNER_ALIGNED.grid(3, 5, torch.zeros(1))
    assert grid[0, 0].tolist() == [-1, -1]
    assert grid[2, 4].tolist() == [1, 1]
    assert grid[1, 3].tolist() == [0.5, 0]


def test_warp_by_nothing_changes_nothing() -> None:
    image = torch.rand(2, 3, 9, 11)
    assert torch.allclose(CORNER_ALIGNED.warp(image, torch.zeros(2, 2, 9, 11)), image, atol=1e-6)


def test_warp_shifts_by_whole_pixels() -> None:
    image = torch.rand(1, 1, 8, 8)
    displacement = torch.zeros(1, 2, 8, 8)
    displacement[:, 0] = 2
    shifted = CORNER_ALIGNED.warp(image, displacement / CORNER_ALIGNED.pixel_scale((8, 8), image))
    assert torch.allclose(shifted[..., :6], image[..., 2:], atol=1e-5)
    assert torch.allclose(shifted[..., 6:], torch.zeros(()), atol=1e-5)


def test_flow_and_displacement_are_inverse() -> None:
    displacement = torch.randn(2, 2, 6, 4)
    assert torch.allclose(CORNER_ALIGNED.to_displacement(CORNER_ALIGNED.to_flow(displacement)), displacement, atol=1e-6)


@pytest.mark.parametrize("size", [(4, 4), (16, 16), (32, 8)])
def test_resize_keeps_a_constant_field(size: tuple[int, int]) -> None:
    field = torch.full((1, 2, 8, 8), 0.3)
    assert torch.allclose(CORNER_ALIGNED.resize(field, size), torch.full((1, 2, *size), 0.3))


def test_heatmap_peaks_at_its_keypoint() -> None:
    positions = torch.tensor([[[0.5, -0.25]]])
    heatmap = CORNER_ALIGNED.heatmaps(positions, (9, 9), 0.01)[0, 0]
    assert divmod(int(heatmap.argmax()), 9) == (3, 6)
    grid = CORNER_ALIGNED.grid(9, 9, heatmap)
    expected = torch.exp(-((grid - positions[0, 0]) ** 2).sum(-1) / 0.02)
    assert torch.allclose(heatmap, expected, atol=1e-6)


def test_inverse_of_2x2() -> None:
    matrix = torch.randn(5, 3, 2, 2) + 2 * torch.eye(2)
    assert torch.allclose(invert_2x2(matrix) @ matrix, torch.eye(2).expand(5, 3, 2, 2), atol=1e-3)


def test_inverse_of_a_singular_matrix_is_finite() -> None:
    assert invert_2x2(torch.zeros(2, 2)).isfinite().all()


def test_sampling_is_differentiable_in_positions() -> None:
    picture = torch.rand(1, 1, 5, 5, dtype=torch.float32)
    positions = torch.full((1, 1, 1, 2), 0.1, requires_grad=True)
    CORNER_ALIGNED.sample(picture, positions).sum().backward()
    assert positions.grad is not None
    assert math.isfinite(float(positions.grad.abs().sum()))


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED])
@pytest.mark.parametrize("portraits", [1, 3])
def test_sampling_by_rows_is_that_of_torch(conventions: Conventions, portraits: int) -> None:
    torch.manual_seed(0)
    features = torch.randn(portraits, 64, 7, 9).to(memory_format=torch.channels_last).expand(3, -1, -1, -1)
    positions = 3 * torch.rand(3, 5, 6, 2) - 1.5
    positions[0, 0, :3], positions[0, 0, 3:] = torch.tensor([-1.0, 1.0, 1e30])[:, None], torch.inf
    positions[1, 0, 0] = torch.nan
    expected = conventions.sample(features, positions)
    with torch.inference_mode():
        sampled = conventions.sample(features, positions)
        half = conventions.sample(features.bfloat16(), positions)
    torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=0, equal_nan=True)
    torch.testing.assert_close(half.float(), expected, atol=0.05, rtol=0, equal_nan=True)
    assert sampled.is_contiguous(memory_format=torch.channels_last)
