"""The objective: which passes a configuration needs, which losses it has, and how they are put together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_preset
from torch import Tensor

from mrfa.backbones import feature_layers
from mrfa.data.guidance import GROUPS
from mrfa.network.config import NetworkConfig
from mrfa.network.geometry import HALF_PIXEL
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair
from mrfa.training.config import Config, ObjectiveConfig
from mrfa.training.losses.adversarial import Discriminators, discriminator_loss, feature_matching_loss, generator_loss
from mrfa.training.losses.equivariance import background_loss, equivariance_loss
from mrfa.training.losses.image import pyramid_loss, warp_loss
from mrfa.training.losses.keypoints import consistency_loss
from mrfa.training.losses.regions import face_weights, region_weights
from mrfa.training.objective import Losses, Objective
from mrfa.training.passes import all_passes, detector_passes, frozen_keypoints

BARE = {"image": "pyramid", "equivariance_weight": 0, "affine_equivariance_weight": 0}


def _pair(count: int = 2, size: int = 64) -> Pair:
    images, groups = torch.rand(2, count, 3, size, size), torch.rand(2, count, GROUPS, 2) - 0.5
    known, nowhere = torch.ones(count, dtype=torch.bool), torch.zeros_like(images[0][:, :1])
    return Pair(images[0], images[1], images[1], groups[0], groups[1], known, nowhere)


def _all(network: Network, config: ObjectiveConfig, pair: Pair, step: int = 0) -> Losses:
    discriminators = Discriminators() if config.adversarial.weight else None
    return Objective(config)(all_passes(network, discriminators, pair, config), step)


def _config(**settings: Any) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate(BARE | settings)


class _CountingNetwork:
    """Stands for a network whose detector finds the bright spot of each channel; it keeps the pictures that it saw."""

    conventions = HALF_PIXEL
    config = NetworkConfig()

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def detect(self, image: Tensor) -> Keypoints:
        self.seen.append(image)
        grid = HALF_PIXEL.grid(image.shape[2], image.shape[3], image)
        return Keypoints((image[..., None] * grid).sum((2, 3)) / image[..., None].sum((2, 3)), None)


def test_the_detector_sees_the_transformed_driving_picture() -> None:
    torch.manual_seed(0)
    positions = (torch.rand(2, 4, 3, 2) - 0.5) * 0.8
    spots = [HALF_PIXEL.heatmaps(each, (64, 64), 0.004) for each in positions]
    network: Any = _CountingNetwork()
    groups = torch.zeros(4, GROUPS, 2)
    pair = Pair(spots[0], spots[1], spots[1], groups, groups, torch.zeros(4, dtype=torch.bool), torch.zeros_like(spots[0][:, :1]))
    outputs = detector_passes(network, pair, ObjectiveConfig(image="pyramid"))
    assert outputs.transform is not None and outputs.transformed is not None and len(network.seen) == 2
    assert (network.seen[1] - pair.driving).abs().max() > 0.1
    torch.testing.assert_close(network.seen[1], outputs.transform.image(pair.driving))
    driving = Keypoints(outputs.keypoints.positions[4:], None)
    assert float(equivariance_loss(driving, outputs.transformed, outputs.transform)) < 0.003
    config = _config(equivariance_weight=1.0)
    assert float(Objective(config)(outputs, 0).parts["equivariance"]) < 0.003


def test_objective_has_its_parts(tiny_config: Config, tiny_network: Network) -> None:
    losses = _all(tiny_network, tiny_config.training.objective, _pair())
    assert set(losses.parts) == {
        "image",
        "warp",
        "consistency",
        "equivariance",
        "affine_equivariance",
        "guidance",
        "opening",
        "surround",
    }
    assert float(losses.total.detach()) == pytest.approx(sum(float(v.detach()) for v in losses.parts.values()), rel=1e-5)


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's names and shapes, random values."""
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in feature_layers("vgg19").state_dict().items()}, path)
    return path


