"""What drives a portrait: a video or a folder of pictures, or a motion template.

Where the face is to be found in a driver of pictures, it is read twice: once for a crop that is stable over the clip, once to
animate.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.animation.animator import Animator
from mrfa.animation.crop import (
    Crop,
    CropBox,
    check_inside,
    crop_image,
    find_clip_face,
    turned_face_warnings,
    whole_picture,
)
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.animation.tracking import FaceWatch, Seen, Spans, trusted
from mrfa.data.video import VideoReader, open_frames
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.network.keypoints import Keypoints

# Called with the stage ("finding the face", "animating", ...), the frames done, and their number where it is known.
Progress = Callable[[str, int, int | None], None]

DEFAULT_RATE = Fraction(25)


class DrivingFrame(NamedTuple):
    """One driving frame.

    Attributes:
        driving: what enters the animator: a square picture uint8 RGB `[size, size, 3]`, or keypoints `[1, K, 2]`.
        pts: when it is shown, in units of the driver's `time_base`.
        duration: how long, in the same unit, where the driver says so.
        panel: its picture for a comparison, uint8 RGB `[h, h, 3]`.
        trust: how far its motion is to be believed, in [0, 1]; see `mrfa.animation.tracking`.
    """

    driving: np.ndarray | Keypoints
    pts: int
    duration: int | None
    panel: np.ndarray | None
    trust: float = 1.0


class VideoDriver:
    """A driver of pictures: a video or a folder.

    Args:
        path: of the video or folder.
        crop: where its face is.
        option: what the command line calls that crop.
    """

    has_pictures = True

    def __init__(self, path: Path, crop: Crop, option: str) -> None:
        self._path, self._crop, self._option = path, crop, option
        self._held, self._moved = Spans(), Spans()
        self._reader = open_frames(path)
        self._box: CropBox | None = None
        self._first, self._turn = 0, 0
        self._initial: np.ndarray | None = None
        self.total: int | None = self._reader.frame_count_estimate
        self.time_base = self._reader.time_base
        self.rate = self._reader.average_rate or DEFAULT_RATE
        with_audio = isinstance(self._reader, VideoReader) and self._reader.has_audio
        self.audio_from: Path | None = path if with_audio else None

    def prepare(self, animator: Animator, on_progress: Progress | None) -> None:
        """Find the crop."""
        if self._crop == "none":
            self._box = whole_picture(self._reader.width, self._reader.height)
        elif self._crop == "auto":
            estimate, count = self.total, 0

            def on_frame(done: int) -> None:
                nonlocal count
                count = done
                if on_progress is not None:
                    on_progress("finding the face", done, estimate)

            face = find_clip_face(self._reader, on_frame=on_frame, option=self._option)
            self._box, self._first, self._turn = face.crop, face.first, face.turn
            self._initial = crop_image(face.image, face.crop, animator.size)
            self.total = count
        else:
            self._box = check_inside(self._crop, self._reader.width, self._reader.height, self._path, self._option)

    def frames(self, size: int, panel_height: int) -> Iterator[DrivingFrame]:
        """Every frame at `size`, and for a comparison at `panel_height` where that is not 0."""
        self._held, self._moved = Spans(), Spans()  # the driver may be read more than once
        frames = self._watched(size, panel_height)
        for frame, trust in trusted(frames) if self._crop == "auto" else ((frame, 1.0) for frame, _ in frames):
            self._held.add(frame.pts * self.time_base, trust == 0)
            yield frame._replace(trust=trust)

    def _watched(self, size: int, panel_height: int) -> Iterator[tuple[DrivingFrame, bool]]:
        """Every frame, and whether its face is good, where a face was looked for at all."""
        assert self._box is not None, "prepare() comes first"
        watch = FaceWatch(FaceFinder(tracking=True), self._box) if self._crop == "auto" else None
        for number, (image, pts, duration) in enumerate(self._reader):
            # Relative motion starts from the first driving frame. Where that is black or a title, the driver is taken to
            # wait in the pose in which its face appears.
            waiting = self._initial if number < self._first else None
            seen = Seen(self._box, True, False) if watch is None or waiting is not None else watch(image)
            self._moved.add(pts * self.time_base, seen.moved)
            panel = crop_image(image, seen.crop, panel_height) if panel_height else None
            yield (
                DrivingFrame(crop_image(image, seen.crop, size) if waiting is None else waiting, pts, duration, panel),
                seen.good,
            )

    def warnings(self) -> list[str]:
        """What the user should know, after all frames were read."""
        found = turned_face_warnings(self._path, self._turn)
        if self._reader.truncated is not None:
            found.append(f"{self._path} is incomplete: {self._reader.truncated} and used")
        if self._held.frames:
            found.append(
                f"no face to rely on in {self._held.frames} frames of {self._path} ({self._held}): the last good motion was held"
            )
        if self._moved.frames:
            found.append(f"the face of {self._path} left its place ({self._moved}): the crop followed it")
        return found


class TemplateDriver:
    """A driver of keypoints."""

    has_pictures = False
    audio_from: Path | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._template = MotionTemplate.load(path)
        self.total: int | None = len(self._template)
        self.time_base, self.rate = self._template.time_base, self._template.rate

    def prepare(self, animator: Animator, on_progress: Progress | None) -> None:
        """Check that the template fits the model."""
        self._template.check_detector(animator.fingerprint, self._path)

    def frames(self, size: int, panel_height: int) -> Iterator[DrivingFrame]:
        """The keypoints of every frame."""
        template = self._template
        for keypoints, pts, duration in zip(template, template.pts, template.durations, strict=True):
            yield DrivingFrame(keypoints, pts, duration, None)

    def warnings(self) -> list[str]:
        """Nothing: a template is whole, or it is not read."""
        return []


def open_driver(path: Path, crop: Crop, option: str = "--driving-crop") -> VideoDriver | TemplateDriver:
    """The driver in a file or folder; `option` is what the command line calls its crop.

    Raises:
        InputError: it cannot be read, or a crop is given for a template.
    """
    if path.suffix.lower() != SUFFIX:
        return VideoDriver(path, crop, option)
    if crop != "auto":
        raise InputError(f"{path} is a motion template, which holds no picture: leave the driving crop out")
    return TemplateDriver(path)
