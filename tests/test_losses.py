"""The losses one by one: what each measures, and who learns from it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mrfa.backbones import FeatureLayers, feature_layers
from mrfa.data.guidance import GROUP_INDEX, GROUPS
from mrfa.errors import InputError
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.keypoints import Keypoints
from mrfa.training.losses.adversarial import (
    Discriminators,
    Judgement,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from mrfa.training.losses.equivariance import RandomTransform, affine_equivariance_loss, background_loss, equivariance_loss
from mrfa.training.losses.image import pyramid_loss
from mrfa.training.losses.keypoints import (
    SURROUND,
    consistency_loss,
    guidance_loss,
    opening_loss,
    surround_loss,
    surround_places,
)
from mrfa.training.losses.perceptual import PerceptualLoss, load_perceptual_loss
from mrfa.training.losses.regions import face_weights, region_weights


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


def test_pixel_weight_adds_plain_l1() -> None:
    image, target, weight = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    more = pyramid_loss(image, target, weight, 3.0) - pyramid_loss(image, target, weight, 1.0)
    assert float(more) == pytest.approx(2 * float((image - target).abs().mean()), rel=1e-4)


def test_pyramid_loss_of_one_colour_is_its_l1_twice_and_its_similarity() -> None:
    """No band sees a constant difference; plain L1 and the pyramid's top do, and so does structural similarity."""
    image, weight = torch.full((1, 3, 32, 32), 0.2), torch.ones(1, 1, 32, 32)
    similarity = (2 * 0.2 * 0.6 + 0.01**2) / (0.2**2 + 0.6**2 + 0.01**2)
    expected = 3 * 0.4 + 0.15 * (1 - similarity) + 0.4
    assert float(pyramid_loss(image, image + 0.4, weight, 3.0)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("period", "value"), [(2, 0.1), (4, 0.2856), (8, 0.3074), (16, 0.2945), (32, 0.2226)])
def test_bands_of_the_pyramid_see_stripes_of_every_width(period: int, value: float) -> None:
    """Recorded: the finest stripes lie in one band, wider ones in several; plain L1 is 0.1 for all of them."""
    image, weight = torch.full((1, 3, 64, 64), 0.5), torch.ones(1, 1, 64, 64)
    stripes = 0.1 * torch.where(torch.arange(64) % period < period // 2, 1.0, -1.0)
    assert float(pyramid_loss(image + stripes, image, weight, 0.0)) == pytest.approx(value, abs=1e-3)


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


def test_regions_lie_around_eyes_and_mouth() -> None:
    groups = torch.zeros(1, GROUPS, 2)
    groups[0, GROUP_INDEX["right_eye_outer"]] = torch.tensor([-0.7, -0.5])
    groups[0, GROUP_INDEX["right_eye_inner"]] = torch.tensor([-0.3, -0.5])
    for name, x, y in (("right_mouth_corner", -0.3, 0.5), ("left_mouth_corner", 0.3, 0.5)):
        groups[0, GROUP_INDEX[name]] = torch.tensor([x, y])
    for name in ("upper_lip_outer", "lower_lip_outer"):
        groups[0, GROUP_INDEX[name]] = torch.tensor([0.0, 0.5])
    weights = region_weights(groups, torch.tensor([True]), (65, 65), 4)
    assert float(weights[0, 0, 16, 16]) == pytest.approx(4, abs=0.1)
    assert float(weights[0, 0, 48, 32]) == pytest.approx(4, abs=0.1)
    assert float(weights[0, 0, 60, 60]) == pytest.approx(1, abs=0.01)
    assert torch.equal(region_weights(groups, torch.tensor([False]), (65, 65), 4), torch.ones(1, 1, 65, 65))


def test_face_weights_are_one_on_the_face_and_low_away_from_it() -> None:
    groups = torch.rand(2, GROUPS, 2) - 0.5
    weights = face_weights(groups, torch.ones(len(groups), dtype=torch.bool), (64, 64), 0.1)
    assert weights.shape == (len(groups), 1, 64, 64)
    assert float(weights.max()) == pytest.approx(1, abs=0.02) and float(weights.min()) >= 0.1 - 1e-6
    none = face_weights(groups, torch.zeros(len(groups), dtype=torch.bool), (64, 64), 0.1)
    assert torch.allclose(none, torch.full_like(none, 0.1))


def test_openings_count_beyond_positions() -> None:
    still = torch.zeros(1, 28, 2)
    shifted = still + 0.1
    assert torch.isclose(consistency_loss(shifted, still), torch.tensor(0.1))
    opened = still.clone()
    opened[:, 2] += 0.1  # one lid away from the other
    assert consistency_loss(opened, still) > (opened - still).abs().mean()
    assert torch.isclose(consistency_loss(still[:, :5] + 0.1, still[:, :5]), torch.tensor(0.1))


def _centroids(image: Tensor, conventions: Conventions) -> Tensor:
    """Where the bright spot of each channel of `[B, 3, H, W]` lies, `[B, 3, 2]`: a detector that is equivariant by itself."""
    grid = conventions.grid(image.shape[2], image.shape[3], image)
    mass = image[..., None]
    return (mass * grid).sum((2, 3)) / mass.sum((2, 3))


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED], ids=["half_pixel", "corner_aligned"])
def test_keypoints_of_a_transformed_picture_are_transformed_keypoints(conventions: Conventions) -> None:
    torch.manual_seed(0)
    positions = torch.tensor([[-0.4, -0.3], [0.4, -0.1], [0.1, 0.4]]).expand(4, 3, 2)
    image = conventions.heatmaps(positions, (96, 96), 0.003)
    transform = RandomTransform.draw(4, image, conventions)
    driving = Keypoints(_centroids(image, conventions), None)
    transformed = Keypoints(_centroids(transform.image(image), conventions), None)
    assert (transformed.positions - driving.positions).abs().mean() > 0.02
    assert float(equivariance_loss(driving, transformed, transform)) < 0.002
    assert float(equivariance_loss(driving, driving, transform)) > 0.02


