"""What is animated: a portrait, by a driver's expression and head motion, or a video, whose head moves as it did."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas
from mrfa.animation.crop import Crop, CropBox, crop_image, picture_crop, turned_face_warnings
from mrfa.animation.driver import MotionTrack, Progress, TemplateDriver, VideoDriver
from mrfa.animation.expression_motion import ExpressionMotion
from mrfa.animation.face_motion import FaceMotion, has_named_keypoints
from mrfa.animation.motion import Transfer
from mrfa.animation.portrait import drawn_crops
from mrfa.animation.settings import MotionSettings
from mrfa.animation.stages import in_thread
from mrfa.animation.start import Start, check_track, shown_samples, study_track
from mrfa.animation.tracking import EASE, smooth_step
from mrfa.data.images import is_picture, read_image
from mrfa.data.video import Frame
from mrfa.errors import InputError
from mrfa.faces.choice import FaceChoice
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output

# Where source or driver goes on for longer than the other, in seconds, it is said.
NOTICED = Fraction(1, 5)
# While one batch is composed the next is computed. On a GPU the second only waits in its queue until the first is fetched.
BATCHES_AHEAD = 1
# Frames for which the portrait's keypoints are found at once: one costs as much as a hundred.
MOVED_TOGETHER = 256


class SceneOptions(NamedTuple):
    """How a source is animated, and shown.

    Attributes:
        settings: what of the driver it gets.
        start: which of the driver's frames counts as its pose.
        smooth: how much the driver's motion is steadied, 0 to 1.
        paste_back: show the whole source, otherwise its animated crop.
        compare: show source and driver beside the result.
    """

    settings: MotionSettings
    start: Start
    smooth: float
    paste_back: bool
    compare: bool


class Scene(NamedTuple):
    """What is to be written.

    Attributes:
        width, height: of the pictures, in pixels.
        time_base: seconds a unit of the frames' time stamps.
        rate: mean frames a second.
        length: number of frames.
        frames: they, made as they are asked for.
        audio_from: the file whose sound goes with them, if any.
        trim_audio: whether the sound ends with the frames, otherwise it is taken as it is.
        warnings: tells what the user should know, after all frames were made.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    length: int
    frames: Iterator[Frame]
    audio_from: Path | None
    trim_audio: bool
    warnings: Callable[[], list[str]]


