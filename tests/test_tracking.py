"""Where a driver's face cannot be seen the last good motion is held, and a crop follows a face that leaves it."""

from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from mrfa.animation.crop import CropBox
from mrfa.animation.extraction import extract_motion
from mrfa.animation.job import animate_file
from mrfa.animation.template import MotionTemplate
from mrfa.animation.tracking import EASE, SETTLED, WARY, FaceWatch, Held, Spans, trusted
from mrfa.data.images import read_image, write_image
from mrfa.faces.finder import Face
from mrfa.faces.landmarks import Box
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import save_model

ASTRONAUT = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
HOME = CropBox(60, 60, 80)
PLACE: Box = (75.0, 75.0, 125.0, 125.0)


def _trusts(pattern: str) -> list[float]:
    """Of frames with (x) and without (.) a good face."""
    numbered = [(number, letter == "x") for number, letter in enumerate(pattern)]
    found = list(trusted(numbered))
    assert [number for number, _ in found] == list(range(len(pattern)))
    return [trust for _, trust in found]


def test_frames_with_a_face_are_trusted() -> None:
    assert _trusts("x" * 20) == [1.0] * 20
    assert _trusts("") == []
    assert _trusts("x") == [1.0]


def test_frames_without_a_face_and_those_just_before_are_not() -> None:
    trusts = _trusts("xxxxxx....xxxxxxxxxxxxxxxx")
    assert trusts[: 6 - WARY] == [1.0] * (6 - WARY)
    assert trusts[6 - WARY : 10] == [0.0] * (4 + WARY)
    easing = trusts[10 : 10 + 4 + WARY]
    assert all(0 < a < b < 1 for a, b in pairwise(easing))
    assert trusts[10 + 4 + WARY :] == [1.0] * (26 - 10 - 4 - WARY)


def test_easing_takes_no_longer_than_its_bound() -> None:
    trusts = _trusts("xx" + "." * 100 + "x" * 30)
    assert sum(0 < trust < 1 for trust in trusts) == EASE
    assert _trusts("xxx..")[-2:] == [0.0, 0.0]


def test_a_gap_in_the_easing_begins_anew() -> None:
    trusts = _trusts("xxxx........xxxxxx.xxxxxxxxxx")
    assert trusts[18] == 0.0
    assert trusts[-1] == 1.0


def test_the_stream_is_read_a_few_frames_ahead_only() -> None:
    read = 0

    def source() -> Iterator[tuple[int, bool]]:
        nonlocal read
        for number in range(100):
            read += 1
            yield number, True

    for number, _ in trusted(source()):
        assert read <= number + WARY + 2


def _keypoints(values: list[float], affine: bool = True) -> Keypoints:
    positions = torch.tensor(values)[:, None, None].expand(-1, 3, 2)
    return Keypoints(positions, torch.tensor(values)[:, None, None, None].expand(-1, 3, 2, 2) if affine else None)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_motion_is_held_and_eased(affine: bool, batch: int) -> None:
    values, trusts = [1.0, 2.0, 9.0, -9.0, 4.0, 6.0, 8.0], [1.0, 1.0, 0.0, 0.0, 0.25, 0.5, 1.0]
    expected = [1.0, 2.0, 2.0, 2.0, 2.5, 4.0, 8.0]
    hold = Held()
    found: list[Keypoints] = []
    for start in range(0, 7, batch):
        part = slice(start, start + batch)
        found.append(hold(_keypoints(values[part], affine), trusts[part]))
    positions = torch.cat([part.positions for part in found])
    torch.testing.assert_close(positions, _keypoints(expected).positions)
    maps = [part.affine for part in found if part.affine is not None]
    if affine:
        torch.testing.assert_close(torch.cat(maps), _keypoints(expected).affine)
    assert affine or not maps


def test_what_was_shown_last_is_held_when_the_face_goes_again() -> None:
    found = Held()(_keypoints([0.0, 9.0, 4.0, 9.0, 9.0]), [1.0, 0.0, 0.5, 0.0, 0.0])
    assert found.positions[:, 0, 0].tolist() == [0.0, 0.0, 2.0, 2.0, 2.0]


def test_before_the_first_face_there_is_nothing_to_hold() -> None:
    assert Held()(_keypoints([3.0]), [0.0]).positions[0, 0, 0] == 3.0


def _watch(boxes: list[Box | None], levels: list[int] | None = None) -> list[tuple[CropBox, bool, bool]]:
    remaining = iter(boxes)

    def find(image: np.ndarray) -> Face | None:
        box = next(remaining)
        if box is None:
            return None
        corners = np.array([[box[0], box[1], 0], [box[2], box[3], 0]], np.float32)
        return Face(np.concatenate([corners, np.repeat(corners[:1], 476, 0)]), 0.9)

    watch = FaceWatch(find, HOME)
    images = [np.full((300, 400, 3), level, np.uint8) for level in levels or [120] * len(boxes)]
    return [tuple(watch(image)) for image in images]  # type: ignore[misc]


def _moved(x: float, y: float = 0.0) -> Box:
    return PLACE[0] + x, PLACE[1] + y, PLACE[2] + x, PLACE[3] + y


def test_an_ordinary_face_leaves_the_crop_where_it_is() -> None:
    boxes: list[Box | None] = [_moved(12 * np.sin(n), 10 * np.cos(n / 3)) for n in range(40)]
    assert _watch(boxes) == [(HOME, True, False)] * 40


def test_frames_without_a_face_are_not_good() -> None:
    seen = _watch([PLACE, PLACE, None, None, PLACE])
    assert [good for _, good, _ in seen] == [True, True, False, False, True]
    assert {crop for crop, _, _ in seen} == {HOME}