def test_random_transform_is_as_random_as_it_says() -> None:
    torch.manual_seed(0)
    transform = RandomTransform.draw(4000, torch.empty(0), HALF_PIXEL)
    away = transform.theta - torch.eye(2, 3)
    assert away.std().item() == pytest.approx(0.05, rel=0.05) and abs(away.mean().item()) < 0.002
    assert transform.weights.std().item() == pytest.approx(0.005, rel=0.05)


def test_jacobian_is_the_transforms_derivative() -> None:
    torch.manual_seed(0)
    transform = RandomTransform.draw(1, torch.empty(0), HALF_PIXEL, bend=0.05)
    point = torch.tensor([[[0.3, -0.2]]])
    exact = torch.autograd.functional.jacobian(lambda at: transform.positions(at)[0, 0], point)[:, 0, 0]
    torch.testing.assert_close(transform.jacobian(point)[0, 0], exact, atol=1e-3, rtol=0)


def test_affine_maps_turn_with_the_transform() -> None:
    torch.manual_seed(0)
    transform = RandomTransform.draw(3, torch.empty(0), HALF_PIXEL, affine=0.3)
    positions, affine = torch.rand(3, 5, 2) - 0.5, torch.eye(2) + 0.5 * torch.randn(3, 5, 2, 2)
    transformed = Keypoints(positions, affine)
    driving = Keypoints(transform.positions(positions), transform.jacobian(positions) @ affine)
    assert float(affine_equivariance_loss(driving, transformed, transform)) == pytest.approx(0, abs=1e-4)
    swapped = Keypoints(driving.positions, affine @ transform.jacobian(positions))
    assert float(affine_equivariance_loss(swapped, transformed, transform)) > 0.05
    assert float(affine_equivariance_loss(Keypoints(positions, affine), transformed, transform)) > 0.05


def test_positions_keep_their_precision_in_mixed_precision() -> None:
    torch.manual_seed(0)
    transform = RandomTransform.draw(2, torch.empty(0), HALF_PIXEL)
    positions = torch.rand(2, 5, 2)
    keypoints = Keypoints(positions, torch.randn(2, 5, 2, 2))
    exact = transform.positions(positions), affine_equivariance_loss(keypoints, keypoints, transform)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = transform.positions(positions), affine_equivariance_loss(keypoints, keypoints, transform)
    assert torch.equal(exact[0], mixed[0]) and torch.equal(exact[1], mixed[1])


def test_background_there_and_back_is_no_motion() -> None:
    there = torch.eye(3).repeat(2, 1, 1)
    there[:, 0, 2] = 0.5
    assert float(background_loss(there, torch.linalg.inv(there))) == pytest.approx(0, abs=1e-6)
    # The shift is there twice, at one of nine entries.
    assert float(background_loss(there, there)) == pytest.approx(1 / 9, rel=1e-5)


