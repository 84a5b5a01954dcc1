"""The portrait set in motion, by flows and crops made by hand."""

import cv2
import numpy as np
import pytest
import torch

from mrfa.animation.crop import CropBox, crop_image
from mrfa.animation.portrait import FADE, MOVING, REACH, RELEASE, STILL, Portrait, crop_displacement
from mrfa.network.coarse import CoarseMotion
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Output
from mrfa.network.refinement import Motion

BOX = CropBox(40, 30, 64)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def shifted(x: float, y: float = 0.0) -> np.ndarray:
    """Every place shows what lies `x` and `y` sides of the crop from it."""
    return np.full((32, 32, 2), (x, y), np.float32)


def ramp(height: int, width: int) -> np.ndarray:
    """Its values tell the column."""
    return np.repeat(np.tile(np.arange(width, dtype=np.uint8), (height, 1))[..., None], 3, axis=2)


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED])
def test_displacements_are_those_of_the_last_flow(conventions: Conventions) -> None:
    """In sides of the crop: a picture sampled by the flow shows what lies 6 pixels to the right and 4 above."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    pixels = torch.tensor([6.0, -4.0]).view(1, 2, 1, 1)
    moved = pixels.expand(1, 2, 32, 32) / conventions.pixel_scale((64, 64), pixels)
    coarser = torch.zeros(1, 2, 16, 16)
    flows = [conventions.to_flow(coarser), conventions.to_flow(moved)]
    keypoints, nothing = Keypoints(torch.zeros(1, 4, 2), None), torch.zeros(1, 1, 32, 32)
    output = Output(image, keypoints, keypoints, CoarseMotion(flows[0], nothing, None), Motion(flows, [nothing], flows[0]))
    displacement = crop_displacement(output, conventions)
    assert displacement.shape == (1, 32, 32, 2) and displacement.dtype == torch.float32
    np.testing.assert_allclose(displacement[0, 5, 7] * 64, [6, -4], atol=1e-4)
    full = conventions.to_flow(pixels.expand(1, 2, 64, 64) / conventions.pixel_scale((64, 64), pixels))
    np.testing.assert_allclose(conventions.sample(image, full)[0, :, 20, 20], image[0, :, 16, 26], atol=1e-4)


def test_what_does_not_move_is_the_portrait_itself(picture: np.ndarray) -> None:
    """Also where the network's picture is softer or wrong, and its flow not quite zero."""
    soft = crop_image(picture, BOX, 64) // 4 * 4
    soft[30:40, 30:40] = 255
    noise = np.random.default_rng(1).uniform(-STILL / 2, STILL / 2, (32, 32, 2)).astype(np.float32)
    np.testing.assert_array_equal(Portrait(picture, BOX).paste(soft, noise), picture)


def test_what_moves_is_the_portrait_moved() -> None:
    """Without a seam at the crop's border, and less and less beyond."""
    wide = ramp(200, 240)
    crop = crop_image(wide, CropBox(78, 50, 100), 50)
    result = Portrait(wide, CropBox(70, 50, 100)).paste(crop, shifted(0.08)).astype(int)
    motion = result[100, :, 0] - np.arange(240)
    assert (np.abs(motion[70:170] - 8) <= 1).all()
    reach = round(REACH * 100)
    assert (motion[: 70 - reach] == 0).all() and (motion[171 + reach :] == 0).all()
    assert (np.diff(motion[170 : 170 + reach]) <= 0).all() and np.abs(np.diff(motion)).max() <= 1
    assert (result[: 50 - reach] == wide[: 50 - reach]).all() and (result[150 + reach :] == wide[150 + reach :]).all()


def test_what_moves_is_sharp() -> None:
    """Detail that the crop does not hold comes from the portrait."""
    noise = np.random.default_rng(0).integers(0, 6, (200, 240, 1))
    waves = 120 + 80 * np.sin(np.arange(240) / 8)[None, :, None]
    detailed = np.repeat((waves + noise).astype(np.uint8), 3, axis=2)
    crop = crop_image(detailed, CropBox(78, 50, 100), 50)
    result = Portrait(detailed, CropBox(70, 50, 100)).paste(crop, shifted(0.08))
    np.testing.assert_array_equal(result[70:130, 90:150], detailed[70:130, 98:158])


