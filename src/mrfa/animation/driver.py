"""What drives a portrait: a video or a folder of pictures, or a motion template.

A driver is read before it animates, and of each frame no more than its keypoints is kept. Where the face is to be found in its
pictures, they are read twice: once for a crop that is stable over the clip, once for the keypoints.
"""

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

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
from mrfa.animation.smoothing import smooth_clip
from mrfa.animation.stages import in_thread
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.animation.tracking import FaceWatch, Held, Seen, Spans, trusted
from mrfa.data.video import Frame, VideoReader, open_frames
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.network.keypoints import Keypoints, stack_keypoints

# Called with the stage ("finding the face", "animating", ...), the frames done, and their number where it is known.
Progress = Callable[[str, int, int | None], None]

DEFAULT_RATE = Fraction(25)
# Between frames that follow each other within so many seconds the motion goes on; further apart the first is held.
LONGEST_STEP = 0.2


class MotionTrack(NamedTuple):
    """What a driver does in T frames: all that drives a portrait, about 1 kB a frame.

    Attributes:
        keypoints: positions float32 `[T, K, 2]`, or of another detector's template `[T, G, 2]`, see `is_of_places`; on the CPU.
            Where there was no face to rely on, the last good ones.
        trust: of each frame, how far its own face is shown, in [0, 1]; see `mrfa.animation.tracking`.
        pts: when each is shown, in units of `time_base`.
        durations: how long, in the same unit, or None where the driver does not say.
        time_base: seconds a unit.
        rate: mean frames a second.
        shape: of the face, `[G, 2]`, see `FaceMotion`; None: it is yet to be found in the keypoints.
    """

    keypoints: Keypoints
    trust: list[float]
    pts: list[int]
    durations: list[int | None]
    time_base: Fraction
    rate: Fraction
    shape: Tensor | None = None

    @property
    def length(self) -> int:
        """Number of frames."""
        return len(self.pts)

    @property
    def times(self) -> list[Fraction]:
        """When each frame is shown, in seconds."""
        return [pts * self.time_base for pts in self.pts]

    @property
    def end(self) -> Fraction:
        """When the last frame ends, in seconds."""
        last = self.durations[-1]
        return self.pts[-1] * self.time_base + (1 / self.rate if last is None else last * self.time_base)

    def shown_at(self, times: Sequence[Fraction]) -> list[int]:
        """Numbers of the frames that are shown at times in seconds; before the first and after the last frame, these."""
        starts = self.times
        return [max(0, bisect_right(starts, time) - 1) for time in times]

    def at(self, times: Sequence[Fraction]) -> Keypoints:
        """Keypoints at times in seconds, between frames as well, positions `[len(times), K, 2]`."""
        starts = self.times
        here = self.shown_at(times)
        after = [min(number + 1, self.length - 1) for number in here]
        steps = [float(starts[b] - starts[a]) for a, b in zip(here, after, strict=True)]
        shares = [
            min(max(float(time - starts[number]) / step, 0), 1) if 0 < step <= LONGEST_STEP else 0.0
            for time, number, step in zip(times, here, steps, strict=True)
        ]
        positions, affine = self.keypoints
        share = torch.tensor(shares, dtype=positions.dtype)[:, None, None]
        moved = torch.lerp(positions[here], positions[after], share)
        return Keypoints(moved, None if affine is None else torch.lerp(affine[here], affine[after], share[..., None]))

    def smoothed(self, strength: float) -> "MotionTrack":
        """The same, steadier: 0 (as it is) to 1, see `mrfa.animation.smoothing`."""
        return self._replace(keypoints=smooth_clip(self.keypoints, [float(time) for time in self.times], strength))


