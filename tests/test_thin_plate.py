import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from torch import Tensor

from mrfa.network.background import BackgroundPredictor
from mrfa.network.coarse import dropped_softmax
from mrfa.network.config import ThinPlateDetectorConfig
from mrfa.network.geometry import CORNER_ALIGNED
from mrfa.network.keypoints import Keypoints
from mrfa.network.thin_plate import (
    ThinPlateDetector,
    evaluate_thin_plate,
    group_means,
    solve_thin_plate,
    thin_plate_part_flows,
)

FIVE = torch.tensor([[-0.6, -0.5], [0.7, -0.4], [0.1, 0.1], [-0.5, 0.6], [0.4, 0.8]])


def moved(points: Tensor, scale: float = 0.1, seed: int = 0) -> Tensor:
    return points + scale * torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))


def test_spline_meets_its_targets_where_nothing_is_regularised() -> None:
    control = torch.stack([FIVE, moved(FIVE, seed=1)])
    target = moved(control, 0.3)
    coefficients = solve_thin_plate(control, target, regularisation=0.0)
    assert torch.allclose(evaluate_thin_plate(coefficients, control, control), target, atol=1e-5)


def test_regularised_spline_comes_near_its_targets() -> None:
    target = moved(FIVE, 0.05)
    reached = evaluate_thin_plate(solve_thin_plate(FIVE, target), FIVE, FIVE)
    assert 1e-4 < (reached - target).abs().max() < 0.05


def test_spline_reproduces_an_affine_motion() -> None:
    linear, shift = torch.tensor([[1.1, 0.2], [-0.3, 0.9]]), torch.tensor([0.1, -0.2])
    coefficients = solve_thin_plate(FIVE, FIVE @ linear.T + shift, regularisation=0.0)
    positions = CORNER_ALIGNED.grid(9, 9, FIVE).view(-1, 2)
    expected = positions @ linear.T + shift
    assert torch.allclose(evaluate_thin_plate(coefficients, FIVE, positions), expected, atol=1e-5)


def test_coinciding_points_give_finite_values_and_gradients() -> None:
    control = torch.zeros(1, 5, 2, requires_grad=True)
    target = moved(torch.zeros(1, 5, 2)).requires_grad_()
    flows = thin_plate_part_flows(target, control, groups=1, size=(5, 5), conventions=CORNER_ALIGNED)
    flows.square().sum().backward()
    assert flows.isfinite().all()
    for points in (control, target):
        assert points.grad is not None and points.grad.isfinite().all() and points.grad.abs().max() > 0


def test_gradients_of_the_flows_are_right() -> None:
    source, driving = moved(FIVE)[None].requires_grad_(), FIVE[None].clone().requires_grad_()
    weights = torch.randn(1, 1, 6, 4, 2, generator=torch.Generator().manual_seed(2))

    def value(source: Tensor, driving: Tensor) -> Tensor:
        return (thin_plate_part_flows(source, driving, groups=1, size=(6, 4), conventions=CORNER_ALIGNED) * weights).sum()

    value(source, driving).backward()
    step = moved(torch.zeros(1, 5, 2), 2e-3, seed=3)
    for position, points in enumerate((source, driving)):
        shift = [torch.zeros_like(step), torch.zeros_like(step)]
        shift[position] = step
        ahead = value(source + shift[0], driving + shift[1])
        behind = value(source - shift[0], driving - shift[1])
        assert points.grad is not None
        assert ((ahead - behind) / 2).item() == pytest.approx((points.grad * step).sum().item(), rel=0.02)


def test_part_flows_of_equal_keypoints_are_nearly_the_identity() -> None:
    points = torch.cat([FIVE, moved(FIVE)])[None]
    flows = thin_plate_part_flows(points, points, groups=2, size=(8, 6), conventions=CORNER_ALIGNED, regularisation=1e-6)
    assert flows.shape == (1, 2, 8, 6, 2)
    assert torch.allclose(flows, CORNER_ALIGNED.grid(8, 6, points).expand_as(flows), atol=1e-4)