def test_a_crop_follows_a_face_that_walks() -> None:
    seen = _watch([_moved(3.0 * n) for n in range(60)])
    assert all(good for _, good, _ in seen)
    crops = [crop for crop, _, _ in seen]
    assert crops[0] == HOME and not seen[0][2] and seen[-1][2]
    assert all(0 <= b.x - a.x <= 4 for a, b in pairwise(crops))
    assert {crop.side for crop in crops} == {80} and {crop.y for crop in crops} == {60}
    last = _moved(3.0 * 59)
    assert last[2] - 10 < crops[-1].x + 80 < last[2] + 1


def test_the_crop_stays_in_the_picture() -> None:
    seen = _watch([_moved(-3.0 * n, -3.0 * n) for n in range(40)])
    assert seen[-1][0][:2] == (0, 0)


def test_a_face_that_jumps_is_believed_when_it_stays() -> None:
    seen = _watch([PLACE] * 3 + [_moved(200)] * 10)
    goods = [good for _, good, _ in seen]
    assert goods == [True] * 3 + [False] * (SETTLED - 1) + [True] * (10 - SETTLED + 1)
    assert all(crop == HOME for crop, good, _ in seen if not good)
    assert seen[-1] == (CropBox(260, 60, 80), True, True)


def test_a_glimpse_of_another_face_changes_nothing() -> None:
    seen = _watch([PLACE] * 3 + [_moved(200)] * (SETTLED - 1) + [PLACE] * 3)
    assert {crop for crop, _, _ in seen} == {HOME}
    assert [good for _, good, _ in seen] == [True] * 3 + [False] * (SETTLED - 1) + [True] * 3


def test_a_larger_face_in_the_same_place_gets_its_own_crop() -> None:
    large = (40.0, 40.0, 160.0, 160.0)
    seen = _watch([PLACE, *[large] * 8])
    assert seen[-1][0] == CropBox(4, 4, 192) and seen[-1][2]


def test_a_face_that_fades_is_not_good() -> None:
    goods = [good for _, good, _ in _watch([PLACE] * 8, [120, 120, 100, 60, 30, 20, 110, 120])]
    assert goods == [True, True, True, True, False, False, True, True]


def test_a_dark_scene_becomes_usual() -> None:
    goods = [good for _, good, _ in _watch([PLACE] * 150, [120] * 2 + [30] * 148)]
    assert not goods[2] and goods[-1]


def test_spans_in_words() -> None:
    spans = Spans()
    for number, letter in enumerate("..xxx..x" + "." * 1500 + "xx.x.x.x.x"):
        spans.add(Fraction(number, 25), letter == "x")
    assert str(spans) == "0:00.08 to 0:00.16, 0:00.28, 1:00.32 to 1:00.36, 1:00.44, 1:00.52 and 2 more times"
    assert spans.frames == 10


@pytest.fixture(scope="module")
def model(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(Network(tiny_config.network).eval(), folder, "card")
    return folder


def _driver(folder: Path, pattern: str) -> Path:
    """The astronaut's head, moving (x); black (.); or elsewhere in the picture (>)."""
    folder.mkdir()
    head = read_image(ASTRONAUT)[20:260, 90:410]
    for number, letter in enumerate(pattern):
        picture = np.zeros((240, 700, 3), np.uint8)
        left = 380 if letter == ">" else 0
        if letter != ".":
            picture[:, left : left + 320] = np.roll(head, number % 5, axis=1)
        write_image(folder / f"{number}.png", picture)
    return folder


def _positions(template: Path) -> torch.Tensor:
    detected = MotionTemplate.load(template).detected
    assert detected is not None
    return detected.positions


def test_a_black_middle_holds_the_motion(model: Path, tmp_path: Path) -> None:
    driver, template = _driver(tmp_path / "clip", "xxxxxx...xxxxxxxx"), tmp_path / "motion.safetensors"
    result = extract_motion(driver, template, model=model)
    assert result.frames == 17
    assert result.warnings == [f"no face to rely on in 5 frames of {driver} (0:00.16 to 0:00.32): the last good motion was held"]
    positions = _positions(template)
    for number in range(4, 9):
        assert torch.equal(positions[number], positions[3])
    assert not torch.equal(positions[10], positions[3])
    ends = tmp_path / "ends.safetensors"
    extract_motion(_driver(tmp_path / "end", "xxxxxx..."), ends, model=model)
    assert torch.equal(_positions(ends)[8], _positions(ends)[3])


def test_animation_holds_as_its_template_does(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[np.ndarray] = []
    monkeypatch.setattr("mrfa.animation.job.VideoWriter.write", lambda self, image, *rest: written.append(image))
    monkeypatch.setattr("mrfa.animation.job.VideoWriter._finish", lambda self: None)
    monkeypatch.setattr("mrfa.animation.portrait.RELEASE", 1.0)  # nothing fades from frame to frame
    driver = _driver(tmp_path / "clip", "xxxxx..xxx")
    result = animate_file(ASTRONAUT, driver, tmp_path / "out.mp4", model=model, paste_back=False)
    # A head that random weights find may seem to turn far, which is told, too.
    assert sum("no face to rely on in 4 frames" in warning for warning in result.warnings) == 1
    assert all(np.array_equal(written[number], written[2]) for number in range(3, 7))


def test_a_cut_to_another_place_is_followed_and_said(model: Path, tmp_path: Path) -> None:
    driver = _driver(tmp_path / "clip", "x" * 12 + ">" * 12)
    template = tmp_path / "motion.safetensors"
    warnings = extract_motion(driver, template, model=model).warnings
    assert any(f"the face of {driver} left its place (0:00." in line for line in warnings)
    positions = _positions(template)
    # The same head in its own crop moves the keypoints about as before.
    assert (positions[-1] - positions[0]).abs().max() < 0.2