def _losses(discriminators: Discriminators, generated: Tensor, real: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    judgements = discriminators.judge(generated, real)
    return (
        generator_loss(judgements, weight),
        feature_matching_loss(judgements, weight),
        discriminator_loss(judgements, weight),
    )


def test_discriminator_and_generator_learn_apart() -> None:
    discriminators = Discriminators()
    generated = torch.rand(1, 3, 64, 64, requires_grad=True)
    generator, features, own = _losses(discriminators, generated, torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64))
    (generator + features).backward(retain_graph=True)
    assert generated.grad is not None
    assert all(p.grad is None for p in discriminators.parameters())
    generated.grad = None
    own.backward()
    assert generated.grad is None
    assert all(p.grad is not None for p in discriminators.parameters())


def test_both_players_pull_the_scores_their_way() -> None:
    torch.manual_seed(0)
    discriminators = Discriminators()
    generated, real, weight = torch.rand(2, 3, 64, 64, requires_grad=True), torch.rand(2, 3, 64, 64), torch.ones(2, 1, 64, 64)
    generator, _, own = _losses(discriminators, generated, real, weight)
    own.backward(retain_graph=True)
    with torch.no_grad():
        for parameter in discriminators.parameters():
            assert parameter.grad is not None
            parameter -= 0.1 * parameter.grad
    assert float(_losses(discriminators, generated, real, weight)[2]) < float(own)
    (gradient,) = torch.autograd.grad(generator, generated)
    fooling = generated.detach() - 300 * gradient
    before, after = (_losses(discriminators, image, real, weight)[0] for image in (generated.detach(), fooling))
    assert after < before


def test_discriminator_wants_a_margin_on_the_right_side() -> None:
    high, low = torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 4, 4), -2.0)
    weight = torch.ones(1, 1, 8, 8)
    assert float(discriminator_loss([Judgement(high, low, low, [], [])], weight)) == 0
    assert float(discriminator_loss([Judgement(low, high, high, [], [])], weight)) == 6
    assert float(discriminator_loss([Judgement(high / 4, low, low, [], [])], weight)) == 0.5
    both = [Judgement(high, low, low, [], []), Judgement(low, high, high, [], [])]
    assert float(discriminator_loss(both, weight)) == 3 and float(generator_loss(both, weight)) == 0
    assert float(generator_loss([Judgement(high, low, low, [], [])], weight)) == 2


def test_discriminator_looks_where_the_weight_is() -> None:
    torch.manual_seed(0)
    discriminators = Discriminators().eval()
    real = torch.rand(1, 3, 128, 128)
    generated = real.clone()
    generated[..., :64] = 0
    right = torch.zeros(1, 1, 128, 128)
    right[..., 112:] = 1
    everywhere = _losses(discriminators, generated, real, torch.ones_like(right))[1]
    assert float(_losses(discriminators, generated, real, right)[1]) < 0.1 * float(everywhere)


def test_discriminators_see_two_sizes() -> None:
    torch.manual_seed(0)
    discriminators = Discriminators()
    generated, real = torch.rand(2, 1, 3, 64, 64)
    full, half = discriminators.judge(generated, real)
    assert full.real.shape[2:] == (7, 7) and half.real.shape[2:] == (3, 3)
    # A comb is gone at half the size.
    comb = real + 0.1 * torch.tensor([1.0, -1.0]).repeat(32)
    full, half = discriminators.judge(comb, real)
    torch.testing.assert_close(half.fooled_features[0], half.real_features[0], atol=1e-3, rtol=0)
    assert float((full.fooled_features[0] - full.real_features[0]).abs().max()) > 0.01


class _Seen(FeatureLayers):
    """Layers that give the picture itself, and keep it."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.pictures: list[Tensor] = []

    def forward(self, x: Tensor) -> list[Tensor]:
        self.pictures.append(x)
        return [x]


def test_perceptual_loss_normalises_as_vgg_was_trained() -> None:
    seen = _Seen()
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    got = PerceptualLoss(seen).features(mean + deviation * torch.full((1, 3, 32, 32), 2.0))[0]
    torch.testing.assert_close(got, torch.full((1, 3, 32, 32), 2.0))


def test_perceptual_loss_sums_four_scales() -> None:
    seen = _Seen()
    loss = PerceptualLoss(seen)
    # Away from the border the difference is the same at every scale.
    target = torch.zeros(1, 3, 256, 256)
    value = float(loss(target + 0.225, target))
    assert sorted({picture.shape[-1] for picture in seen.pictures}) == [32, 64, 128, 256]
    assert value == pytest.approx(4 * (0.225 / torch.tensor([0.229, 0.224, 0.225])).mean().item(), rel=0.15)


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