def test_paper_objective_has_no_extras(vgg_file: Path, tiny_network: Network) -> None:
    losses = _all(tiny_network, ObjectiveConfig(vgg_weights=str(vgg_file)), _pair(1))
    assert set(losses.parts) == {"image", "equivariance", "affine_equivariance"}


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("image_weight", {}),
        ("perceptual_weight", {}),
        ("coarse_image_weight", {}),
        ("consistency_weight", {}),
        ("equivariance_weight", {}),
        ("affine_equivariance_weight", {}),
        ("guidance.weight", {}),
        ("guidance.opening_weight", {"guidance.weight": 1e-9}),
        ("guidance.surround_weight", {"guidance.weight": 1e-9}),
        ("adversarial.weight", {"adversarial.warmup_steps": 0}),
        ("adversarial.feature_weight", {"adversarial.warmup_steps": 0, "adversarial.weight": 1e-9}),
    ],
)
def test_each_weight_scales_its_part(key: str, others: dict[str, float], tiny_network: Network, efficientnet_file: Path) -> None:
    """And each loss that is asked for is there and reaches the network."""
    pair = _pair()

    def losses(weight: float) -> Losses:
        torch.manual_seed(0)
        settings = {"image_weight": 1e-9, "efficientnet_weights": str(efficientnet_file)} | others | {key: weight}
        return _all(tiny_network, _config(**_nested(settings)), pair)

    once, thrice = losses(1), losses(3)
    ratios = {name: float(thrice.parts[name].detach() / once.parts[name].detach()) for name in once.parts}
    (scaled,) = [name for name, ratio in ratios.items() if ratio == pytest.approx(3, rel=1e-3)]
    assert all(ratio == pytest.approx(1, rel=1e-3) for name, ratio in ratios.items() if name != scaled)
    assert float(thrice.total.detach()) == pytest.approx(sum(float(part.detach()) for part in thrice.parts.values()), rel=1e-4)
    once.parts[scaled].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in tiny_network.parameters())