def test_what_the_portrait_cannot_show_is_the_generated_picture() -> None:
    dark = np.full((120, 160, 3), 10, np.uint8)
    crop = np.full((32, 32, 3), 10, np.uint8)
    crop[12:20, 12:20] = 255
    result = Portrait(dark, BOX).paste(crop, shifted(0.05))
    assert (result[57:67, 67:77] > 240).all()
    np.testing.assert_array_equal(result[:46], dark[:46])
    assert (result[62, :52] == 10).all() and (result[62, 92:] == 10).all()


def test_uncovered_background_is_generated() -> None:
    """A white block goes 0.25 sides to the right, and nothing else moves: where it was, the flow would show it again."""
    portrait = np.zeros((200, 200, 3), np.uint8)
    portrait[80:120, 70:90] = 255
    moved = np.zeros_like(portrait)
    moved[80:120, 95:115] = 255
    box = CropBox(50, 50, 100)
    displacement = np.zeros((100, 100, 2), np.float32)
    displacement[30:70, 45:65, 0] = -0.25
    result = Portrait(portrait, box).paste(crop_image(moved, box, 100), displacement)
    assert (result[85:115, 74:86] < 20).all() and (result[85:115, 99:111] > 235).all()


def test_around_the_crop_the_body_follows_and_the_background_stays() -> None:
    """A body reaches below the crop and moves there to the right, between a still background on both sides."""
    wide = ramp(300, 240)
    displacement = np.zeros((100, 100, 2), np.float32)
    displacement[20:, 40:60, 0] = -0.15
    rows, columns = np.mgrid[:100, :100].astype(np.float32)
    crop = cv2.remap(wide[50:150, 70:170], columns + 100 * displacement[..., 0], rows, cv2.INTER_LINEAR)
    motion = Portrait(wide, CropBox(70, 50, 100)).paste(crop, displacement)[..., 0].astype(int) - wide[..., 0]
    below = motion[152]
    assert below[120] <= -6 and not motion[182:].any()
    assert not below[:100].any() and not below[135:].any()
    assert np.abs(np.diff(below)).max() <= 2 and np.abs(np.diff(motion[152:182, 120])).max() <= 2, "evenly: nothing tears"


def test_where_the_flow_is_torn_the_picture_is_generated() -> None:
    """Pixels moved apart there would be streaks, though their values may be alike."""
    flat, crop = np.full((200, 200, 3), 100, np.uint8), np.full((100, 100, 3), 104, np.uint8)
    displacement = shifted(0.2)
    displacement[:, 16:] *= -1
    result = Portrait(flat, CropBox(50, 50, 100)).paste(crop, displacement)
    assert (result[80:120, 98:102] >= 103).all() and (result[80:120, 70:85] == 100).all()


def test_the_generated_picture_fades_in_from_the_border() -> None:
    """By Hermite's 3 t^2 - 2 t^3 over a part of the crop's side, but not where the portrait itself ends."""
    dark, white = np.zeros((200, 200, 3), np.uint8), np.full((100, 100, 3), 255, np.uint8)
    result = Portrait(dark, CropBox(50, 50, 100)).paste(white, shifted(0.05))
    t = (np.arange(100 * FADE) + 0.5) / (100 * FADE)
    np.testing.assert_allclose(result[100, 50:62, 0], 255 * t * t * (3 - 2 * t), atol=1)
    np.testing.assert_array_equal(result[100, 138:150], result[100, 50:62][::-1])
    assert not result[:50].any() and not result[:, 150:].any()
    assert (Portrait(dark[:, :160], CropBox(20, 0, 140)).paste(white, shifted(0.05))[0, 60:] == 255).all()
    assert (Portrait(dark, CropBox(0, 0, 200)).paste(white, shifted(0.05)) == 255).all()


