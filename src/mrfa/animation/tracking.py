"""What happens in a driver where its face cannot be seen, or goes where its crop does not reach.

Motion from pictures without a face tears the portrait. Such frames hold the last good motion, from which the portrait eases back
when the face returns. A crop follows the face that leaves it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from mrfa.animation.crop import FACE_MARGIN, CropBox, square_around
from mrfa.faces.finder import Face
from mrfa.faces.landmarks import Box
from mrfa.network.keypoints import Keypoints, stack_keypoints

T = TypeVar("T")

# Frames before one without a face are not trusted either: a hand is on its way, or the picture is fading.
WARY = 2
# Frames over which the portrait eases back, at most; after a short gap no more than were missed.
EASE = 8
# A face elsewhere, or of another size, is believed once it was seen in so many frames in turn.
SETTLED = 5
NEAR, ALIKE = 1.0, 1.6
# Below this share of the brightness that the face has had, it is fading out, and its features with it.
DARK = 0.3
# How fast the crop gives way to a face that presses against its border, a frame, and how fast the usual brightness adapts.
GIVE, ADAPT = 0.3, 0.02


# A crop that is further from its place than this share of its side is said to have left it.
AWAY = 0.1


class Seen(NamedTuple):
    """A frame as the watch sees it.

    Attributes:
        crop: where its face is to be cut out.
        good: whether its face can be trusted.
        moved: whether the crop had to leave its place for it.
    """

    crop: CropBox
    good: bool
    moved: bool


class FaceWatch:
    """Watches the face of a driver, frame by frame.

    Args:
        find: finds the face of a frame, following it from frame to frame.
        crop: of the whole clip, a square around all places where the face usually is.
    """

    def __init__(self, find: Callable[[np.ndarray], Face | None], crop: CropBox) -> None:
        self._find, self._home = find, crop
        self._x, self._y, self._side = float(crop.x), float(crop.y), float(crop.side)
        self._last: Box | None = None
        self._stranger: Box | None = None
        self._settled = 0
        self._usual: float | None = None

    def __call__(self, image: np.ndarray) -> Seen:
        """The crop for a frame, uint8 RGB `[H, W, 3]`, and whether its face is good."""
        face = self._find(image)
        size = image.shape[1], image.shape[0]
        good = face is not None and self._known(face.box, size) and self._lit(image, face.box)
        if face is not None and good:
            self._last = face.box
            self._follow(face.box, size)
        crop = CropBox(round(self._x), round(self._y), round(self._side))
        away = max(abs(crop.x - self._home.x), abs(crop.y - self._home.y), abs(crop.side - self._home.side))
        return Seen(crop, good, away > AWAY * self._home.side)

    def _known(self, box: Box, size: tuple[int, int]) -> bool:
        """Whether a face is the one that was followed, or has been in its new place for long enough."""
        known = self._last is None or _near(box, self._last)
        if known and (self._last is not None or self._inside(box)):
            self._stranger, self._settled = None, 0
            return True
        self._settled = self._settled + 1 if self._stranger is not None and _near(box, self._stranger) else 1
        self._stranger = box
        if self._settled < SETTLED:
            return False
        self._stranger, self._settled, self._usual = None, 0, None
        if not self._inside(box) or not _alike(_side(box) * FACE_MARGIN, self._side):
            # The new face's own crop, where the old one does not fit it.
            self._x, self._y, self._side = map(float, square_around(box, *size))
        return True

    def _inside(self, box: Box) -> bool:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self._x <= x <= self._x + self._side and self._y <= y <= self._y + self._side

    def _follow(self, box: Box, size: tuple[int, int]) -> None:
        """Give way to a face that presses against the crop's border, as far as the picture goes."""
        x = self._x + GIVE * _overlap(box[0], box[2], self._x, self._x + self._side)
        y = self._y + GIVE * _overlap(box[1], box[3], self._y, self._y + self._side)
        self._x, self._y = min(max(x, 0.0), size[0] - self._side), min(max(y, 0.0), size[1] - self._side)

    def _lit(self, image: np.ndarray, box: Box) -> bool:
        """Whether a face is about as bright as it has been of late."""
        x0, y0, x1, y1 = (max(0, round(value)) for value in box)
        part = image[y0:y1:4, x0:x1:4]
        value = float(part.mean()) if part.size else 0.0
        if self._usual is None:
            self._usual = value
        lit = value >= DARK * self._usual
        self._usual += ADAPT * (value - self._usual)
        return lit


