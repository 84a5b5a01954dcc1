"""Portraits driven by pictures as they come: the face is followed, and every picture answered at once."""

import threading
import time
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas
from mrfa.animation.crop import crop_image, picture_crop, square_around
from mrfa.animation.face_motion import STRONGEST, Strengths
from mrfa.animation.live import BestSoFar
from mrfa.animation.motion import Transfer
from mrfa.animation.portrait import drawn_crops
from mrfa.animation.settings import MotionSettings
from mrfa.animation.smoothing import SmoothMotion
from mrfa.animation.tracking import FaceWatch, Held, trusted
from mrfa.data.images import read_image
from mrfa.faces.finder import FaceFinder
from mrfa.live.camera import Shot
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Source

# By how much a key makes the expression stronger or weaker, and how fast the shown rate and delay adapt.
STEP, ADAPT = 0.1, 0.1

COMMANDS = {
    "calibrate": "the face as it is now counts as the portrait's pose",
    "next": "the next portrait",
    "mirror": "left for right",
    "weaker": "less expression",
    "stronger": "more expression",
    "quit": "the end",
}


class Shown(NamedTuple):
    """A picture to be shown.

    Attributes:
        image: uint8 RGB `[H, W, 3]`.
        followed: whether a face is seen; otherwise its last good motion is held.
        delay: seconds from the camera's picture to this one, about.
        rate: pictures a second, about.
    """

    image: np.ndarray
    followed: bool
    delay: float
    rate: float


