"""Pairs before another background: it stands still, people move before it with their landmarks, and nothing of it is theirs."""

import cv2
import numpy as np
import torch
from conftest import pair_batch
from torch import Tensor

from mrfa.animation.crop import CropBox, crop_image, picture_crop
from mrfa.animation.job import demo_files
from mrfa.data.guidance import GROUPS
from mrfa.data.images import read_image
from mrfa.faces.networks import load_network, read_model
from mrfa.faces.person import MASK_SIDE, PersonSegmenter
from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.augmentation import augment
from mrfa.training.backgrounds import fill, replace_backgrounds
from mrfa.training.config import AugmentationConfig, BackgroundsConfig

SIDE = 64
NO_MOVE = BackgroundsConfig(share=1.0, shift=0.0, scale=0.0)


def _pairs(count: int, place: tuple[float, float] = (0.0, 0.0)) -> tuple[Tensor, Tensor, Tensor]:
    """Red discs, somewhat small masks of them, before one grey for each pair: pictures, masks, and groups at their middles."""
    distance = (HALF_PIXEL.grid(SIDE, SIDE, torch.zeros(1)) - torch.tensor(place)).norm(dim=-1)
    mask, disc = (distance < 0.35).float(), (distance < 0.4).float()
    greys = torch.linspace(0.2, 0.8, count).view(-1, 1, 1, 1)
    pictures = greys * (1 - disc) + torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1) * disc
    groups = torch.tensor(place).expand(count, 2, GROUPS, 2)
    return pictures[:, None].expand(-1, 2, -1, -1, -1), mask.expand(count, 2, 1, SIDE, SIDE), groups


def _replaced(pictures: Tensor, masks: Tensor, groups: Tensor, moved: Tensor, config: BackgroundsConfig) -> tuple[Tensor, Tensor]:
    images, places = replace_backgrounds(torch.cat([pictures, masks], 2), groups, moved, config)
    return images[:, :, :3], places


def _middle(pictures: Tensor) -> Tensor:
    """Where the red is, `[N, 2]`, normalised."""
    red = (pictures[:, 0] - pictures[:, 1]).clamp_min(0)
    red = red / red.sum((1, 2), keepdim=True)
    return (red[..., None] * HALF_PIXEL.grid(SIDE, SIDE, pictures)).sum((1, 2))


def test_the_moved_person_takes_its_landmarks_along_and_leaves_background() -> None:
    torch.manual_seed(0)
    pictures, masks, groups = _pairs(16, (0.15, 0.05))
    moved = torch.arange(16) % 2
    config = BackgroundsConfig(share=1.0, shift=0.15, scale=0.15)
    images, places = _replaced(pictures, masks, groups, moved, config)
    rows = torch.arange(16)
    for which, number in ((moved, "moved"), (1 - moved, "still")):
        torch.testing.assert_close(_middle(images[rows, which]), places[rows, which, 0], atol=0.02, rtol=0, msg=number)
    assert torch.equal(places[rows, 1 - moved], groups[rows, 0])
    assert (places - groups)[rows, moved, 0].abs().amax(0).gt(0.2).all(), "people hardly moved"
    # Where both persons are not, both pictures show the same background.
    away = ((images[:, :, 0] - images[:, :, 1]).amax(1) < 0.01) & (masks[:, 0, 0] == 0)
    difference = (images[:, 0] - images[:, 1]).abs().amax(1)
    assert difference[away].max() < 0.02
    # What a person leaves is as grey as the background was, with no red in it.
    left = (masks[:, 0, 0] == 1) & ((images[rows, moved, 0] - images[rows, moved, 1]) < 0.01)
    assert left.sum() > 200 and (images[rows, moved, 0] - images[rows, moved, 2]).abs()[left].max() < 0.02


def test_some_stand_before_the_background_of_another_pair() -> None:
    torch.manual_seed(1)
    pictures, masks, groups = _pairs(40)
    images, _ = _replaced(pictures, masks, groups, torch.ones(40, dtype=torch.long), NO_MOVE)
    corners = images[:, 0, 0, 0, 0]
    same = torch.isclose(corners, pictures[:, 0, 0, 0, 0], atol=1e-3)
    assert 8 < same.sum() < 32
    torch.testing.assert_close(corners[~same], pictures.roll(1, 0)[~same, 0, 0, 0, 0], atol=1e-3, rtol=0)


def test_a_share_of_the_pairs_is_left_alone() -> None:
    torch.manual_seed(2)
    pictures, masks, groups = _pairs(200)
    config = NO_MOVE.model_copy(update={"share": 0.3, "shift": 0.2})
    images, places = _replaced(pictures, masks, groups, torch.ones(200, dtype=torch.long), config)
    changed = (places != groups).flatten(1).any(1)
    assert 40 < changed.sum() < 80
    assert torch.equal(images[~changed], pictures[~changed])