class VideoDriver:
    """A driver of pictures: a video or a folder.

    Args:
        path: of the video or folder.
        crop: where its face is.
        option: what the command line calls that crop.
        waits: before its face appears the driver is taken to wait in the pose in which it does; otherwise it has no face there.
    """

    has_pictures = True

    def __init__(self, path: Path, crop: Crop, option: str, *, waits: bool = True) -> None:
        self.path, self._crop, self._option, self._waits = path, crop, option, waits
        self._held, self._moved = Spans(), Spans()
        self._reader = open_frames(path)
        self._crops: list[CropBox] = []
        self._turn = 0
        with_audio = isinstance(self._reader, VideoReader) and self._reader.has_audio
        self.audio_from: Path | None = path if with_audio else None

    def read(self, animator: Animator, on_progress: Progress | None = None) -> MotionTrack:
        """Find the keypoints of every frame.

        Raises:
            InputError: no face in it, no frames, or the crop lies outside.
        """
        place = self._place(on_progress)
        hold = Held()
        found: list[Keypoints] = []
        trusts: list[float] = []
        pts: list[int] = []
        durations: list[int | None] = []
        with in_thread(self._trusted(place, animator.size), animator.batch_size) as frames:
            while batch := list(islice(frames, animator.batch_size)):
                keypoints = hold(animator.detect([frame.picture for frame, _ in batch]), (trust for _, trust in batch))
                found.append(keypoints.to("cpu"))
                for frame, trust in batch:
                    trusts.append(trust)
                    pts.append(frame.pts)
                    durations.append(frame.duration)
                if on_progress is not None:
                    on_progress("reading the motion", len(pts), place.frames)
        if not found:
            raise InputError(f"{self.path} holds no frames that can be read")
        rate = self._reader.average_rate or DEFAULT_RATE
        return MotionTrack(stack_keypoints(found), trusts, pts, durations, self._reader.time_base, rate)

    def frames(self) -> Iterator[tuple[Frame, CropBox]]:
        """Every frame that was read, and where its face is."""
        return zip(self._reader, self._crops, strict=False)

    def panels(self, height: int) -> Iterator[np.ndarray]:
        """For a comparison, the face of every frame that was read, uint8 RGB `[height, height, 3]`; none where that is 0."""
        if height:
            for frame, crop in self.frames():
                yield crop_image(frame.image, crop, height)

    def _place(self, on_progress: Progress | None) -> "_Place":
        """Where the face is."""
        reader = self._reader
        if self._crop == "none":
            return _Place(whole_picture(reader.width, reader.height), reader.frame_count_estimate)
        if self._crop != "auto":
            box = check_inside(self._crop, reader.width, reader.height, self.path, self._option)
            return _Place(box, reader.frame_count_estimate)
        count = 0

        def on_frame(done: int) -> None:
            nonlocal count
            count = done
            if on_progress is not None:
                on_progress("finding the face", done, reader.frame_count_estimate)

        face = find_clip_face(reader, on_frame=on_frame, option=self._option)
        self._turn = face.turn
        return _Place(face.crop, count, face.first, face.image) if self._waits else _Place(face.crop, count)

    def _trusted(self, place: "_Place", size: int) -> Iterator[tuple["_Frame", float]]:
        """Every frame's square at `size`, and how far it is to be believed."""
        with closing(self._watched(place, size)) as frames:
            for frame, trust in trusted(frames) if self._crop == "auto" else ((frame, 1.0) for frame, _ in frames):
                self._held.add(frame.pts * self._reader.time_base, trust == 0)
                yield frame, trust

    def _watched(self, place: "_Place", size: int) -> Generator[tuple["_Frame", bool], None, None]:
        """Every frame's square, and whether its face is good, where a face was looked for at all."""
        watch = FaceWatch(FaceFinder(tracking=True, closely=True), place.crop) if self._crop == "auto" else None
        with in_thread(self._reader) as frames:
            for number, (image, pts, duration) in enumerate(frames):
                seen = Seen(place.crop, True, False)
                if place.shown is not None and number < place.first:
                    # Where a driver begins black or with a title, it is taken to wait in the pose in which its face appears.
                    image = place.shown
                elif watch is not None:
                    seen = watch(image)
                self._crops.append(seen.crop)
                self._moved.add(pts * self._reader.time_base, seen.moved)
                yield _Frame(crop_image(image, seen.crop, size), pts, duration), seen.good

    def warnings(self, without_face: str = "the last good motion was held") -> list[str]:
        """What the user should know, after all frames were read; among it what was done where there was no face."""
        found = turned_face_warnings(self.path, self._turn)
        if self._reader.truncated is not None:
            found.append(f"{self.path} is incomplete: {self._reader.truncated} and used")
        if self._held.frames:
            found.append(f"no face to rely on in {self._held.frames} frames of {self.path} ({self._held}): {without_face}")
        if self._moved.frames:
            found.append(f"the face of {self.path} left its place ({self._moved}): the crop followed it")
        return found


class TemplateDriver:
    """A driver of keypoints.

    Args:
        path: of the template.
    """

    has_pictures = False
    audio_from: Path | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._template = MotionTemplate.load(path)

    def read(self, animator: Animator, on_progress: Progress | None = None) -> MotionTrack:
        """The keypoints of every frame.

        Raises:
            InputError: the template does not fit the model.
        """
        template = self._template
        keypoints, trust = template.keypoints(animator.network, self.path), [1.0] * len(template)
        shape = None if template.face is None else template.face.shape
        return MotionTrack(keypoints, trust, template.pts, template.durations, template.time_base, template.rate, shape)

    def panels(self, height: int) -> Iterator[np.ndarray]:
        """None: a template has no pictures."""
        return iter(())

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


class _Place(NamedTuple):
    """Where a driver's face is.

    Attributes:
        crop: for the whole clip.
        frames: their number, where it is known.
        first: number of the first frame that shows the face well.
        shown: that frame, where a face was looked for.
    """

    crop: CropBox
    frames: int | None
    first: int = 0
    shown: np.ndarray | None = None


class _Frame(NamedTuple):
    picture: np.ndarray
    pts: int
    duration: int | None