class Held:
    """Keeps the last good motion of a stream of keypoints where frames are not trusted."""

    def __init__(self) -> None:
        self._kept: Keypoints | None = None
        self._shown: Keypoints | None = None

    def __call__(self, keypoints: Keypoints, trusts: Iterable[float]) -> Keypoints:
        """Keypoints of B frames, positions `[B, K, 2]`, moved to the last good ones: by 0 nowhere, by 1 not at all."""
        moved: list[Keypoints] = []
        for number, trust in enumerate(trusts):
            here = keypoints.part(slice(number, number + 1))
            if trust == 0 and self._shown is not None:
                here = self._kept = self._shown
            elif trust < 1 and self._kept is not None:
                here = self._kept.towards(here, trust)
            self._shown = here
            moved.append(here)
        return stack_keypoints(moved)


def trusted(frames: Iterable[tuple[T, bool]], wary: int = WARY) -> Iterator[tuple[T, float]]:
    """How far each frame of a stream is trusted, in [0, 1], from whether its face is good. Reads `wary` frames ahead."""
    source = iter(frames)
    ahead = deque(islice(source, wary + 1))
    missed, back = 0, 0
    while ahead:
        frame, _ = ahead[0]
        if not all(good for _, good in ahead):
            missed, back = missed + 1 if back == 0 else 1, 0
            yield frame, 0.0
        elif missed:
            back += 1
            steps = min(missed, EASE)
            share = back / (steps + 1)
            if back > steps:
                missed, back, share = 0, 0, 1.0
            yield frame, smooth_step(share)
        else:
            yield frame, 1.0
        ahead.popleft()
        ahead.extend(islice(source, 1))


def smooth_step(share: float) -> float:
    """A share in [0, 1] that leaves 0 and reaches 1 without a jerk (Hermite's)."""
    return share * share * (3 - 2 * share)


class Spans:
    """Stretches of a clip, gathered frame by frame, in words."""

    def __init__(self) -> None:
        self._spans: list[tuple[Fraction, Fraction]] = []
        self._open = False
        self.frames = 0

    def add(self, time: Fraction, here: bool) -> None:
        """The next frame, its time in seconds, and whether it belongs to a stretch."""
        if here:
            self.frames += 1
            start = self._spans.pop()[0] if self._open else time
            self._spans.append((start, time))
        self._open = here

    def __str__(self) -> str:
        words = [_clock(a) if a == b else f"{_clock(a)} to {_clock(b)}" for a, b in self._spans[:5]]
        return ", ".join(words) + (f" and {len(self._spans) - 5} more times" if len(self._spans) > 5 else "")


def _clock(time: Fraction) -> str:
    minutes, seconds = divmod(float(time), 60)
    return f"{int(minutes)}:{seconds:05.2f}"


def _side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1], 1.0)


def _near(one: Box, other: Box) -> bool:
    """Whether two boxes may be those of one face in frames that follow each other."""
    distance = max(abs(one[0] + one[2] - other[0] - other[2]), abs(one[1] + one[3] - other[1] - other[3])) / 2
    return distance < NEAR * _side(other) and _alike(_side(one), _side(other))


def _alike(one: float, other: float) -> bool:
    return 1 / ALIKE < one / other < ALIKE


def _overlap(low: float, high: float, first: float, last: float) -> float:
    """By how much an extent lies beyond another; 0 where it lies inside, or is larger."""
    if high - low > last - first:
        return (low + high - first - last) / 2
    return min(low - first, 0) + max(high - last, 0)
