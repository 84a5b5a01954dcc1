import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull

from mrfa.animation.motion import RelativeMotion, hull_areas, motion_scale
from mrfa.network.keypoints import Keypoints


def keypoints(batch: int, seed: int, count: int = 7) -> Keypoints:
    generator = torch.Generator().manual_seed(seed)
    positions = torch.rand(batch, count, 2, generator=generator) - 0.5
    return Keypoints(positions, torch.eye(2) + 0.2 * torch.randn(batch, count, 2, 2, generator=generator))


@pytest.mark.parametrize("adapt_scale", [False, True])
def test_an_unmoved_driver_leaves_the_source_as_it_is_but_for_its_size(adapt_scale: bool) -> None:
    source, driver = keypoints(1, 0), keypoints(1, 1)
    moved = RelativeMotion(source, driver, adapt_scale)(driver)
    torch.testing.assert_close(moved.positions, source.positions)
    torch.testing.assert_close(moved.affine, source.affine)


def test_relative_motion_follows_the_formula_frame_by_frame() -> None:
    source, driving, initial = keypoints(1, 0), keypoints(3, 1), keypoints(1, 2)
    moved = RelativeMotion(source, initial)(driving)
    assert source.affine is not None and driving.affine is not None and initial.affine is not None
    assert moved.affine is not None
    for i in range(3):
        torch.testing.assert_close(moved.positions[i], source.positions[0] + driving.positions[i] - initial.positions[0])
        # Written as a change of the driver, D = A_driving A_initial^-1, that is applied to the source.
        for k in range(7):
            change = torch.linalg.solve(initial.affine[0, k].T, driving.affine[i, k].T).T
            torch.testing.assert_close(moved.affine[i, k], change @ source.affine[0, k])


def test_several_portraits_keep_their_own_size_portrait_by_portrait() -> None:
    sources, driving, initial = keypoints(2, 0), keypoints(3, 1), keypoints(1, 2)
    assert sources.affine is not None
    together = RelativeMotion(sources, initial, adapt_scale=True)(driving)
    for number in range(2):
        source = Keypoints(sources.positions[number : number + 1], sources.affine[number : number + 1])
        alone = RelativeMotion(source, initial, adapt_scale=True)(driving)
        for one, other in zip(together, alone, strict=True):
            torch.testing.assert_close(one[3 * number : 3 * number + 3], other)  # type: ignore[index]


def test_of_several_initial_frames_the_first_counts() -> None:
    source, driving = keypoints(1, 0), keypoints(3, 1)
    first = Keypoints(driving.positions[:1], None if driving.affine is None else driving.affine[:1])
    moved, expected = (RelativeMotion(source, initial, adapt_scale=True)(driving) for initial in (driving, first))
    torch.testing.assert_close(moved.positions, expected.positions)
    torch.testing.assert_close(moved.affine, expected.affine)


def test_another_frame_may_count_as_the_portraits_pose() -> None:
    source, first, other, driving = (keypoints(1, seed) for seed in range(4))
    motion = RelativeMotion(source, first, adapt_scale=True)
    motion.begin_at(other)
    torch.testing.assert_close(motion(driving), RelativeMotion(source, other, adapt_scale=True)(driving), atol=0, rtol=0)


def test_scale_is_the_ratio_of_the_faces_sizes() -> None:
    initial, driving = keypoints(1, 0), keypoints(2, 1)
    source = Keypoints(initial.positions * 0.5 + 0.1, initial.affine)
    torch.testing.assert_close(motion_scale(source.positions, initial.positions).squeeze().item(), 0.5, atol=1e-5, rtol=0)
    moved = RelativeMotion(source, initial, adapt_scale=True)(driving)
    expected = source.positions + 0.5 * (driving.positions - initial.positions)
    torch.testing.assert_close(moved.positions, expected, atol=1e-5, rtol=0)


def test_flat_hulls_do_not_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    line = torch.linspace(-1, 1, 5)[None, :, None] * torch.tensor([0.9, 0.7])
    triangle = torch.rand(1, 5, 2, generator=generator)
    assert motion_scale(line, triangle).item() == motion_scale(triangle, line).item() == 1
    assert motion_scale(torch.zeros(1, 5, 2), triangle).item() == 1


def test_singular_maps_are_no_error() -> None:
    source, driving = keypoints(1, 0), keypoints(2, 1)
    for maps in (torch.zeros(1, 7, 2, 2), torch.ones(1, 7, 2, 2)):
        moved = RelativeMotion(source, Keypoints(driving.positions[:1], maps))(driving)
        assert moved.affine is not None and moved.affine.isfinite().all()


def test_nothing_waits_for_the_device() -> None:
    """Tensors without values cannot be looked at."""
    source, driving, initial = (Keypoints(*(x.to("meta") for x in keypoints(2, 0))) for _ in range(3))  # type: ignore[union-attr]
    moved = RelativeMotion(source, initial, adapt_scale=True)(driving)
    assert moved.positions.shape == (4, 7, 2) and moved.positions.is_meta


def test_hull_areas_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-0.5, 0.5, 4)), -1).reshape(16, 2)
    turn = np.array([[0.8, 0.6], [-0.6, 0.8]])
    sets = [rng.uniform(-1, 1, (16, 2)) for _ in range(20)]
    sets += [grid, grid @ turn, np.repeat(sets[0][:8], 2, 0), np.concatenate([sets[0][:3], np.repeat(sets[0][3:4], 13, 0)])]
    # Points on a circle, all of them corners; and nearly on one, beside their copies.
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    sets += [np.stack([np.cos(angles), np.sin(angles)], -1), np.round(np.stack([np.cos(angles), np.sin(angles)], -1), 1)]
    found = hull_areas(torch.from_numpy(np.stack(sets)))
    # scipy calls the area of a plane hull its volume.
    torch.testing.assert_close(found, torch.tensor([ConvexHull(s).volume for s in sets]), atol=1e-5, rtol=1e-5)


def test_hulls_of_too_few_points_are_empty() -> None:
    generator = torch.Generator().manual_seed(0)
    for count in (1, 2):
        assert hull_areas(torch.rand(3, count, 2, generator=generator)).abs().max() < 1e-6


def test_priors_without_affine_maps() -> None:
    source, driving, initial = (Keypoints(keypoints(1, seed).positions, None) for seed in range(3))
    moved = RelativeMotion(source, initial)(driving)
    assert moved.affine is None
    torch.testing.assert_close(moved.positions, source.positions + driving.positions - initial.positions)