class PortraitSource:
    """A picture of a face.

    Args:
        path: of the picture.
        crop: where its face is.
        face: which, where there are several.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: Path, crop: Crop, face: FaceChoice) -> None:
        self._path, self._crop, self._face = path, crop, face
        self._image = read_image(path)

    def scene(
        self,
        driver: VideoDriver | TemplateDriver,
        animator: Animator,
        options: SceneOptions,
        on_progress: Progress | None,
    ) -> Scene:
        """The portrait in motion, with the driver's times.

        Raises:
            InputError: no face in portrait or driver, or they, the settings and the model do not go together.
        """
        settings = options.settings
        settings.check_model(animator.network)
        box, turn = picture_crop(self._image, self._crop, self._path, self._face)
        encoded = animator.encode(crop_image(self._image, box, animator.size))
        track = driver.read(animator, on_progress).smoothed(options.smooth)
        check_track(track, animator.network, encoded.keypoints, settings, driver.path)
        canvas = Canvas(
            self._image,
            box,
            animator.size,
            paste_back=options.paste_back,
            compare=options.compare,
            with_driver=driver.has_pictures,
        )
        transfer: Transfer | None = None
        if settings.kind != "absolute":
            study = study_track(track, animator.network, encoded.keypoints, settings, options.start, name=driver.path)
            transfer = settings.transfer(animator.network, encoded.keypoints, study.initial, study.clip, track.shape)

        def animated() -> Iterator[Output]:
            for part in _parts(track.keypoints, MOVED_TOGETHER):
                driving = part.to(animator.device)
                for batch in _parts(driving if transfer is None else transfer(driving), animator.batch_size):
                    yield animator.step(encoded, batch)

        def frames() -> Iterator[Frame]:
            panel = None
            with in_thread(animated(), BATCHES_AHEAD) as batches, in_thread(driver.panels(canvas.panel_height)) as panels:
                drawn = chain.from_iterable(drawn_crops(batch, animator.network.conventions) for batch in batches)
                for (crop, displacement), pts, duration in zip(drawn, track.pts, track.durations, strict=True):
                    panel = next(panels, panel)
                    yield Frame(canvas.draw(crop, displacement, panel), pts, duration)

        def warnings() -> list[str]:
            eased = transfer.warnings() if isinstance(transfer, FaceMotion) else []
            return [*turned_face_warnings(self._path, turn), *driver.warnings(), *eased]

        return Scene(
            width=canvas.width,
            height=canvas.height,
            time_base=track.time_base,
            rate=track.rate,
            length=track.length,
            frames=frames(),
            audio_from=driver.audio_from,
            trim_audio=False,
            warnings=warnings,
        )


class VideoSource:
    """A video or a folder of pictures of a face. It is read as a driver is; frames without a face stay as they are.

    Args:
        path: of the video or folder.
        crop: where its face is.
        face: which, where there are several; in a video only the largest can be followed.

    Raises:
        InputError: it cannot be read, or another face is wanted.
    """

    def __init__(self, path: Path, crop: Crop, face: FaceChoice) -> None:
        if face != "largest":
            raise InputError(f"a face is chosen in pictures: {path} is a video, so say where its face is by --crop X,Y,W,H")
        self._path, self._clip = path, VideoDriver(path, crop, "--crop", waits=False)

    def scene(
        self,
        driver: VideoDriver | TemplateDriver,
        animator: Animator,
        options: SceneOptions,
        on_progress: Progress | None,
    ) -> Scene:
        """The video with the driver's expressions at the video's times, as long as both last.

        Raises:
            InputError: no face in video or driver, or they, the settings and the model do not go together.
        """
        settings = options.settings
        _check_for_video(settings, options.start, animator.network)
        own = self._clip.read(animator, on_progress and _of_the_source(on_progress))
        track = driver.read(animator, on_progress).smoothed(options.smooth)
        check_track(track, animator.network, own.keypoints, settings, driver.path)
        end = track.end
        times = [time for time in own.times if time < end]
        if not times:
            raise InputError(f"{driver.path} ends before {self._path} begins")
        source_clip, driving_clip = (clip.keypoints.positions[shown_samples(clip)] for clip in (own, track))
        motion = ExpressionMotion(animator.network, source_clip, driving_clip, settings.strengths, track.shape)
        driving, shown, shares = track.at(times), track.shown_at(times), _eased(own.trust)
        first, box = next(self._clip.frames())
        canvas = Canvas(
            first.image,
            box,
            animator.size,
            paste_back=options.paste_back,
            compare=options.compare,
            with_driver=driver.has_pictures,
            long_side=max(first.image.shape),
        )

        def animated() -> Iterator[tuple[list[tuple[Frame, CropBox]], Output]]:
            begun = 0
            with in_thread(islice(self._clip.frames(), len(times))) as clip:
                while batch := list(islice(clip, animator.batch_size)):
                    part = slice(begun, begun + len(batch))
                    begun += len(batch)
                    encoded = animator.encode([crop_image(frame.image, box, animator.size) for frame, box in batch])
                    moved = _towards(encoded.keypoints, motion(encoded.keypoints, driving.part(part)), shares[part])
                    yield batch, animator.draw(encoded, moved)

        def frames() -> Iterator[Frame]:
            numbered = _numbered(driver.panels(canvas.panel_height), shown)
            with in_thread(animated(), BATCHES_AHEAD) as batches, in_thread(numbered) as panels:
                conventions = animator.network.conventions
                drawn = chain.from_iterable(
                    zip(batch, drawn_crops(output, conventions), strict=True) for batch, output in batches
                )
                for ((frame, box), (crop, displacement)), share in zip(drawn, shares, strict=False):
                    canvas.show(frame.image, box)
                    panel = next(panels, None)
                    image = canvas.draw(crop, displacement, panel) if share > 0 else canvas.unchanged(panel)
                    yield Frame(image, frame.pts, frame.duration)

        def warnings() -> list[str]:
            source = self._clip.warnings("these stayed as they are")
            return [*source, *driver.warnings(), *_left_out(self._path, own, driver.path, track)]

        return Scene(
            width=canvas.width,
            height=canvas.height,
            time_base=own.time_base,
            rate=own.rate,
            length=len(times),
            frames=frames(),
            audio_from=driver.audio_from or self._clip.audio_from,
            trim_audio=True,
            warnings=warnings,
        )


def open_source(path: Path, crop: Crop, face: FaceChoice) -> PortraitSource | VideoSource:
    """What is to be animated.

    Raises:
        InputError: it is neither a picture, nor a video or a folder of pictures, or its face cannot be chosen so.
    """
    return PortraitSource(path, crop, face) if is_picture(path) else VideoSource(path, crop, face)


def _check_for_video(settings: MotionSettings, start: Start, network: Network) -> None:
    """Check that settings make sense where each frame of a video keeps its own pose."""
    if settings.kind != "auto":
        raise InputError(f"a video keeps its own head motion: motion '{settings.kind}' is for pictures, leave it out")
    if not has_named_keypoints(network):
        raise InputError("a video as source needs a model that knows where eyes and lips are, such as small")
    settings.check_model(network)
    if settings.strengths.head not in (0, 1) or settings.pose != "relative":
        raise InputError("a video keeps its own head motion: leave the head's strength and pose out")
    if start != Start("best"):
        raise InputError("a start is for pictures, which have a single pose: a video is driven from its beginning, leave it out")


def _parts(keypoints: Keypoints, size: int) -> Iterator[Keypoints]:
    """Keypoints in parts of so many pictures, the last of what is left."""
    return (keypoints.part(slice(begun, begun + size)) for begun in range(0, len(keypoints.positions), size))


def _of_the_source(on_progress: Progress) -> Progress:
    """Progress with a source, where the driver goes through the same stages."""
    return lambda stage, done, total: on_progress(f"{stage} of the source", done, total)


def _eased(trust: list[float]) -> list[float]:
    """How far frames are trusted that ease towards a gap as they do back from it."""
    shares, away = list(trust), EASE
    for number in reversed(range(len(trust))):
        away = min(away + 1, EASE) if trust[number] > 0 else 0
        shares[number] = min(trust[number], smooth_step(away / EASE))
    return shares


def _towards(own: Keypoints, moved: Keypoints, shares: list[float]) -> Keypoints:
    """Keypoints of B frames between their own and where they are moved to: at 0 their own, at 1 moved."""
    share = torch.tensor(shares, dtype=own.positions.dtype, device=own.positions.device)[:, None, None]
    return Keypoints(torch.lerp(own.positions, moved.positions, share), own.affine)


def _numbered(panels: Iterator[np.ndarray], numbers: Iterable[int]) -> Iterator[np.ndarray]:
    """The panels of rising numbers, some of which may come again or be left out."""
    counted = enumerate(panels)
    current = next(counted, None)
    for number in numbers:
        while current is not None and current[0] < number:
            current = next(counted, None)
        if current is None:
            return
        yield current[1]


def _left_out(source: Path, own: MotionTrack, driving: Path, track: MotionTrack) -> list[str]:
    """What to tell where one of two clips goes on when the other has ended."""
    (end, shorter), (later, longer) = sorted([(own.end, source), (track.end, driving)])
    if later - end < NOTICED:
        return []
    return [f"{shorter} ends at {float(end):.2f} s: the last {float(later - end):.2f} s of {longer} were left out"]
