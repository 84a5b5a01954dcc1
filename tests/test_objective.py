from pathlib import Path

import pytest
import torch

from mrfa.backbones import FeatureLayers, feature_layers
from mrfa.data.guidance import GROUP_INDEX, MIRRORED_GROUPS
from mrfa.errors import InputError
from mrfa.network.geometry import CORNER_ALIGNED
from mrfa.network.model import Network
from mrfa.training.adversarial import PatchDiscriminator
from mrfa.training.augmentation import Pair, augment, plain
from mrfa.training.config import AugmentationConfig, Config, ObjectiveConfig
from mrfa.training.guidance import SURROUND, guidance_loss, opening_loss, surround_loss, surround_places
from mrfa.training.importance import face_weights, region_weights
from mrfa.training.objective import Objective
from mrfa.training.pairs import PairBatch
from mrfa.training.perceptual import load_perceptual_loss
from mrfa.training.pyramid_loss import pyramid_loss
from mrfa.training.sharpness_loss import sharpness_loss

GROUPS = len(GROUP_INDEX)


def _batch(size: int = 64, count: int = 2) -> PairBatch:
    return {
        "source": torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8),
        "driving": torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8),
        "source_groups": torch.rand(count, GROUPS, 2) - 0.5,
        "driving_groups": torch.rand(count, GROUPS, 2) - 0.5,
        "found": torch.ones(count, dtype=torch.bool),
    }


def test_pyramid_loss_is_zero_for_equal_pictures_only() -> None:
    image, weight = torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    assert float(pyramid_loss(image, image, weight)) == pytest.approx(0, abs=1e-5)
    assert float(pyramid_loss(image, image.roll(1, -1), weight)) > 0.1


def test_pyramid_loss_weighs_pixels() -> None:
    image = torch.rand(1, 3, 64, 64)
    other = image.clone()
    other[..., :32, :] = torch.rand(1, 3, 32, 64)
    here = torch.ones(1, 1, 64, 64)
    elsewhere = here.clone()
    elsewhere[..., :32, :] = 0.1
    assert pyramid_loss(image, other, elsewhere) < pyramid_loss(image, other, here)


def test_guidance_counts_frames_with_a_face_alone() -> None:
    groups = torch.rand(2, GROUPS, 2)
    positions = torch.cat([groups + 0.1, torch.rand(2, 4, 2)], dim=1)
    positions[1] = 5
    assert float(guidance_loss(positions, groups, torch.tensor([True, False]))) == pytest.approx(0.1, abs=1e-5)
    assert float(guidance_loss(positions, groups, torch.tensor([False, False]))) == 0


def test_surround_loss_draws_free_keypoints_near_places_around_the_face() -> None:
    groups = torch.zeros(1, len(GROUP_INDEX), 2)
    groups[:, GROUP_INDEX["forehead"]] = torch.tensor([0.1, -0.3])
    groups[:, GROUP_INDEX["chin"]] = torch.tensor([0.1, 0.3])
    found = torch.tensor([True])
    places = surround_places(groups)
    assert places[0, 0].tolist() == pytest.approx([0.1, -0.48])  # the crown: 0.8 face heights above the middle
    assert (places[0, 7] > places[0, 6])[0]  # the picture's right is the face's left
    positions = torch.cat([groups, places], dim=1)
    assert float(surround_loss(positions, groups, found)) == 0
    near = torch.cat([groups, places + torch.tensor([0.0, 0.1])], dim=1)
    assert float(surround_loss(near, groups, found)) == 0
    far = torch.cat([groups, places + torch.tensor([0.0, 0.3])], dim=1)
    assert float(surround_loss(far, groups, found)) == pytest.approx(0.3 - 0.2 * 0.6, abs=1e-5)
    assert float(surround_loss(far, groups, torch.tensor([False]))) == 0
    assert float(surround_loss(far[:, : -len(SURROUND)], groups, found)) == 0


def test_opening_loss_sees_distances_alone() -> None:
    groups = torch.rand(1, GROUPS, 2)
    found = torch.tensor([True])
    assert float(opening_loss(groups + 0.3, groups, found)) == pytest.approx(0, abs=1e-6)
    closed = groups.clone()
    closed[0, GROUP_INDEX["right_upper_lid"], 1] += 0.8
    assert float(opening_loss(closed, groups, found)) == pytest.approx(0.1, abs=1e-5)


def test_regions_lie_around_the_eyes() -> None:
    groups = torch.zeros(1, GROUPS, 2)
    groups[0, GROUP_INDEX["right_eye_outer"]] = torch.tensor([-0.7, -0.5])
    groups[0, GROUP_INDEX["right_eye_inner"]] = torch.tensor([-0.3, -0.5])
    weights = region_weights(groups, torch.tensor([True]), (65, 65), 4)
    assert float(weights[0, 0, 16, 16]) == pytest.approx(4, abs=0.1)
    assert float(weights[0, 0, 60, 60]) == pytest.approx(1, abs=0.01)
    assert torch.equal(region_weights(groups, torch.tensor([False]), (65, 65), 4), torch.ones(1, 1, 65, 65))


def test_mirrored_groups_are_an_involution() -> None:
    assert [MIRRORED_GROUPS[i] for i in MIRRORED_GROUPS] == list(range(GROUPS))
    assert MIRRORED_GROUPS[GROUP_INDEX["left_iris"]] == GROUP_INDEX["right_iris"]
    assert MIRRORED_GROUPS[GROUP_INDEX["chin"]] == GROUP_INDEX["chin"]


