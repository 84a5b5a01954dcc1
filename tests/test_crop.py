from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from mrfa.animation import crop as crop_module
from mrfa.animation.crop import (
    CropBox,
    crop_image,
    find_clip_crop,
    find_clip_face,
    find_face_crop,
    parse_crop,
    picture_crop,
    square_around,
    union_box,
    whole_picture,
)
from mrfa.data.images import read_image
from mrfa.data.video import Frame, VideoReader
from mrfa.errors import InputError
from mrfa.faces.finder import Face


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return read_image(Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg")


class Clip:
    path = Path("clip.mp4")

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __iter__(self) -> Iterator[Frame]:
        for number, image in enumerate(self.images):
            yield Frame(image, number, 1)


def assert_around_the_face(box: CropBox) -> None:
    """The astronaut's face is about 100 pixels high, its middle near (224, 115)."""
    assert 160 < box.side < 240
    assert box.x + box.side / 2 == pytest.approx(224, abs=20)
    assert box.y + box.side / 2 == pytest.approx(115, abs=25)


def test_parse() -> None:
    assert parse_crop("auto") == "auto"
    assert parse_crop(" None ") == "none"
    assert parse_crop("10,20,30,30") == CropBox(10, 20, 30)
    assert parse_crop("10, 20, 40, 30") == CropBox(10, 15, 40)
    assert parse_crop("-5,0,30,40") == CropBox(-10, 0, 40)


@pytest.mark.parametrize("text", ["", "face", "1,2,3", "1,2,3,x", "1,2,3,4,5", "1,2,0,4", "1.5,2,3,4"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InputError, match="is no crop"):
        parse_crop(text)


def test_crops_without_a_search() -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    assert picture_crop(image, "none", "a.png").box == CropBox(20, 0, 60) == whole_picture(100, 60)
    assert picture_crop(image, CropBox(90, 50, 30), "a.png").box == CropBox(90, 50, 30)
    with pytest.raises(InputError, match=r"lies outside a\.png \(100x60\)"):
        picture_crop(image, CropBox(100, 0, 30), "a.png")


def test_square_is_enlarged_and_kept_in_the_picture() -> None:
    assert square_around((40, 40, 60, 60), 200, 200) == CropBox(34, 34, 32)
    assert square_around((40, 30, 60, 70), 200, 200) == CropBox(18, 18, 64)
    assert square_around((0, 0, 20, 20), 200, 200) == CropBox(0, 0, 32)
    assert square_around((180, 180, 200, 200), 200, 200) == CropBox(168, 168, 32)
    assert square_around((10, 10, 90, 90), 100, 200) == CropBox(0, 0, 100)


def test_union_leaves_other_faces_out() -> None:
    boxes = [(float(10 + i), 10.0, float(50 + i), 50.0) for i in range(6)]
    assert union_box(boxes) == (10, 10, 55, 50)
    assert union_box([*boxes, (300, 300, 340, 340), (10, 10, 200, 200), (20, 20, 25, 25)]) == (10, 10, 55, 50)
    assert union_box(boxes[:1]) == boxes[0]


def test_crop_image_is_exact_inside_and_repeats_the_border_outside() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    np.testing.assert_array_equal(crop_image(image, CropBox(7, 5, 16), 16), image[5:21, 7:23])
    outside = crop_image(image, CropBox(-4, 30, 16), 16)
    assert outside.shape == (16, 16, 3)
    np.testing.assert_array_equal(outside[:10, 4:], image[30:, :12])
    np.testing.assert_array_equal(outside[:10, :4], np.repeat(image[30:, :1], 4, axis=1))
    np.testing.assert_array_equal(outside[10:, 4:], np.repeat(image[-1:, :12], 6, axis=0))


def test_crop_image_does_not_alias() -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 200
    small = crop_image(stripes, CropBox(0, 0, 256), 64)
    assert np.abs(small.astype(int) - 100).max() <= 1


def test_finds_the_astronaut(astronaut: np.ndarray) -> None:
    assert_around_the_face(find_face_crop(astronaut))


def test_the_largest_face_is_taken(astronaut: np.ndarray) -> None:
    both = np.full((400, 800, 3), 128, np.uint8)
    both[10:210, 10:210] = crop_image(astronaut, CropBox(0, 0, 512), 200)
    both[:, 400:] = crop_image(astronaut, CropBox(0, 0, 512), 400)
    box = find_face_crop(both)
    assert box.x + box.side / 2 == pytest.approx(400 + 224 * 400 / 512, abs=20)


def test_small_faces_are_found(astronaut: np.ndarray) -> None:
    wide = np.full((720, 1280, 3), 128, np.uint8)
    wide[200:456, 900:1156] = crop_image(astronaut, CropBox(0, 0, 512), 256)
    box = find_face_crop(wide)
    assert box.x + box.side / 2 == pytest.approx(900 + 112, abs=15)
    assert box.y + box.side / 2 == pytest.approx(200 + 57, abs=15)
    assert 60 < box.side < 105


def test_no_face() -> None:
    empty = np.full((120, 160, 3), 90, np.uint8)
    with pytest.raises(InputError, match=r"no face found in cat\.png: .*--crop none or x,y,w,h"):
        find_face_crop(empty, name="cat.png")
    with pytest.raises(InputError, match=r"no face found in clip\.mp4"):
        find_clip_crop(Clip([empty] * 3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"clip\.mp4 holds no frames"):
        find_clip_crop(Clip([]))  # type: ignore[arg-type]


def _face(x0: float, y0: float, x1: float, y1: float) -> Face:
    corners = np.array([(x0, y0, 0), (x1, y1, 0)], np.float32)
    return Face(np.repeat(corners, 239, axis=0), 1.0)


def _find_by(monkeypatch: pytest.MonkeyPatch, find: Callable[[np.ndarray], Face | None]) -> None:
    monkeypatch.setattr(crop_module, "FaceFinder", lambda tracking: find)


def test_clip_crop_holds_the_face_of_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A face that drifts to the right; on some frames nothing is found, on one another face."""
    looked: list[int] = []

    def find(image: np.ndarray) -> Face | None:
        number = int(image[0, 0, 0])
        looked.append(number)
        if number % 9 == 0:
            return None
        if number == 12:
            return _face(150, 150, 160, 160)
        return _face(50 + number / 10, 60, 70 + number / 10, 80)

    _find_by(monkeypatch, find)
    counts: list[int] = []
    images = [np.full((200, 200, 3), 100, np.uint8) for _ in range(200)]
    for number, image in enumerate(images):
        image[0, 0] = number
    box, first, shown, _ = find_clip_face(Clip(images), on_frame=counts.append)  # type: ignore[arg-type]
    assert first == 3 and shown is images[3]
    assert counts == list(range(1, 201))
    assert len(looked) < 60 and looked[-1] > 180
    last = 70 + max(n for n in looked if n % 9) / 10
    assert box.side == round(1.6 * (last - 50.3))
    assert box.x + box.side / 2 == pytest.approx((50.3 + last) / 2, abs=1)


@pytest.mark.parametrize(("values", "expected"), [([0] * 6 + list(range(10, 100, 4)), 24), ([60, 61] * 20, 0), ([90] * 9, 0)])
def test_the_first_frame_is_not_one_of_a_fade_in(monkeypatch: pytest.MonkeyPatch, values: list[int], expected: int) -> None:
    _find_by(monkeypatch, lambda image: _face(50, 50, 90, 90) if image.mean() > 5 else None)
    images = [np.full((120, 120, 3), value, np.uint8) for value in values]
    assert find_clip_face(Clip(images)).first == expected  # type: ignore[arg-type]


def test_real_clips_were_cut_by_this_rule(faces: Path) -> None:
    """A test clip is its own crop, but for frames that were not sampled and edges of its source."""
    path = sorted((faces / "test").glob("*.mp4"))[0]
    reader = VideoReader(path)
    box = find_clip_crop(reader)
    assert box.side > 0.8 * min(reader.width, reader.height)
