import numpy as np

from mrfa.animation.composite import Canvas, side_by_side
from mrfa.animation.crop import CropBox, crop_image

STILL = np.zeros((16, 16, 2), np.float32)


def test_canvas_shows_the_portrait_or_its_crop_and_what_it_was_made_from() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    box = CropBox(40, 30, 64)
    crop, panel = crop_image(picture, box, 64), np.full((120, 120, 3), 7, np.uint8)
    whole = Canvas(picture, box, 64, paste_back=True, compare=False, with_driver=False)
    np.testing.assert_array_equal(whole.draw(crop, STILL, None), picture)
    # Still pixels are the portrait's own, though the network made them softer.
    alone = Canvas(picture, box, 64, paste_back=False, compare=False, with_driver=False)
    np.testing.assert_array_equal(alone.draw(crop - crop % 4, STILL, None), crop)
    both = Canvas(picture, box, 64, paste_back=True, compare=True, with_driver=True)
    sheet = both.draw(crop, STILL, panel)
    assert sheet.shape == (both.height, both.width, 3) == (120, 120 + 120 + 160, 3) and both.panel_height == 120
    np.testing.assert_array_equal(sheet, np.hstack([crop_image(picture, box, 120), panel, picture]))


def test_side_by_side() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    sheet = side_by_side([picture, picture[:60, :60], np.zeros((240, 90, 3), np.uint8)], 60)
    assert sheet.shape == (60, 80 + 60 + 22, 3)
    np.testing.assert_array_equal(sheet[:, 80:140], picture[:60, :60])