def test_augmentation_moves_landmarks_with_the_picture() -> None:
    torch.manual_seed(3)
    count, size = 8, 97
    groups = torch.zeros(count, GROUPS, 2)
    nose = GROUP_INDEX["nose_tip"]
    groups[:, nose] = (torch.rand(count, 2) - 0.5) * 0.8
    spots = CORNER_ALIGNED.heatmaps(groups[:, nose : nose + 1], (size, size), 0.004).expand(-1, 3, -1, -1)
    pictures = (spots * 255).to(torch.uint8)
    batch: PairBatch = {
        "source": pictures,
        "driving": pictures,
        "source_groups": groups,
        "driving_groups": groups,
        "found": torch.ones(count, dtype=torch.bool),
    }
    config = AugmentationConfig(colour_jitter=0, rotation=20, scale=0.15, shift=0.05, bend=0.03)
    pair = augment(batch, config)
    grid = CORNER_ALIGNED.grid(size, size, spots)
    weight = pair.driving.mean(1).clamp_min(0.05) - 0.05
    centre = (weight[..., None] * grid).sum((1, 2)) / weight.sum((1, 2))[:, None]
    assert torch.allclose(centre, pair.driving_groups[:, nose], atol=0.03)


def test_no_augmentation_changes_nothing() -> None:
    batch = _batch()
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0)
    got, expected = augment(batch, config), plain(batch)
    assert torch.allclose(got.source, expected.source, atol=1e-5)
    assert torch.equal(got.driving_groups, expected.driving_groups)


def test_objective_has_its_parts(tiny_config: Config, tiny_network: Network) -> None:
    objective = Objective(tiny_config.training.objective)
    pair = plain(_batch())
    losses = objective(tiny_network, pair, tiny_network(pair.source, pair.driving), 0)
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


def test_discriminator_and_generator_learn_apart() -> None:
    discriminator = PatchDiscriminator()
    generated = torch.rand(1, 3, 64, 64, requires_grad=True)
    losses = discriminator.losses(generated, torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))
    losses.generator.backward(retain_graph=True)
    assert generated.grad is not None
    assert all(p.grad is None for p in discriminator.parameters())
    generated.grad = None
    losses.discriminator.backward()
    assert generated.grad is None
    assert all(p.grad is not None for p in discriminator.parameters())


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's names and shapes, random values."""
    layers = feature_layers("vgg19")
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in layers.state_dict().items()}, path)
    return path


def test_perceptual_loss_reads_torchvisions_format(vgg_file: Path) -> None:
    loss = load_perceptual_loss(str(vgg_file))
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    assert float(loss(image, image)) == 0
    value = loss(image, torch.rand(1, 3, 32, 32))
    value.backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0
    assert [f.shape[1] for f in loss.features(image)] == [64, 128, 256, 512, 512]


def test_perceptual_loss_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no weights at .*missing\.pth"):
        load_perceptual_loss(str(tmp_path / "missing.pth"))
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a weights file"):
        load_perceptual_loss(str(tmp_path / "bad.pth"))
    with pytest.raises(InputError, match="lack features"):
        FeatureLayers("vgg19", {})


def test_paper_objective_has_no_extras(vgg_file: Path, tiny_network: Network) -> None:
    objective = Objective(ObjectiveConfig(vgg_weights=str(vgg_file)))
    pair = Pair(*(t[:1] for t in plain(_batch())))
    losses = objective(tiny_network, pair, tiny_network(pair.source, pair.driving), 0)
    assert set(losses.parts) == {"image", "equivariance", "affine_equivariance"}


def test_face_weights_are_one_on_the_face_and_low_away_from_it() -> None:
    groups = torch.from_numpy(_batch()["driving_groups"].numpy())
    weights = face_weights(groups, torch.ones(len(groups), dtype=torch.bool), (64, 64), 0.1)
    assert weights.shape == (len(groups), 1, 64, 64)
    assert float(weights.max()) == pytest.approx(1, abs=0.02) and float(weights.min()) >= 0.1 - 1e-6
    none = face_weights(groups, torch.zeros(len(groups), dtype=torch.bool), (64, 64), 0.1)
    assert torch.allclose(none, torch.full_like(none, 0.1))


def test_discriminator_looks_where_the_weight_is() -> None:
    torch.manual_seed(0)
    discriminator = PatchDiscriminator().eval()
    real = torch.rand(1, 3, 128, 128)
    generated = real.clone()
    generated[..., :64] = 0
    right = torch.zeros(1, 1, 128, 128)
    right[..., 112:] = 1
    everywhere = discriminator.losses(generated, real, torch.ones_like(right)).features
    assert float(discriminator.losses(generated, real, right).features) < 0.1 * float(everywhere)


def test_pixel_weight_adds_plain_l1() -> None:
    image, target, weight = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    more = pyramid_loss(image, target, weight, 3.0) - pyramid_loss(image, target, weight, 1.0)
    assert float(more) == pytest.approx(2 * float((image - target).abs().mean()), rel=1e-4)


def test_sharpness_loss_asks_for_a_share_and_no_more() -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 3, 32, 32)
    weight = torch.ones(2, 1, 32, 32)
    assert float(sharpness_loss(target, target, weight, 0.8)) == 0
    # Half the contrast has a quarter of the energy.
    soft = target / 2
    assert float(sharpness_loss(soft, target, weight, 0.8)) == pytest.approx(0.55, abs=1e-4)
    assert float(sharpness_loss(soft, target, torch.zeros_like(weight), 0.8)) == 0
    weight[1] = 0
    assert float(sharpness_loss(soft, target, weight, 0.8)) == pytest.approx(0.275, abs=1e-4)
