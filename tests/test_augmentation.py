"""Augmentation of pairs: pictures and landmarks move together, and colours change as the settings say."""

import pytest
import torch
from conftest import pair_batch
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX, GROUPS, MIRRORED_GROUPS
from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.augmentation import Pair, augment, plain
from mrfa.training.config import AugmentationConfig
from mrfa.training.pairs import PairBatch


def _batch(count: int = 2, size: int = 64, pictures: Tensor | None = None) -> PairBatch:
    """Random pairs; with `pictures` `[2, 3, H, W]` all of the same two."""
    if pictures is None:
        both = torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8)
    else:
        both = pictures[:, None].expand(2, count, *pictures.shape[1:])
    groups = torch.rand(2, GROUPS, 2)[:, None].expand(2, count, GROUPS, 2) - 0.5
    return pair_batch((both[0], both[1]), (groups[0], groups[1]))


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
    spots = HALF_PIXEL.heatmaps(groups[:, nose : nose + 1], (size, size), 0.004).expand(-1, 3, -1, -1)
    pictures = (spots * 255).to(torch.uint8)
    batch = pair_batch((pictures, pictures), (groups, groups))
    config = AugmentationConfig(colour_jitter=0, rotation=20, scale=0.15, shift=0.05, bend=0.03)
    pair = augment(batch, config)
    grid = HALF_PIXEL.grid(size, size, spots)
    weight = pair.driving.mean(1).clamp_min(0.05) - 0.05
    centre = (weight[..., None] * grid).sum((1, 2)) / weight.sum((1, 2))[:, None]
    assert torch.allclose(centre, pair.driving_groups[:, nose], atol=0.03)


def test_no_augmentation_changes_nothing() -> None:
    batch = _batch()
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0)
    got, expected = augment(batch, config), plain(batch)
    assert torch.allclose(got.source, expected.source, atol=1e-5)
    assert torch.equal(got.driving_groups, expected.driving_groups)


def test_landmarks_flip_in_time_with_their_pictures() -> None:
    torch.manual_seed(0)
    pictures = torch.stack([torch.full((3, 8, 8), 50), torch.full((3, 8, 8), 200)]).to(torch.uint8)
    batch = _batch(40, pictures=pictures)
    pair = augment(batch, AugmentationConfig(horizontal_flip=False, colour_jitter=0))
    swapped = pair.source[:, 0, 0, 0] > 0.5
    assert 10 < int(swapped.sum()) < 30
    for chosen, source, driving in ((swapped, "driving", "source"), (~swapped, "source", "driving")):
        assert torch.equal(pair.source[chosen], batch[source][chosen].float() / 255)  # type: ignore[literal-required]
        assert torch.equal(pair.driving[chosen], batch[driving][chosen].float() / 255)  # type: ignore[literal-required]
        assert torch.equal(pair.source_groups[chosen], batch[f"{source}_groups"][chosen])  # type: ignore[literal-required]
        assert torch.equal(pair.driving_groups[chosen], batch[f"{driving}_groups"][chosen])  # type: ignore[literal-required]


def test_landmarks_change_sides_in_mirrored_pictures() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    pictures[..., :4] = 200
    batch = _batch(40, pictures=pictures)
    pair = augment(batch, AugmentationConfig(time_flip=False, colour_jitter=0))
    mirrored = pair.source[:, 0, 0, 7] > 0.5
    assert 10 < int(mirrored.sum()) < 30
    assert torch.equal(mirrored, pair.driving[:, 0, 0, 7] > 0.5)
    left, right = GROUP_INDEX["left_iris"], GROUP_INDEX["right_iris"]
    for groups, before in ((pair.source_groups, batch["source_groups"]), (pair.driving_groups, batch["driving_groups"])):
        assert torch.equal(groups[~mirrored], before[~mirrored])
        flipped = before[mirrored] * torch.tensor([-1.0, 1.0])
        assert torch.equal(groups[mirrored][:, left], flipped[:, right])
        assert torch.equal(groups[mirrored][:, GROUP_INDEX["chin"]], flipped[:, GROUP_INDEX["chin"]])


def test_pairs_are_never_flipped_both_ways() -> None:
    torch.manual_seed(0)
    pictures = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    pictures[0, :, :, :4] = 100
    pictures[1, :, :, :4] = 200
    pair = augment(_batch(200, pictures=pictures), AugmentationConfig(colour_jitter=0))
    swapped, mirrored = pair.source.amax((1, 2, 3)) > 0.5, pair.source[:, 0, 0, 7] > 0.2
    assert swapped.any() and mirrored.any() and not (swapped & mirrored).any()


def _recoloured(colour: list[float], count: int = 400, **settings: float) -> Tensor:
    """What augmentation makes of pictures of one colour, `[count, 3]`; both frames of a pair get the same."""
    pictures = (torch.tensor(colour) * 255).round().to(torch.uint8).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, **settings)  # type: ignore[arg-type]
    pair: Pair = augment(_batch(count, pictures=pictures), config)
    assert torch.allclose(pair.source, pair.driving)
    return pair.source[:, :, 0, 0]


def test_grey_stays_grey_when_colours_change() -> None:
    torch.manual_seed(0)
    colours = _recoloured([0.4, 0.4, 0.4], colour_jitter=0.3)
    assert colours.std(0).min() > 0.05
    torch.testing.assert_close(colours, colours.mean(1, keepdim=True).expand(-1, 3), atol=1e-5, rtol=0)


