import pytest
import torch

from mrfa.animation.motion import hull_areas, motion_scale, transfer_motion
from mrfa.network.keypoints import Keypoints


def keypoints(batch: int, seed: int, count: int = 7) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(batch, count, 2, generator=generator) - 0.5
    affine = torch.eye(2) + 0.2 * torch.randn(batch, count, 2, 2, generator=generator)
    return Keypoints(positions, affine)


@pytest.mark.parametrize("adapt_scale", [False, True])
def test_an_unmoved_driver_leaves_the_source_as_it_is(adapt_scale: bool) -> None:
    source, driver = keypoints(1, 0), keypoints(1, 1)
    moved = transfer_motion(source, driver, driver, adapt_scale=adapt_scale)
    torch.testing.assert_close(moved.positions, source.positions)
    torch.testing.assert_close(moved.affine, source.affine)


def test_relative_motion_follows_the_formula_frame_by_frame() -> None:
    source, driving, initial = keypoints(1, 0), keypoints(3, 1), keypoints(1, 2)
    moved = transfer_motion(source, driving, initial)
    assert source.affine is not None and driving.affine is not None and initial.affine is not None
    assert moved.affine is not None
    for i in range(3):
        torch.testing.assert_close(moved.positions[i], source.positions[0] + driving.positions[i] - initial.positions[0])
        # Written as a change of the driver, D = A_driving A_initial^-1, that is applied to the source.
        for k in range(7):
            change = torch.linalg.solve(initial.affine[0, k].T, driving.affine[i, k].T).T
            torch.testing.assert_close(moved.affine[i, k], change @ source.affine[0, k])


def test_absolute_motion_is_the_drivers() -> None:
    source, driving, initial = keypoints(1, 0), keypoints(2, 1), keypoints(1, 2)
    assert transfer_motion(source, driving, initial, relative=False) is driving


def test_scale_is_the_ratio_of_the_faces_sizes() -> None:
    initial, driving = keypoints(1, 0), keypoints(2, 1)
    source = Keypoints(initial.positions * 0.5 + 0.1, initial.affine)
    torch.testing.assert_close(motion_scale(source.positions, initial.positions).squeeze().item(), 0.5, atol=1e-5, rtol=0)
    moved = transfer_motion(source, driving, initial, adapt_scale=True)
    expected = source.positions + 0.5 * (driving.positions - initial.positions)
    torch.testing.assert_close(moved.positions, expected, atol=1e-5, rtol=0)


def test_flat_hulls_do_not_scale() -> None:
    line = torch.linspace(-1, 1, 5)[None, :, None].expand(1, 5, 2)
    assert motion_scale(line, torch.rand(1, 5, 2)).item() == 1
    assert motion_scale(torch.rand(1, 5, 2), line).item() == 1


def test_hull_area_of_a_rectangle_with_points_inside() -> None:
    corners = torch.tensor([[-1.0, -0.5], [1, -0.5], [1, 0.5], [-1, 0.5], [0, 0], [0.3, 0.1]])
    assert hull_areas(torch.stack([corners, corners / 2])).tolist() == pytest.approx([2.0, 0.5])


def test_priors_without_affine_maps() -> None:
    source, driving, initial = (Keypoints(keypoints(1, seed).positions, None) for seed in range(3))
    moved = transfer_motion(source, driving, initial)
    assert moved.affine is None
    torch.testing.assert_close(moved.positions, source.positions + driving.positions - initial.positions)
