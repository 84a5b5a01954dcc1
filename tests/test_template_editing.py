"""Made-up motion, whose pose and expression are known, through the tools for templates."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from mrfa.animation import template_editing
from mrfa.animation.expression import Frames, mouth_opening, with_openings
from mrfa.animation.head import HeadPose, face_statistics, project, rotation_of, vector_of
from mrfa.animation.template import LARGEST, DetectorTrack, FaceTrack, MotionTemplate
from mrfa.animation.template_editing import frame_number, join, loop, mirror, retime, trim
from mrfa.data.guidance import GROUP_INDEX, GROUPS
from mrfa.errors import InputError

MEAN = face_statistics().mean
FREE, COUNT = 2, 10
TWENTIETH = Fraction(1, 20)


def moving(count: int = COUNT, turn: float = 3, begin: float = 0, shape: Tensor = MEAN[:, :2], mouth: float = 0.02):
    """A head that turns by `turn` degrees a frame while the mouth opens, at 20 frames a second that begin at unit 1000."""
    steps = torch.arange(count, dtype=torch.float64)
    angles = torch.stack([0 * steps, begin + turn * steps, 0.5 * steps], -1).deg2rad()
    pose = HeadPose(rotation_of(angles), 0.4 * 1.01**steps, torch.stack([0.01 * steps, 0 * steps], -1))
    front = with_openings(shape.expand(count, -1, 2), torch.full((count, 2), 0.3).double(), mouth * steps)
    places = project(front, pose, MEAN[:, 2]).float()
    affine = torch.eye(2) * (1 + steps.float())[:, None, None, None].expand(-1, GROUPS + FREE, 1, 1)
    return MotionTemplate(
        pts=[1000 + 50 * number for number in range(count)],
        durations=[50] * count,
        time_base=Fraction(1, 1000),
        rate=Fraction(20),
        face=FaceTrack(places, shape.float()),
        detected=DetectorTrack(steps.float()[:, None, None].expand(-1, FREE, 2), affine, "ab"),
    )


def angles(frames: Frames) -> Tensor:
    return vector_of(frames.pose.rotation).rad2deg()


def places(template: MotionTemplate) -> Tensor:
    return template.named_face().places


def test_trim_keeps_all_that_is_known_of_the_frames() -> None:
    whole = moving()
    cut = trim(whole, 3, 7)
    assert (cut.pts, cut.durations, cut.rate) == (whole.pts[3:7], [50] * 4, Fraction(20))
    assert torch.equal(places(cut), places(whole)[3:7]) and torch.equal(cut.named_face().shape, whole.named_face().shape)
    assert cut.detected is not None and cut.detected.affine is not None and cut.detected.fingerprint == "ab"
    assert cut.detected.positions[:, 0, 0].tolist() == cut.detected.affine[:, 0, 0, 0].sub(1).tolist() == [3, 4, 5, 6]
    for first, last in ((-1, 3), (3, 3), (5, 3), (0, COUNT + 1)):
        with pytest.raises(InputError, match=f"no frames {first} to {last} in a template of 10"):
            trim(whole, first, last)


def test_frames_are_found_by_number_and_seconds() -> None:
    whole = moving()
    assert [frame_number(whole, text) for text in ("0", "7", "0.0", "0.05", "0.051", "0.45s", "1s")] == [0, 7, 0, 1, 2, 9, 10]
    for text in ("best", "-1", "1e3", "nan", "1.5m", ""):
        with pytest.raises(InputError, match=f"'{text}' is no place in a template"):
            frame_number(whole, text)


def test_mirrored_twice_is_the_same() -> None:
    whole = moving(begin=5, shape=MEAN[:, :2] + 0.02 * torch.rand(GROUPS, 2, generator=torch.Generator().manual_seed(0)))
    once = mirror(whole)
    assert once.detected is None and once.pts == whole.pts
    right, left = GROUP_INDEX["right_eye_outer"], GROUP_INDEX["left_eye_outer"]
    assert torch.equal(places(once)[:, left], places(whole)[:, right] * torch.tensor([-1, 1]))
    flipped = angles(whole.frames()) * torch.tensor([1, -1, -1])
    torch.testing.assert_close(angles(once.frames()), flipped, atol=1e-3, rtol=0)
    twice = mirror(once)
    assert torch.equal(places(twice), places(whole)) and torch.equal(twice.named_face().shape, whole.named_face().shape)


def test_twice_as_fast_shows_every_second_frame() -> None:
    whole = moving()
    fast = retime(whole, Fraction(2))
    assert (fast.pts, fast.durations, fast.time_base, fast.rate) == ([0, 1, 2, 3, 4], [1] * 5, TWENTIETH, Fraction(20))
    torch.testing.assert_close(places(fast), places(whole)[::2], atol=1e-6, rtol=0)
    assert fast.length == whole.length / 2 and fast.detected is None


def test_half_as_fast_and_back_is_the_same() -> None:
    whole = moving()
    slow = retime(whole, Fraction(1, 2))
    assert len(slow) == 2 * COUNT and slow.length == 2 * whole.length
    torch.testing.assert_close(places(retime(slow, Fraction(2))), places(whole), atol=1e-6, rtol=0)


def test_between_frames_heads_turn_and_mouths_open_evenly() -> None:
    whole = moving(turn=20)
    dense = retime(whole, rate=Fraction(60)).frames()
    known = whole.frames()
    middle, one, other = angles(dense)[4], angles(known)[1], angles(known)[2]
    torch.testing.assert_close(middle, one + (other - one) / 3, atol=0.5, rtol=0)
    torch.testing.assert_close(
        dense.pose.scale[4], known.pose.scale[1] ** (2 / 3) * known.pose.scale[2] ** (1 / 3), rtol=1e-3, atol=0
    )
    openings = mouth_opening(known.front)
    torch.testing.assert_close(mouth_opening(dense.front)[4], (2 * openings[1] + openings[2]) / 3, atol=2e-3, rtol=0)


def test_a_changing_rate_becomes_even() -> None:
    whole = replace(moving(4), pts=[0, 100, 150, 400], durations=[None] * 4)
    even = retime(whole, rate=Fraction(20))
    assert len(even) == 9 and even.length == Fraction(9, 20)
    turned = angles(even.frames())[:, 1]
    expected = torch.tensor([0, 1.5, 3, 6, 6.6, 7.2, 7.8, 8.4, 9], dtype=torch.float64)
    torch.testing.assert_close(turned, expected, atol=0.05, rtol=0)


def test_joined_at_a_cut_both_stay_as_they_are() -> None:
    one, other = moving(), moving(6, begin=40)
    both = join([one, other], Fraction(0))
    torch.testing.assert_close(places(both), torch.cat([places(one), places(other)]), atol=1e-6, rtol=0)
    assert both.pts == [50 * number for number in range(16)] and both.durations == [50] * 16 and both.detected is None


def test_joined_templates_fade_into_each_other() -> None:
    one, other = moving(turn=0), moving(turn=0, begin=20)
    both = join([one, other], Fraction(1, 5))
    assert both.length == one.length + other.length - Fraction(1, 5) and len(both) == 16
    turned = angles(both.frames())[:, 1]
    torch.testing.assert_close(turned[:7], turned[:1].expand(7), atol=0.1, rtol=0)
    assert (turned[6:11].diff() > 1).all() and turned[8] == pytest.approx(10, abs=0.2)
    torch.testing.assert_close(turned[10:], torch.full((6,), 20.0).double(), atol=0.1, rtol=0)


def test_joined_templates_are_of_the_first_ones_person() -> None:
    wide = MEAN[:, :2] * torch.tensor([1.2, 1])
    both = join([moving(mouth=0), moving(mouth=0, shape=wide)], Fraction(0))
    torch.testing.assert_close(places(both)[COUNT:], places(both)[:COUNT], atol=6e-3, rtol=0)


def test_joined_time_stamps_are_exact_in_a_common_unit() -> None:
    other = replace(moving(4), pts=[0, 1001, 2002, 3003], durations=[1001] * 4, time_base=Fraction(1, 30000), rate=Fraction(30))
    both = join([moving(4), other, moving(4)], Fraction(0))
    seconds = [Fraction(value) * both.time_base for value in both.pts]
    third = Fraction(4, 20) + 4 * Fraction(1001, 30000)
    assert seconds == [
        *(number * TWENTIETH for number in range(4)),
        *(Fraction(4, 20) + number * Fraction(1001, 30000) for number in range(4)),
        *(third + number * TWENTIETH for number in range(4)),
    ]
    assert both.rate == pytest.approx(Fraction(12) / both.length, rel=1e-3)
    odd = replace(other, time_base=Fraction(1, LARGEST))
    with pytest.raises(InputError, match="time stamps do not go together"):
        join([moving(4), odd], Fraction(0))


def test_the_end_of_a_loop_meets_its_start() -> None:
    whole = moving(20)
    looped = loop(whole, "fade", Fraction(1, 5))
    assert looped.length == Fraction(16, 20) and looped.detected is None
    torch.testing.assert_close(places(looped)[0], places(whole)[16], atol=1e-6, rtol=0)
    torch.testing.assert_close(places(looped)[4:], places(whole)[4:16], atol=1e-6, rtol=0)
    between = angles(looped.frames())[1:4, 1]
    assert (between.diff() < 0).all() and between[0] < 48 and between[2] > 9


def test_back_and_forth_keeps_all_that_is_known_of_the_frames() -> None:
    whole = replace(moving(4), pts=[10, 20, 50, 90], durations=[None] * 4)
    there = loop(whole, "back")
    assert there.detected is not None and there.detected.positions[:, 0, 0].tolist() == [0, 1, 2, 3, 2, 1]
    assert torch.equal(places(there), places(whole)[[0, 1, 2, 3, 2, 1]])
    assert there.pts == [10, 20, 50, 90, 130, 160] and there.durations == [10, 30, 40, 40, 30, 10]


@pytest.mark.parametrize("kind", ["fade", "back"])
def test_a_loop_is_played_again(kind: str) -> None:
    once = loop(moving(), kind, Fraction(1, 5))  # type: ignore[arg-type]
    again = loop(moving(), kind, Fraction(1, 5), times=3)  # type: ignore[arg-type]
    assert again.length == 3 * once.length and len(again) == 3 * len(once)
    assert torch.equal(places(again), places(once).repeat(3, 1, 1)) and again.durations == once.durations * 3
    period = once.length / once.time_base
    assert again.pts == [pts + turn * period for turn in range(3) for pts in once.pts]


def test_what_cannot_be_done_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, nameless = moving(), replace(moving(), face=None)
    for edit in (mirror, retime, loop, lambda template: join([template, whole])):
        with pytest.raises(InputError, match="keypoints have no names"):
            edit(nameless)
    assert len(loop(nameless, "back")) == 18 and len(trim(nameless, 0, 2)) == 2
    for speed, rate, message in (
        (Fraction(0), None, "speed must be 1/32 to 32"),
        (Fraction(1), Fraction(500), "rate must be 1 to"),
    ):
        with pytest.raises(InputError, match=message):
            retime(whole, speed, rate)
    for ease in (Fraction(-1), Fraction(2), Fraction(2, 5)):
        with pytest.raises(InputError, match=r"0\.50 s is too short to fade over"):
            loop(whole, "fade", ease)
    with pytest.raises(InputError, match="no frame begins in the last 0 s"):
        loop(whole, "fade", Fraction(0))
    with pytest.raises(InputError, match=r"0\.15 s is too short to fade over"):
        join([whole, moving(3)], Fraction(1, 4))
    with pytest.raises(InputError, match="there is no loop 'round'"):
        loop(whole, "round")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 frames is too short to go back and forth"):
        loop(moving(2), "back")
    monkeypatch.setattr(template_editing, "MOST_FRAMES", 15)
    with pytest.raises(InputError, match="18 frames would be too long"):
        loop(whole, "back")
    for attempt in (lambda: retime(whole, Fraction(1, 2)), lambda: join([whole, whole], Fraction(0))):
        with pytest.raises(InputError, match="20 frames would be too long: at most 15"):
            attempt()