def test_part_flows_stay_with_their_groups_and_pictures() -> None:
    driving = torch.stack([torch.cat([FIVE, moved(FIVE)]), torch.cat([moved(FIVE, seed=4), FIVE])])
    source = moved(driving, seed=5)
    flows = thin_plate_part_flows(source, driving, groups=2, size=(6, 6), conventions=CORNER_ALIGNED)
    alone = thin_plate_part_flows(source[1:, 5:], driving[1:, 5:], groups=1, size=(6, 6), conventions=CORNER_ALIGNED)
    assert torch.allclose(flows[1, 1], alone[0, 0], atol=1e-5)


def detector(**settings: int) -> ThinPlateDetector:
    torch.manual_seed(0)
    return ThinPlateDetector(ThinPlateDetectorConfig(**settings), CORNER_ALIGNED).eval()


def test_background_stands_still_or_moves_as_told() -> None:
    keypoints = Keypoints(FIVE[None].repeat(2, 1, 1), None)
    affine = torch.eye(3).repeat(2, 1, 1)
    affine[:, 0, 2] = 0.25
    prior = detector(groups=1, points=5, width=16)
    still, moving = (prior.part_flows(keypoints, keypoints, (4, 6), background) for background in (None, affine))
    grid = CORNER_ALIGNED.grid(4, 6, still).expand(2, -1, -1, -1)
    assert torch.equal(still[:, 0], grid)
    assert torch.allclose(moving[:, 0], grid + torch.tensor([0.25, 0.0]))
    assert torch.equal(still[:, 1], moving[:, 1])


def test_flows_stay_exact_in_mixed_precision() -> None:
    source = moved(FIVE)[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = thin_plate_part_flows(source, FIVE[None], groups=1, size=(16, 16), conventions=CORNER_ALIGNED)
    exact = thin_plate_part_flows(source, FIVE[None], groups=1, size=(16, 16), conventions=CORNER_ALIGNED)
    assert torch.equal(mixed, exact)


def test_group_means() -> None:
    positions = torch.tensor([[[0.0, 1.0], [0.5, 0.0], [-1.0, -1.0], [1.0, 0.0]]])
    assert torch.equal(group_means(positions, 2), torch.tensor([[[0.25, 0.5], [0.0, -0.5]]]))


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_detector_sees_each_picture_alone_at_any_size(size: tuple[int, int]) -> None:
    prior = detector(groups=3, points=4, width=16)
    images = torch.rand(2, 3, *size)
    keypoints = prior(images)
    assert keypoints.positions.shape == (2, 12, 2)
    assert keypoints.affine is None
    assert keypoints.positions.abs().max() < 1
    assert torch.allclose(prior(images[1:]).positions, keypoints.positions[1:], atol=1e-5)


def test_dropped_parts_are_exactly_zero_and_the_rest_sums_to_one() -> None:
    torch.manual_seed(0)
    logits = torch.randn(64, 11, 3, 3)
    mask = dropped_softmax(logits, 0.3)
    assert torch.allclose(mask.sum(1), torch.ones(64, 3, 3), atol=1e-5)
    assert (mask[:, 0] > 0).all()
    gone = (mask[:, 1:] == 0).flatten(2)
    assert torch.equal(gone.all(2), gone.any(2))  # a part goes from the whole picture
    assert gone.all(2).float().mean().item() == pytest.approx(0.3, abs=0.06)


def test_dropout_never_drops_everything() -> None:
    torch.manual_seed(0)
    logits = torch.randn(32, 4, 2, 2, requires_grad=True)
    mask = dropped_softmax(logits, 0.99)
    mask.square().sum().backward()
    assert torch.allclose(mask.sum(1), torch.ones(32, 2, 2), atol=1e-5)
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_dropout_keeps_the_mean_weight_of_the_parts() -> None:
    """Without the compensation the background would gain what the dropped parts lose."""
    torch.manual_seed(0)
    logits = torch.zeros(2000, 31, 1, 1)
    assert dropped_softmax(logits, 0.3)[:, 0].mean().item() == pytest.approx(1 / 31, rel=0.05)


def test_no_dropout_is_the_plain_softmax() -> None:
    logits = torch.randn(2, 5, 4, 4)
    assert torch.equal(dropped_softmax(logits, 0.0), torch.softmax(logits, dim=1))


@pytest.mark.parametrize("probability", [-0.1, 1.0])
def test_impossible_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="dropout probability"):
        dropped_softmax(torch.zeros(1, 2, 1, 1), probability)