def _nested(dotted: dict[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` to `{"a": {"b": 1}}`."""
    nested: dict[str, Any] = {}
    for key, value in dotted.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def test_passes_that_no_loss_needs_are_left_out(tiny_network: Network) -> None:
    outputs = all_passes(tiny_network, None, _pair(), _config())
    assert outputs.transform is None and outputs.transformed is None
    assert outputs.found is None and outputs.judgements is None and outputs.background_back is None


def test_the_detector_looks_at_a_share_of_the_pairs_again(tiny_network: Network) -> None:
    pair = _pair(4)
    settings = {"equivariance_weight": 1.0, "affine_equivariance_weight": 1.0, "consistency_weight": 1.0, "detector_share": 0.3}
    config = _config(**settings)
    outputs = all_passes(tiny_network, None, pair, config)
    assert outputs.transform is not None and outputs.transformed is not None and outputs.found is not None
    assert len(outputs.transform.theta) == len(outputs.transformed.positions) == len(outputs.found) == 2
    positions = outputs.keypoints.positions[4:6]
    parts = Objective(config)(outputs, 0).parts
    torch.testing.assert_close(parts["consistency"], consistency_loss(outputs.found, positions))
    expected = equivariance_loss(Keypoints(positions, None), outputs.transformed, outputs.transform)
    torch.testing.assert_close(parts["equivariance"], expected)


def test_regions_weigh_in_the_image_loss(tiny_network: Network) -> None:
    pair = _pair()
    config = _config(image_weight=2.0, pixel_weight=3.0, guidance={"region_weight": 6.0})
    outputs = all_passes(tiny_network, None, pair, config)
    assert outputs.output is not None
    weight = region_weights(pair.driving_groups, pair.found, (64, 64), 6.0)
    expected = 2 * pyramid_loss(outputs.output.image, pair.driving, weight, 3.0)
    got = Objective(config)(outputs, 0).parts["image"]
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got, 2 * pyramid_loss(outputs.output.image, pair.driving, torch.ones_like(weight), 3.0))


def test_places_that_a_person_left_weigh_in_the_image_loss(tiny_network: Network) -> None:
    pair = _pair()
    pair = pair._replace(uncovered=torch.rand_like(pair.uncovered))
    outputs = all_passes(tiny_network, None, pair, _config(uncovered_weight=4.0))
    assert outputs.output is not None
    expected = pyramid_loss(outputs.output.image, pair.driving, 1 + 3 * pair.uncovered, 1.0)
    torch.testing.assert_close(Objective(_config(image_weight=1.0, uncovered_weight=4.0))(outputs, 0).parts["image"], expected)


def test_warped_source_is_compared_with_the_driving_picture(tiny_network: Network) -> None:
    pair, config = _pair(), _config(coarse_image_weight=2.0, guidance={"region_weight": 6.0})
    outputs = all_passes(tiny_network, None, pair, config)
    assert outputs.output is not None
    output, conventions = outputs.output, outputs.conventions
    weight = region_weights(pair.driving_groups, pair.found, (64, 64), 6.0)
    expected = 2 * warp_loss(output, pair.source, pair.driving, weight, conventions)
    torch.testing.assert_close(Objective(config)(outputs, 0).parts["warp"], expected)
    # With flows that stand still, equal pictures have no loss.
    still = conventions.grid(64, 64, pair.source).expand(2, 64, 64, 2)
    coarse = output.coarse._replace(flow=conventions.grid(16, 16, pair.source).expand(2, 16, 16, 2))
    output = output._replace(coarse=coarse, motion=output.motion._replace(flows=[still]))
    assert float(warp_loss(output, pair.driving, pair.driving, weight, conventions)) == pytest.approx(0, abs=1e-5)
    assert float(warp_loss(output, pair.source, pair.driving, weight, conventions)) > 0.05
    # Each finer flow counts as much as the coarse one.
    moved = output._replace(motion=output.motion._replace(flows=[still, still.flip(1)]))
    error = (pair.driving.flip(2) - pair.driving).abs().mean()
    everywhere = torch.ones_like(weight)
    visible = moved._replace(coarse=coarse._replace(occlusion=torch.full((2, 1, 16, 16), 20.0)))
    assert float(warp_loss(visible, pair.driving, pair.driving, everywhere, conventions)) == pytest.approx(
        float(error) / 3, rel=1e-3
    )


def test_what_is_hidden_in_the_source_counts_for_little(tiny_network: Network) -> None:
    pair = _pair()
    outputs = all_passes(tiny_network, None, pair, _config())
    assert outputs.output is not None
    conventions, occlusion = outputs.conventions, torch.full((2, 1, 16, 16), 20.0)
    occlusion[..., 8:] = -20
    flow = conventions.grid(16, 16, pair.source).expand(2, 16, 16, 2)
    coarse = outputs.output.coarse._replace(flow=flow, occlusion=occlusion)
    output = outputs.output._replace(coarse=coarse, motion=outputs.output.motion._replace(flows=[]))
    target = torch.zeros(2, 3, 64, 64)
    target[..., 32:] = 1
    # The right half is wrong by 1 and weighs 0.2.
    loss = warp_loss(output, torch.zeros_like(target), target, torch.ones(2, 1, 64, 64), conventions)
    assert float(loss) == pytest.approx(0.2 / 1.2, rel=1e-4)


def test_the_face_weighs_in_adversarial_losses(tiny_network: Network) -> None:
    pair = _pair()
    adversarial = {"weight": 3.0, "feature_weight": 4.0, "away_weight": 0.1, "warmup_steps": 0}
    config = _config(adversarial=adversarial)
    outputs = all_passes(tiny_network, Discriminators(), pair, config)
    assert outputs.output is not None and outputs.judgements is not None
    near = face_weights(pair.driving_groups, pair.found, (64, 64), 0.1)
    parts = Objective(config)(outputs, 0).parts
    torch.testing.assert_close(parts["adversarial"], 3 * generator_loss(outputs.judgements, near))
    torch.testing.assert_close(parts["feature_matching"], 4 * feature_matching_loss(outputs.judgements, near))
    torch.testing.assert_close(parts["discriminator"], discriminator_loss(outputs.judgements, near))


def test_guidance_knows_source_from_driving_groups(tiny_network: Network) -> None:
    pair, config = _pair(), _config(guidance={"weight": 1.0})
    outputs = all_passes(tiny_network, None, pair, config)
    both = torch.cat([pair.source_groups, pair.driving_groups])
    torch.testing.assert_close(outputs.groups, tiny_network.conventions.from_half_pixel(both, (64, 64)))
    torch.testing.assert_close(outputs.keypoints.positions[:2], tiny_network.detect(pair.source).positions)
    torch.testing.assert_close(outputs.keypoints.positions[2:], tiny_network.detect(pair.driving).positions)


def test_adversarial_loss_waits_until_the_discriminator_has_learned(tiny_network: Network) -> None:
    config = _config(adversarial={"weight": 1.0, "feature_weight": 1.0, "warmup_steps": 5})
    assert set(_all(tiny_network, config, _pair(), 4).parts) == {"image", "discriminator"}
    assert set(_all(tiny_network, config, _pair(), 5).parts) == {"image", "discriminator", "adversarial", "feature_matching"}


def test_landmarks_are_needed_by_every_loss_that_looks_at_the_face() -> None:
    assert not _config(consistency_weight=1.0, adversarial={"weight": 1.0}).needs_landmarks
    assert not _config(guidance={"detector_steps": 9, "opening_weight": 1.0}).needs_landmarks
    assert _config(adversarial={"weight": 1.0, "away_weight": 0.5}).needs_landmarks
    assert not _config(adversarial={"away_weight": 0.5}).needs_landmarks
    assert _config(guidance={"weight": 1.0}).needs_landmarks
    assert _config(guidance={"region_weight": 2.0}).needs_landmarks


def test_background_loss_wants_inverse_maps() -> None:
    torch.manual_seed(0)
    network, pair = Network(tiny_preset("celebvhq-affine").network), _pair()
    assert network.background is not None
    config = ObjectiveConfig(image="pyramid", background_weight=7.0)
    assert _all(network, config, pair).parts["background"].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        network.background.trunk.fc.bias[2] = 0.5
    # The shift is there twice, at one of nine entries.
    assert _all(network, config, pair).parts["background"].item() == pytest.approx(7 * 1.0 / 9, rel=1e-4)
    with torch.no_grad():
        network.background.trunk.fc.weight.normal_(std=0.1)
    there, back = network.background(pair.source, pair.driving), network.background(pair.driving, pair.source)
    outputs = all_passes(network, None, pair, config)
    torch.testing.assert_close(outputs.background_back, back)
    torch.testing.assert_close(Objective(config)(outputs, 0).parts["background"], 7 * background_loss(there, back))


def test_frozen_detector_teaches_the_picture_and_learns_nothing(tiny_network: Network) -> None:
    detector = tiny_network.train().detector
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    frozen_keypoints(tiny_network, image).sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_frozen_detector_finds_what_the_detector_finds(tiny_network: Network) -> None:
    image = torch.rand(2, 3, 64, 64)
    assert torch.allclose(frozen_keypoints(tiny_network, image), tiny_network.detect(image).positions, atol=1e-6)


def test_consistency_compares_with_the_driving_frame(tiny_network: Network) -> None:
    pair, config = _pair(), _config(consistency_weight=1.0)
    outputs = all_passes(tiny_network, None, pair, config)
    assert outputs.output is not None
    found = frozen_keypoints(tiny_network, pair.driving)
    assert float(Objective(config)(outputs._replace(found=found), 0).parts["consistency"]) < 1e-5
    other = frozen_keypoints(tiny_network, pair.source)
    assert float(Objective(config)(outputs._replace(found=other), 0).parts["consistency"]) > 1e-4