def test_a_head_cut_by_the_upper_edge_stays_there() -> None:
    torch.manual_seed(3)
    pictures, masks, groups = _pairs(60, (0.0, -0.8))
    config = BackgroundsConfig(share=1.0, shift=0.2, scale=0.2)
    images, places = _replaced(pictures, masks, groups, torch.ones(60, dtype=torch.long), config)
    assert places[:, 1, 0, 1].max() < -0.75 and places[:, 1, 0, 1].min() < -1
    assert (images[:, 1, 0, 0].amax(-1) > 0.95).all(), "the uppermost row shows background alone"


def test_filling_keeps_what_is_known_and_goes_smoothly_between() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32).contiguous()
    known = torch.ones(1, 1, 32, 32)
    known[..., 8:24, 8:24] = 0
    hidden = ramp * known
    filled = fill(hidden, known)
    assert torch.equal(filled[:, :, :8], ramp[:, :, :8])
    assert (filled - ramp).abs().max() < 0.2
    assert filled.diff(dim=3).abs().max() < 0.12, "a step at the edge of what is known"
    assert not fill(torch.ones(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)).any()


def test_a_person_is_found_in_the_middle_and_none_beside() -> None:
    portrait = read_image(demo_files()[0])
    mask = PersonSegmenter()(crop_image(portrait, picture_crop(portrait, "auto", "portrait", "largest")[0], 256))
    assert mask.shape == (MASK_SIDE, MASK_SIDE) and mask.dtype == np.uint8
    assert mask[50:78, 50:78].min() > 240
    assert (mask < 10).mean() > 0.1


def test_a_mask_is_the_networks_result_at_half_its_size() -> None:
    picture = crop_image(read_image(demo_files()[0]), CropBox(150, 20, 180), 256)
    network = load_network(read_model("selfie_segmentation"))
    network.setInput(cv2.dnn.blobFromImage(picture, 1 / 255))
    whole = network.forward().reshape(MASK_SIDE, 2, MASK_SIDE, 2)
    np.testing.assert_allclose(PersonSegmenter()(picture), 255 * whole.mean((1, 3)), atol=0.51)


def test_augmentation_flips_masks_with_their_pictures() -> None:
    """A person at the right is cut out at the left of a mirrored picture, and of the other picture where time is flipped."""
    torch.manual_seed(4)
    pictures, masks, groups = _pairs(40, (0.4, 0.0))
    others, other_masks, _ = _pairs(40, (-0.4, 0.0))
    as_bytes = [(255 * x).to(torch.uint8) for x in (pictures[:, 0], others[:, 0], masks[:, 0], other_masks[:, 0])]
    batch = pair_batch((as_bytes[0], as_bytes[1]), (groups[:, 0], -groups[:, 0]))
    batch["source_person"], batch["driving_person"] = as_bytes[2], as_bytes[3]
    pair = augment(batch, AugmentationConfig(colour_jitter=0, backgrounds=NO_MOVE))
    for image, found in ((pair.source, pair.source_groups), (pair.driving, pair.driving_groups)):
        torch.testing.assert_close(_middle(image)[:, 0], found[:, 0, 0], atol=0.02, rtol=0)


def test_places_that_a_person_leaves_weigh_more() -> None:
    """Of the source picture, as both are after all that moves them; where nothing tells people, no place does."""
    torch.manual_seed(5)
    pictures, masks, groups = _pairs(12, (-0.15, 0.0))
    others, other_masks, _ = _pairs(12, (0.15, 0.0))
    as_bytes = [(255 * x).to(torch.uint8) for x in (pictures[:, 0], others[:, 0], masks[:, 0], other_masks[:, 0])]
    batch = pair_batch((as_bytes[0], as_bytes[1]), (groups[:, 0], -groups[:, 0]))
    config = AugmentationConfig(colour_jitter=0, rotation=30, scale=0.1)
    assert not augment(batch, config).uncovered.any()
    batch["source_person"], batch["driving_person"] = as_bytes[2], as_bytes[3]
    pair = augment(batch, config)
    red = {name: image[:, 0] - image[:, 1] > 0.5 for name, image in (("source", pair.source), ("driving", pair.driving))}
    left = (pair.uncovered > 0.9)[:, 0]
    assert left.sum() > 0.5 * (red["source"] & ~red["driving"]).sum()
    assert not (left & ~red["source"]).any()
    assert (left & red["driving"]).sum() < 0.25 * left.sum()  # the masks are somewhat small
