"""Motion templates that are made of others: cut, joined, mirrored, played at another speed, and looped.

What is a frame of the original keeps all that the original says of it. Between frames poses are interpolated on the group of
rotations, sizes by their ratio, places and expressions linearly; such frames have named places alone, and so has a mirrored
template: what only the detector that made the template knows of its frames is left out for all of the result.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import reduce
from math import gcd
from typing import Literal, get_args

import torch
from torch import Tensor

from mrfa.animation.expression import Frames
from mrfa.animation.head import HeadPose, face_statistics, project, rotation_of, vector_of
from mrfa.animation.template import FARTHEST, LARGEST, DetectorTrack, FaceTrack, MotionTemplate, time_fits
from mrfa.data.guidance import MIRRORED_GROUPS
from mrfa.errors import InputError

LoopKind = Literal["fade", "back"]

# A second may become half a minute; and about eleven hours at 25 frames a second are long enough.
SLOWEST, FASTEST = Fraction(1, 32), Fraction(32)
LOWEST_RATE, HIGHEST_RATE = Fraction(1), Fraction(240)
MOST_FRAMES = 1_000_000
# Time stamps that are nearer, in seconds, are the same.
_EXACT = 1e-9


def trim(template: MotionTemplate, first: int, last: int) -> MotionTemplate:
    """The frames from `first` up to, and without, `last`.

    Raises:
        InputError: these are no frames of the template.
    """
    if not 0 <= first < last <= len(template):
        raise InputError(f"there are no frames {first} to {last} in a template of {len(template)}")
    chosen = range(first, last)
    return _picked(template, chosen, template.pts[first:last], template.durations[first:last])


def frame_number(template: MotionTemplate, text: str) -> int:
    """A frame by its number, such as `12`, or by seconds from the first frame's beginning, such as `1.5` or `2s`: the first one
    that begins then or later, and beyond the end their count.

    Raises:
        InputError: it is neither.
    """
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?s|\d{1,9}\.\d{1,9}", text):
        return _frame_at(template, float(text.removesuffix("s")))
    raise InputError(f"'{text}' is no place in a template: give a frame's number such as 12, or seconds such as 1.5s")


def mirror(template: MotionTemplate) -> MotionTemplate:
    """The template as a mirror shows it, left for right; mirrored twice it is the same.

    Raises:
        InputError: it has no named places.
    """
    places, shape = template.named_face()
    other, flip = list(MIRRORED_GROUPS), torch.tensor([-1.0, 1.0])
    return replace(template, face=FaceTrack(places[:, other] * flip, shape[other] * flip), detected=None)


def retime(template: MotionTemplate, speed: Fraction = Fraction(1), rate: Fraction | None = None) -> MotionTemplate:
    """The same motion at another speed or with other frames a second, which are evenly spaced.

    Args:
        template: with named places.
        speed: 2 is twice as fast.
        rate: frames a second of the result; None: as before.

    Raises:
        InputError: speed or rate is out of range, or the template has no named places.
    """
    rate = template.rate if rate is None else rate
    if not SLOWEST <= speed <= FASTEST:
        raise InputError(f"the speed must be {SLOWEST} to {FASTEST}, got {float(speed):g}")
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or max(rate.numerator, rate.denominator) > LARGEST:
        raise InputError(f"the rate must be {LOWEST_RATE} to {HIGHEST_RATE} frames a second, got {float(rate):g}")
    count = max(1, round(template.length / speed * rate))
    _check_count(count)
    times = torch.arange(count, dtype=torch.float64) * float(speed / rate)
    return MotionTemplate(
        pts=list(range(count)),
        durations=[1] * count,
        time_base=1 / rate,
        rate=rate,
        face=_face(_sampled(template.frames(), template.seconds(), times)),
        detected=None,
    )


def join(templates: Sequence[MotionTemplate], ease: Fraction = Fraction(1, 2)) -> MotionTemplate:
    """Templates one after another, the first one's person doing what all of them do.

    Args:
        templates: at least one, with named places.
        ease: seconds at each seam over which the end of one fades into the beginning of the next.

    Raises:
        InputError: a template is shorter than the seam, has no named places, or their time stamps do not go together.
    """
    return reduce(lambda one, other: _joined(one, other, ease), templates)


def loop(template: MotionTemplate, kind: LoopKind = "fade", ease: Fraction = Fraction(1, 2), times: int = 1) -> MotionTemplate:
    """A template whose end meets its start, so that it may be played again and again.

    Args:
        template: `fade` needs named places.
        kind: `fade`: the last `ease` seconds are cut off and fade into the first ones; `back`: forwards and then backwards.
        ease: seconds.
        times: how often the loop is played, at least once.

    Raises:
        InputError: no such kind, the template is too short, or the result would be too long.
    """
    if kind not in get_args(LoopKind):
        raise InputError(f"there is no loop '{kind}': choose from {', '.join(get_args(LoopKind))}")
    once = _back_and_forth(template) if kind == "back" else _faded_loop(template, ease)
    _check_count(len(once) * times)
    period = int(once.length / once.time_base)
    pts = [value + turn * period for turn in range(times) for value in once.pts]
    return _picked(once, list(range(len(once))) * times, pts, once.durations * times)


def _back_and_forth(template: MotionTemplate) -> MotionTemplate:
    count = len(template)
    if count < 3:
        raise InputError(f"a template of {count} frames is too short to go back and forth")
    order = [*range(count), *range(count - 2, 0, -1)]
    steps = [abs(template.pts[later] - template.pts[earlier]) for earlier, later in zip(order, [*order[1:], 0], strict=True)]
    pts = [template.pts[0]]
    for step in steps[:-1]:
        pts.append(pts[-1] + step)
    return _picked(template, order, pts, list(steps))


def _faded_loop(template: MotionTemplate, ease: Fraction) -> MotionTemplate:
    frames, seconds, end = template.frames(), template.seconds(), _seam(template, ease)
    if end == len(template):
        raise InputError(f"no frame begins in the last {float(ease):g} s, over which the loop should fade: give more")
    overlap = float(template.length) - float(seconds[end])
    if seconds[end] < overlap:
        raise _too_short(template, ease)
    tail = _sampled(frames, seconds, seconds[end] + seconds[:end])
    face = _face(_between(tail, _part(frames, slice(0, end)), _smooth(seconds[:end] / overlap)))
    durations = [*template.durations[: end - 1], template.pts[end] - template.pts[end - 1]]
    return replace(template, pts=template.pts[:end], durations=durations, face=face, detected=None)


def _joined(one: MotionTemplate, other: MotionTemplate, ease: Fraction) -> MotionTemplate:
    first, second = one.frames(), other.frames()
    second = second._replace(front=first.shape + (second.front - second.shape), shape=first.shape)
    seam, seconds = _seam(one, ease), other.seconds()
    start = one.length if seam == len(one) else (one.pts[seam] - one.pts[0]) * one.time_base
    overlap = one.length - start
    if overlap > other.length:
        raise _too_short(other, ease)
    _check_count(seam + len(other))
    before = _sampled(first, one.seconds(), float(start) + seconds)
    shares = _smooth(seconds / float(overlap)) if overlap else torch.ones_like(seconds)
    places = [_face(part).places for part in (_part(first, slice(0, seam)), _between(before, second, shares))]
    unit = _common_unit(one.time_base, other.time_base)
    a, b = int(one.time_base / unit), int(other.time_base / unit)
    pts = [(value - one.pts[0]) * a for value in one.pts[:seam]]
    pts += [round(start / unit) + (value - other.pts[0]) * b for value in other.pts]
    durations = [None if value is None else value * a for value in one.durations[:seam]]
    durations += [None if value is None else value * b for value in other.durations]
    mean_rate = len(pts) / (start + other.length)
    rate = one.rate if one.rate == other.rate else mean_rate.limit_denominator(1001)
    joined = MotionTemplate(pts, durations, unit, rate, FaceTrack(torch.cat(places), first.shape.float()), None)
    if not time_fits(joined):
        raise InputError("the templates' time stamps do not go together: give all the same rate with  mrfa motion retime --rate")
    return joined


def _seam(template: MotionTemplate, ease: Fraction) -> int:
    """The first of the frames that begin in the last `ease` seconds; their count where none does."""
    if not 0 <= ease < template.length:
        raise _too_short(template, ease)
    return _frame_at(template, float(template.length - ease))


def _frame_at(template: MotionTemplate, seconds: float) -> int:
    """The first frame that begins so many seconds after the first one, or later."""
    return int(torch.searchsorted(template.seconds(), torch.tensor(seconds, dtype=torch.float64) - _EXACT))


def _too_short(template: MotionTemplate, ease: Fraction) -> InputError:
    return InputError(f"a template of {float(template.length):.2f} s is too short to fade over {float(ease):g} s: give less")


def _common_unit(one: Fraction, other: Fraction) -> Fraction:
    """The longest time of which both are multiples."""
    common = gcd(one.numerator * other.denominator, other.numerator * one.denominator)
    return Fraction(common, one.denominator * other.denominator)


def _picked(template: MotionTemplate, order: Sequence[int], pts: list[int], durations: Sequence[int | None]) -> MotionTemplate:
    """Frames of a template in another order, with all that is known of them."""
    chosen = list(order)
    face, detected = template.face, template.detected
    if face is not None:
        face = FaceTrack(face.places[chosen], face.shape)
    if detected is not None:
        affine = None if detected.affine is None else detected.affine[chosen]
        detected = DetectorTrack(detected.positions[chosen], affine, detected.fingerprint)
    return replace(template, pts=pts, durations=list(durations), face=face, detected=detected)


def _sampled(frames: Frames, seconds: Tensor, times: Tensor) -> Frames:
    """Frames that begin at `seconds` `[T]`, as they are at `times` `[N]`; the last one lasts."""
    before = (torch.searchsorted(seconds, times + _EXACT, right=True) - 1).clamp(0, len(seconds) - 1)
    after = (before + 1).clamp_max(len(seconds) - 1)
    gaps = (seconds[after] - seconds[before]).clamp_min(_EXACT)
    shares = ((times - seconds[before]) / gaps).clamp(0, 1)
    return _between(_part(frames, before), _part(frames, after), torch.where(after > before, shares, 0))


def _between(one: Frames, other: Frames, shares: Tensor) -> Frames:
    """Frames of one person between others, of which the second have these shares, `[N]`."""
    turn = vector_of(other.pose.rotation @ one.pose.rotation.transpose(1, 2))
    rotation = rotation_of(turn * shares[:, None]) @ one.pose.rotation
    scale = one.pose.scale * (other.pose.scale / one.pose.scale) ** shares
    place = torch.lerp(one.pose.place, other.pose.place, shares[:, None])
    return Frames(HeadPose(rotation, scale, place), torch.lerp(one.front, other.front, shares[:, None, None]), one.shape)


def _part(frames: Frames, chosen: slice | Tensor) -> Frames:
    return Frames(HeadPose(*(value[chosen] for value in frames.pose)), frames.front[chosen], frames.shape)


def _face(frames: Frames) -> FaceTrack:
    places = project(frames.front, frames.pose, face_statistics().mean[:, 2])
    return FaceTrack(places.float().clamp(-FARTHEST, FARTHEST), frames.shape.float())


def _smooth(shares: Tensor) -> Tensor:
    """Shares in time, `[N]`, as they rise without a jolt, from 0 to 1 and no further."""
    shares = shares.clamp(0, 1)
    return shares.square() * (3 - 2 * shares)


def _check_count(count: int) -> None:
    if count > MOST_FRAMES:
        raise InputError(f"a template of {count} frames would be too long: at most {MOST_FRAMES} will do")