@pytest.fixture(scope="module")
def reference() -> Path:
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip("the numerical reference does not lie beside this checkout")
    return folder


@pytest.fixture(scope="module")
def fill(reference: Path) -> Any:
    return runpy.run_path(str(reference / "fill.py"))


@pytest.fixture(scope="module")
def detect(reference: Path, fill: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The detector with the reference's weights, from a picture `[H, W, 3]` to keypoints `[50, 2]`."""
    manifest = json.loads((reference / "manifest_tpsm.json").read_text())
    filled = fill["fill_manifest"](manifest, "public-A2", groups=("encoder",))
    prior = detector()
    shapes = {
        entry["name"].removeprefix("module.encoder.fg_encoder."): tuple(entry["shape"])
        for entry in manifest["entries"]
        if entry["group"] == "encoder"
    }
    assert shapes == {name: tuple(value.shape) for name, value in prior.trunk.state_dict().items()}
    weights = {name.removeprefix("module.encoder.fg_encoder."): torch.from_numpy(value) for name, value in filled.items()}
    rest = prior.trunk.load_state_dict(weights, strict=False)
    assert not rest.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in rest.missing_keys)

    def run(image: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return prior(torch.from_numpy(fill["to_tensor_array"](image))).positions[0].numpy()

    return run


def test_keypoints_are_the_published_networks(reference: Path, fill: Any, detect: Callable[[np.ndarray], np.ndarray]) -> None:
    expected = np.load(reference / "expected_tpsm.npz")
    source, driving, initial = (detect(image) for image in fill["images"](1))
    found = {
        "syn/kp_source": source,
        "syn/kp_driving": driving,
        "prior/kp_source": source,
        "prior/kp_driving": driving,
        "rel/kp_initial": initial,
        "real/kp_source": detect(expected["face_source"]),
        "real/kp_driving": detect(expected["face_driving"]),
    }
    for name, positions in found.items():
        assert np.abs(positions - expected[name]).max() <= 1e-5, name


@pytest.mark.parametrize("case", ["syn", "rel", "prior", "real"])
def test_composed_part_flows_are_the_published_networks(reference: Path, case: str) -> None:
    expected = np.load(reference / "expected_tpsm.npz")
    source, driving = (torch.from_numpy(expected[f"{case}/kp_{role}"])[None] for role in ("source", "driving"))
    flows = thin_plate_part_flows(source, driving, groups=10, size=(64, 64), conventions=CORNER_ALIGNED)
    flows = torch.cat([CORNER_ALIGNED.grid(64, 64, flows)[None, None], flows], dim=1)
    mask = torch.from_numpy(expected[f"{case}/mask"])
    composed = (mask[..., None] * flows[0, :, ::2, ::2]).sum(0)
    assert np.abs(composed.numpy() - expected[f"{case}/deformation"][::2, ::2]).max() <= 5e-5


def test_names_of_the_background_predictor_are_the_published_ones(reference: Path) -> None:
    manifest = json.loads((reference / "manifest_tpsm.json").read_text())
    shapes = {
        entry["name"].removeprefix("module.bg_predictor.bg_encoder."): tuple(entry["shape"])
        for entry in manifest["bg_predictor_entries"]
    }
    assert shapes == {name: tuple(value.shape) for name, value in BackgroundPredictor().trunk.state_dict().items()}