def test_the_generated_picture_comes_at_once_and_goes_slowly() -> None:
    dark, white = np.zeros((120, 160, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    portrait = Portrait(dark, BOX)
    assert (portrait.paste(white, shifted(0.05))[50:74, 60:84] == 255).all()
    grey = np.full((64, 64, 3), 5, np.uint8)
    shown = [portrait.paste(grey, shifted(0))[62, 72, 0] for _ in range(8)]
    np.testing.assert_allclose(shown, 5 * np.clip(1 - RELEASE * np.arange(1, 9), 0, 1), atol=1)
    np.testing.assert_array_equal(portrait.paste(grey, shifted(0)), dark)


def test_tiles_do_not_show(picture: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    large, box = cv2.resize(picture, (1280, 960)), CropBox(160, 60, 800)
    displacement = np.zeros((64, 64, 2), np.float32)
    displacement[20:31, 20:41] = 0.1
    crop = crop_image(255 - large, box, 64)
    whole = Portrait(large, box).paste(crop, displacement)
    monkeypatch.setattr("mrfa.animation.portrait.TILE", 11)
    np.testing.assert_array_equal(Portrait(large, box).paste(crop, displacement), whole)


def test_small_motions_grow_out_of_none() -> None:
    """Below a threshold pixels stay, above another they follow fully, and nothing jumps between."""
    wide = np.repeat(np.tile((np.arange(1024) % 256).astype(np.uint8), (1024, 1))[..., None], 3, axis=2)
    box = CropBox(0, 0, 1024)
    moved = []
    for motion in np.linspace(STILL, MOVING, 9):
        crop = cv2.warpAffine(crop_image(wide, box, 256), np.float32([[1, 0, -motion * 256], [0, 1, 0]]), (256, 256))
        moved.append(int(Portrait(wide, box).paste(crop, shifted(motion))[512, 600, 0]) - 600 % 256)
    assert moved[0] == 0 and moved[-1] == pytest.approx(MOVING * 1024, abs=1)
    assert min(np.diff(moved)) >= 0 and max(np.diff(moved)) <= 2


@pytest.mark.parametrize("box", [CropBox(-20, -10, 64), CropBox(130, 90, 64), CropBox(-10, -10, 200)])
def test_crops_beyond_the_border(picture: np.ndarray, box: CropBox) -> None:
    crop = crop_image(picture, box, box.side)
    np.testing.assert_array_equal(Portrait(picture, box).paste(crop, shifted(0)), picture)
    assert Portrait(picture, box).paste(crop, shifted(0.3, -0.2)).shape == picture.shape


@pytest.mark.parametrize(("height", "width"), [(101, 77), (1, 5), (100, 1), (1500, 2001), (2001, 300)])
def test_sizes_are_even_and_bounded(height: int, width: int) -> None:
    portrait = Portrait(np.zeros((height, width, 3), np.uint8), CropBox(0, 0, min(height, width)))
    assert portrait.image.shape[0] % 2 == 0 and portrait.image.shape[1] % 2 == 0
    assert max(portrait.image.shape) <= 1280
    assert portrait.image.shape[0] / portrait.image.shape[1] == pytest.approx(height / width, rel=0.02 + 2 / min(height, width))
    result = portrait.paste(np.full((64, 64, 3), 255, np.uint8), shifted(0.1))
    assert result.shape == portrait.image.shape and result.dtype == np.uint8


def test_large_portraits_are_scaled_with_their_crop() -> None:
    portrait = Portrait(np.zeros((1280, 2560, 3), np.uint8), CropBox(1000, 400, 512))
    result = portrait.paste(np.full((64, 64, 3), 255, np.uint8), shifted(0.05))
    rows, columns = np.nonzero(result[..., 0] > 128)
    assert portrait.image.shape == (640, 1280, 3)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(200 + 128, abs=2)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(500 + 128, abs=2)


def test_pictures_are_new_arrays(picture: np.ndarray) -> None:
    portrait = Portrait(picture, BOX)
    first = portrait.paste(crop_image(picture, BOX, 64), shifted(0))
    first[:] = 0
    np.testing.assert_array_equal(portrait.paste(crop_image(picture, BOX, 64), shifted(0)), picture)