def test_hue_turns_as_far_as_the_setting_says() -> None:
    """A tenth of a turn, 36 degrees, at 0.1."""
    torch.manual_seed(0)
    # Saturation scales the distance to a grey that is not the mean, so a few degrees are lost or won.
    assert 30 < float(_hues(colour_jitter=0.1).max()) < 42
    assert float(_hues(colour_jitter=0.1, hue=0.02).max()) < 11


def _hues(**settings: float) -> Tensor:
    """By how many degrees the hue of a colour turns, `[400]`."""
    colours = _recoloured([0.55, 0.45, 0.45], **settings)
    across = colours - colours.mean(1, keepdim=True)
    x = across @ torch.tensor([2.0, -1.0, -1.0]) / 6**0.5
    y = across @ torch.tensor([0.0, 1.0, -1.0]) / 2**0.5
    return torch.rad2deg(torch.atan2(y, x)).abs()


def test_brightness_changes_as_far_as_the_setting_says() -> None:
    torch.manual_seed(0)
    colours = _recoloured([0.4, 0.4, 0.4], colour_jitter=0.2)[:, 0] / 0.4
    assert float(colours.min()) == pytest.approx(0.8, abs=0.01) and float(colours.max()) == pytest.approx(1.2, abs=0.01)


def test_landmarks_far_outside_are_not_believed() -> None:
    batch = _batch(2)
    batch["driving_groups"] = batch["driving_groups"].clone()
    batch["driving_groups"][1, 3, 0] = 1.3
    config = AugmentationConfig(horizontal_flip=False, time_flip=False)
    assert augment(batch, config).found.tolist() == [True, False]


def _moved(position: list[float], **settings: float) -> Tensor:
    """Where augmentation moves a landmark of 400 pictures, `[400, 2]`."""
    torch.manual_seed(0)
    batch = _batch(400, size=8)
    batch["driving_groups"] = torch.tensor(position).expand(400, GROUPS, 2)
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0, **settings)  # type: ignore[arg-type]
    return augment(batch, config).driving_groups[:, 0]


def test_pictures_move_as_far_as_the_settings_say() -> None:
    shifted = _moved([0.0, 0.0], shift=0.1)
    assert shifted.amax(0).tolist() == pytest.approx([0.2, 0.2], abs=0.01)
    assert shifted.amin(0).tolist() == pytest.approx([-0.2, -0.2], abs=0.01)
    turned = _moved([0.5, 0.0], rotation=20)
    degrees = torch.rad2deg(torch.atan2(turned[:, 1], turned[:, 0]))
    assert [degrees.min().item(), degrees.max().item()] == pytest.approx([-20, 20], abs=0.5)
    assert torch.allclose(turned.norm(dim=1), torch.full((400,), 0.5), atol=1e-5)
    scaled = _moved([0.5, 0.0], scale=0.25)[:, 0] / 0.5
    assert [scaled.min().item(), scaled.max().item()] == pytest.approx([0.8, 1.25], abs=0.01)
    bent = _moved([0.0, 0.0], bend=0.03)
    # The middle is one of the places whose bend is drawn.
    assert bent.std(0).tolist() == pytest.approx([0.03, 0.03], abs=0.003)


def test_a_share_of_the_crop_is_each_frames_own() -> None:
    torch.manual_seed(0)
    batch = _batch(400, size=8)
    batch["source_groups"] = batch["driving_groups"] = torch.zeros(400, GROUPS, 2)
    for apart, farthest in ((0.0, 0.0), (0.3, 0.12), (1.0, 0.4)):
        config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0, shift=0.1, apart=apart)
        pair = augment(batch, config)
        assert (pair.source_groups - pair.driving_groups).abs().max() == pytest.approx(farthest, abs=0.03)
        assert pair.source_groups.abs().max() == pytest.approx(0.2, abs=0.02)


def test_contrast_and_saturation_change_apart() -> None:
    torch.manual_seed(0)
    pictures = torch.full((2, 3, 4, 4), 80, dtype=torch.uint8)
    pictures[..., :2] = 120
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0.2)
    pair = augment(_batch(400, pictures=pictures), config)
    dark, bright = pair.source[:, 0, 0, 3], pair.source[:, 0, 0, 0]
    contrast = (bright - dark) / (bright + dark) * 5
    assert [contrast.min().item(), contrast.max().item()] == pytest.approx([0.8, 1.2], abs=0.02)
    # Contrast and saturation both scale the distance to grey.
    colours = _recoloured([0.45, 0.35, 0.35], colour_jitter=0.2)
    chroma = (colours - colours.mean(1, keepdim=True)).norm(dim=1) / colours.mean(1)
    assert float(chroma.max() / chroma.median()) > 1.25


def test_channels_are_mixed_as_much_as_the_setting_says() -> None:
    torch.manual_seed(0)
    colours = _recoloured([0.5, 0.5, 0.5], colour_jitter=0, colour_mix=0.05)
    # The sum of three independent draws, times the brightness.
    assert colours.std(0).tolist() == pytest.approx([0.05 * 3**0.5 * 0.5] * 3, rel=0.1)
