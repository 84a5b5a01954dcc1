"""The driver, looked through before it animates: which of its frames counts as the portrait's pose, and what its face is like."""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from mrfa.animation.animator import Animator, check_kind
from mrfa.animation.driver import DrivingFrame, Progress, TemplateDriver, VideoDriver
from mrfa.animation.settings import MotionSettings
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints, stack_keypoints

# Of a longer driver every second, fourth, ... frame is looked at, so that memory and time are bounded.
MOST_SAMPLES = 512


class Start(NamedTuple):
    """Which of the driver's frames counts as the portrait's pose.

    Attributes:
        kind: `best`: where pose and expression are nearest to the portrait's; `first`; by `number` from 0; or by `seconds`.
        value: the number, or the seconds.
    """

    kind: Literal["best", "first", "number", "seconds"]
    value: float = 0


class Study(NamedTuple):
    """What was seen of a driver.

    Attributes:
        initial: keypoints of the frame that counts as the portrait's pose, positions `[1, K, 2]`.
        clip: positions of frames from all over it, `[N, K, 2]`.
    """

    initial: Keypoints
    clip: Tensor


class _Seen(NamedTuple):
    number: int
    keypoints: Keypoints


def parse_start(text: str) -> Start:
    """Read `best`, `first`, a frame's number, or seconds: a number with a point or an `s`, such as `1.5` or `2s`.

    Raises:
        InputError: it is none of these.
    """
    text = text.strip().lower()
    if text == "best":
        return Start("best")
    if text == "first":
        return Start("first")
    if re.fullmatch(r"\d{1,9}", text):
        return Start("number", int(text))
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?s|\d{1,9}\.\d{1,9}", text):
        return Start("seconds", float(text.removesuffix("s")))
    raise InputError(f"'{text}' is no start: give best, first, a frame's number such as 12, or seconds such as 1.5s")


def study_driver(
    driver: VideoDriver | TemplateDriver,
    animator: Animator,
    source: Keypoints,
    settings: MotionSettings,
    start: Start,
    *,
    name: str | Path,
    on_progress: Progress | None = None,
) -> Study:
    """Look through a driver that is prepared; of each frame no more than its keypoints is kept, and of at most `MOST_SAMPLES`.

    Args:
        driver: what is read once.
        animator: finds keypoints.
        source: the portraits' keypoints.
        settings: of the transfer: what is near depends on it.
        start: which frame counts as the portraits' pose.
        name: what errors call the driver.
        on_progress: told of every frame.

    Raises:
        InputError: the driver holds no frames, or not the one that the start names.
    """
    samples: list[_Seen] = []
    named: Keypoints | None = None
    spare: Keypoints | None = None  # where no frame is trusted
    stride = 1
    frames = enumerate(driver.frames(animator.size, 0))
    while batch := list(islice(frames, animator.batch_size)):
        if spare is None:
            spare = animator.detect([batch[0][1].driving])
            check_driver(spare, source, name)
        for number, keypoints, is_start in _detected(batch, stride, driver.time_base, animator, start if named is None else None):
            if is_start and named is None:
                named = keypoints
            if number % stride == 0:
                samples.append(_Seen(number, keypoints))
        if len(samples) > MOST_SAMPLES:
            stride *= 2
            samples = [sample for sample in samples if sample.number % stride == 0]
        if on_progress is not None:
            on_progress("reading the motion", batch[-1][0] + 1, driver.total)
    if spare is None:
        raise InputError(f"{name} holds no frames that can be read")
    if not samples:
        return Study(spare, spare.positions)
    clip = stack_keypoints(sample.keypoints for sample in samples)
    if start.kind == "best":
        named = samples[settings.best_start(animator.network, source, clip.positions)].keypoints
    if named is None:
        raise InputError(f"{name} ends before the start at {start.value:g}{'s' if start.kind == 'seconds' else ''}")
    return Study(named, clip.positions)


def check_driver(keypoints: Keypoints, expected: Keypoints, name: str | Path) -> None:
    """Check that a driver's keypoints are of the number and the kind of the portrait's; `name` says which driver.

    Raises:
        InputError: they are not.
    """
    try:
        check_kind(keypoints, expected)
    except InputError as error:
        raise InputError(f"{name} does not fit the model: {error}") from None


def _detected(
    batch: list[tuple[int, DrivingFrame]], stride: int, time_base: Fraction, animator: Animator, start: Start | None
) -> Iterator[tuple[int, Keypoints, bool]]:
    """Number and keypoints of a batch's trusted frames that are samples or may be the start, and whether they may."""
    wanted = []
    for number, frame in batch:
        is_start = start is not None and _is_reached(start, number, float(frame.pts * time_base))
        if frame.trust == 1 and (is_start or number % stride == 0):
            wanted.append((number, frame.driving, is_start))
    if wanted:
        positions, affine = animator.detect([driving for _, driving, _ in wanted])
        for place, (number, _, is_start) in enumerate(wanted):
            one = slice(place, place + 1)
            yield number, Keypoints(positions[one], None if affine is None else affine[one]), is_start


def _is_reached(start: Start, number: int, seconds: float) -> bool:
    if start.kind == "seconds":
        return seconds >= start.value
    return start.kind == "first" or (start.kind == "number" and number >= start.value)
