import numpy as np
import pytest

from mrfa.animation.composite import Portrait, side_by_side
from mrfa.animation.crop import CropBox, crop_image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def test_the_portraits_own_crop_changes_nothing(picture: np.ndarray) -> None:
    box = CropBox(40, 30, 64)
    portrait = Portrait(picture, box)
    np.testing.assert_array_equal(portrait.paste(crop_image(picture, box, 64)), picture)


def test_the_border_is_soft_and_all_else_untouched(picture: np.ndarray) -> None:
    dark = picture // 8
    box = CropBox(40, 30, 64)
    result = Portrait(dark, box).paste(np.full((32, 32, 3), 255, np.uint8))
    outside = np.ones((120, 160), bool)
    outside[30:94, 40:104] = False
    np.testing.assert_array_equal(result[outside], dark[outside])
    assert (result[45:79, 55:89] == 255).all()
    row = result[62, 40:104].mean(-1)
    assert row[0] < 40 and row[-1] < 40
    assert (np.diff(row[:32]) > -15).all(), "rises from the border inwards"


def test_the_border_rises_smoothly() -> None:
    """By Hermite's 3 t^2 - 2 t^3 over a ramp of 12 % of the crop's side."""
    result = Portrait(np.zeros((200, 200, 3), np.uint8), CropBox(50, 50, 100)).paste(np.full((100, 100, 3), 255, np.uint8))
    t = (np.arange(12) + 0.5) / 12
    np.testing.assert_allclose(result[100, 50:62, 0], 255 * t * t * (3 - 2 * t), atol=0.6)
    np.testing.assert_array_equal(result[100, 138:150], result[100, 50:62][::-1])


def test_no_soft_border_at_the_portraits_own(picture: np.ndarray) -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    assert (Portrait(picture, CropBox(20, 0, 120)).paste(white)[0, 60:100] == 255).all()
    assert (Portrait(picture[:, :120], CropBox(0, 0, 120)).paste(white) == 255).all()


@pytest.mark.parametrize("box", [CropBox(-20, -10, 64), CropBox(130, 90, 64), CropBox(-10, -10, 200)])
def test_crops_beyond_the_border(picture: np.ndarray, box: CropBox) -> None:
    result = Portrait(picture, box).paste(crop_image(picture, box, box.side))
    np.testing.assert_array_equal(result, picture)


@pytest.mark.parametrize(("height", "width"), [(101, 77), (1, 5), (100, 1), (1500, 2001), (2001, 300)])
def test_sizes_are_even_and_bounded(height: int, width: int) -> None:
    portrait = Portrait(np.zeros((height, width, 3), np.uint8), CropBox(0, 0, min(height, width)))
    assert portrait.image.shape[0] % 2 == 0 and portrait.image.shape[1] % 2 == 0
    assert max(portrait.image.shape) <= 1280
    assert portrait.image.shape[0] / portrait.image.shape[1] == pytest.approx(height / width, rel=0.02 + 2 / min(height, width))
    result = portrait.paste(np.full((64, 64, 3), 255, np.uint8))
    assert result.shape == portrait.image.shape and result.dtype == np.uint8


def test_large_portraits_are_scaled_with_their_crop() -> None:
    portrait = Portrait(np.zeros((1280, 2560, 3), np.uint8), CropBox(1000, 400, 512))
    result = portrait.paste(np.full((64, 64, 3), 255, np.uint8))
    rows, columns = np.nonzero(result[..., 0] > 128)
    assert portrait.image.shape == (640, 1280, 3)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(200 + 128, abs=2)
    assert (columns.min() + columns.max()) / 2 == pytest.approx(500 + 128, abs=2)


def test_paste_does_not_remember(picture: np.ndarray) -> None:
    portrait = Portrait(picture, CropBox(40, 30, 64))
    first = portrait.paste(np.zeros((64, 64, 3), np.uint8))
    portrait.paste(np.full((64, 64, 3), 255, np.uint8))
    np.testing.assert_array_equal(portrait.paste(np.zeros((64, 64, 3), np.uint8)), first)


def test_side_by_side(picture: np.ndarray) -> None:
    sheet = side_by_side([picture, picture[:60, :60], np.zeros((240, 90, 3), np.uint8)], 60)
    assert sheet.shape == (60, 80 + 60 + 22, 3)
    np.testing.assert_array_equal(sheet[:, 80:140], picture[:60, :60])