class LiveSession:
    """Portraits, one of which follows a face.

    Args:
        animator: with the network.
        portraits: picture files, at least one.
        mirror: show the driver, and so the portrait, as a mirror does.
        smooth: steady the motion, 0 to 1.
        paste_back: show the whole portrait, otherwise its crop.

    Raises:
        InputError: a portrait cannot be read or shows no face, or smoothing is out of range.
    """

    def __init__(
        self,
        animator: Animator,
        portraits: list[Path],
        *,
        mirror: bool = True,
        smooth: float = 0.5,
        paste_back: bool = True,
    ) -> None:
        self._animator = animator
        self._portraits = [_prepare(animator, path, paste_back) for path in portraits]
        self._mirror, self._smooth = mirror, smooth
        SmoothMotion(smooth)
        self._number, self._expression = 0, 1.0
        self._transfer: Transfer | None = None
        self._initial: Keypoints | None = None
        self._find = FaceFinder(tracking=True, closely=True)
        self._watch: FaceWatch | None = None
        self._hold, self._steady = Held(), SmoothMotion(smooth)
        self._asked: list[str] = []
        self._lock = threading.Lock()
        self._quit = False

    def ask(self, command: str) -> None:
        """Do one of `COMMANDS` before the next picture. Any thread may ask.

        Raises:
            ValueError: there is no such command.
        """
        if command not in COMMANDS:
            raise ValueError(f"there is no command '{command}': choose from {', '.join(COMMANDS)}")
        with self._lock:
            self._asked.append(command)

    @property
    def settings(self) -> str:
        """What the commands have set so far, in words."""
        mirrored = ", mirrored" if self._mirror else ""
        return f"portrait {self._number + 1} of {len(self._portraits)}, expression {self._expression:.1f}{mirrored}"

    def pictures(self, shots: Iterable[Shot]) -> Iterator[Shown]:
        """A picture for every shot, until there are no more or the end is asked for."""
        pace = _Pace()
        # Nothing is read ahead: the portrait would lag by it.
        for (shot, keypoints), trust in trusted(self._seen(shots), wary=0):
            if keypoints is None:
                image = self._portraits[self._number].canvas.unchanged(None)
            else:
                image = self._drawn(self._steady(self._hold(keypoints, [trust]), [shot.taken]))
            pace.add(shot.taken, time.monotonic())
            yield Shown(image, trust > 0, pace.delay, pace.rate)

    def _seen(self, shots: Iterable[Shot]) -> Iterator[tuple[tuple[Shot, Keypoints | None], bool]]:
        """Every shot with the driver's keypoints, and whether its face is good; without keypoints until there is a face."""
        for shot in shots:
            calibrate = self._obey()
            if self._quit:
                return
            image = cv2.flip(shot.image, 1) if self._mirror else shot.image
            if self._watch is None or calibrate:
                self._watch = self._watched(image) or self._watch
            if self._watch is None:
                yield (shot, None), False
                continue
            crop, good, _ = self._watch(image)
            keypoints = self._animator.detect(crop_image(image, crop, self._animator.size))
            if calibrate and good:
                self._initial, self._transfer = keypoints, None
            yield (shot, keypoints), good

    def _watched(self, image: np.ndarray) -> FaceWatch | None:
        """A watch over the square around the face that is seen now, if any."""
        face = self._find(image)
        return None if face is None else FaceWatch(self._find, square_around(face.box, image.shape[1], image.shape[0]))

    def _obey(self) -> bool:
        """Do what was asked for; whether the face is to be looked at anew."""
        with self._lock:
            asked, self._asked = self._asked, []
        for command in asked:
            if command == "next":
                self._number = (self._number + 1) % len(self._portraits)
            elif command == "mirror":
                self._mirror = not self._mirror
                self._initial, self._watch, self._find = None, None, FaceFinder(tracking=True, closely=True)
                self._hold, self._steady = Held(), SmoothMotion(self._smooth)
            elif command in ("weaker", "stronger"):
                change = STEP if command == "stronger" else -STEP
                self._expression = min(max(round(self._expression + change, 3), 0.0), STRONGEST)
        if asked:
            self._transfer = None
        self._quit = "quit" in asked
        return "calibrate" in asked

    def _drawn(self, keypoints: Keypoints) -> np.ndarray:
        """The portrait in the pose of keypoints, positions `[1, K, 2]`."""
        portrait = self._portraits[self._number]
        if self._transfer is None:
            self._transfer = self._begun(portrait.source, keypoints)
        drawn = self._animator.step(portrait.source, keypoints, transfer=self._transfer)
        crop, displacement = next(drawn_crops(drawn, self._animator.network.conventions))
        return portrait.canvas.draw(crop, displacement, None)

    def _begun(self, source: Source, keypoints: Keypoints) -> Transfer | None:
        """What moves a portrait: from the calibrated pose, or else from the best so far."""
        settings, network = MotionSettings(strengths=Strengths(expression=self._expression)), self._animator.network
        if self._initial is not None:
            return settings.transfer(network, source.keypoints, self._initial)
        transfer = settings.transfer(network, source.keypoints, keypoints)
        assert transfer is not None
        return BestSoFar(transfer, partial(settings.best_start, network, source.keypoints))


class _Pace:
    """Mean delay of pictures in seconds, and how many come a second; of late ones, mostly."""

    def __init__(self) -> None:
        self.delay = 0.0
        self._last: float | None = None
        self._step: float | None = None

    @property
    def rate(self) -> float:
        return 1 / self._step if self._step else 0.0

    def add(self, taken: float, shown: float) -> None:
        """A picture, taken and shown at times in seconds."""
        if self._last is None:
            self.delay = shown - taken
        else:
            step = shown - self._last
            self.delay += ADAPT * (shown - taken - self.delay)
            self._step = step if self._step is None else self._step + ADAPT * (step - self._step)
        self._last = shown


class _LivePortrait(NamedTuple):
    source: Source
    canvas: Canvas


def _prepare(animator: Animator, path: Path, paste_back: bool) -> _LivePortrait:
    image = read_image(path)
    box, _ = picture_crop(image, "auto", path, "largest")
    source = animator.encode(crop_image(image, box, animator.size))
    canvas = Canvas(image, box, animator.size, paste_back=paste_back, compare=False, with_driver=False)
    return _LivePortrait(source, canvas)
