"""The driver, looked through before it animates: which of its frames counts as the portrait's pose, and what its face is like."""

import math
import re
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from mrfa.animation.animator import check_kind
from mrfa.animation.driver import MotionTrack
from mrfa.animation.face_motion import is_of_places
from mrfa.animation.settings import MotionSettings
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network

# Of a longer driver every second, third, ... frame is looked at, so that time is bounded.
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


def study_track(
    track: MotionTrack, network: Network, source: Keypoints, settings: MotionSettings, start: Start, *, name: str | Path
) -> Study:
    """Look through what a driver does, where its face is shown.

    Args:
        track: of the driver.
        network: of the keypoints.
        source: the portraits' keypoints.
        settings: of the transfer: what is near depends on it.
        start: which frame counts as the portraits' pose.
        name: what errors call the driver.

    Raises:
        InputError: the driver lacks the frame that the start names.
    """
    samples = shown_samples(track)
    clip = track.keypoints.positions[samples].to(source.positions.device)
    initial = samples[settings.best_start(network, source, clip)] if start.kind == "best" else _first_reached(start, track, name)
    return Study(track.keypoints.part(slice(initial, initial + 1)).to(source.positions.device), clip)


def check_track(track: MotionTrack, network: Network, source: Keypoints, settings: MotionSettings, name: str | Path) -> None:
    """Check that a driver's keypoints are of the number and the kind of the portrait's, or named places where these will do.

    Args:
        track: of the driver.
        network: of the keypoints.
        source: the portraits' keypoints.
        settings: of the transfer.
        name: what errors call the driver.

    Raises:
        InputError: they are not.
    """
    if is_of_places(network, track.keypoints):
        if not settings.takes_faces_apart(network):
            raise InputError(
                f"{name} knows of this model's keypoints only those with names, too few for {settings.kind} motion: "
                "leave --motion at auto, or make it again from the driving video with  mrfa motion extract --model"
            )
        return
    try:
        check_kind(track.keypoints, source)
    except InputError as error:
        raise InputError(f"{name} does not fit the model: {error}") from None


def shown_samples(track: MotionTrack) -> list[int]:
    """Frames of a driver that say what its face is like: from all over it, `MOST_SAMPLES` at most."""
    shown = _shown(track)
    return shown[:: math.ceil(len(shown) / MOST_SAMPLES)]


def _shown(track: MotionTrack) -> list[int]:
    """The frames that show the face; all, where none does."""
    return [number for number, trust in enumerate(track.trust) if trust == 1] or list(range(track.length))


def _first_reached(start: Start, track: MotionTrack, name: str | Path) -> int:
    """The first frame that shows the face, at the start or later."""
    for number in _shown(track):
        if (float(track.pts[number] * track.time_base) if start.kind == "seconds" else number) >= start.value:
            return number
    raise InputError(f"{name} ends before the start at {start.value:g}{'s' if start.kind == 'seconds' else ''}")
