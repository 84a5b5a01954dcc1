"""Whole jobs, from files to files: what `mrfa animate`, `mrfa motion` and `mrfa demo` do.

Frames are read, animated and written a few at a time, so memory does not grow with a video's length. Where the face is to be
found in the driver, its file is read twice: once for a crop that is stable over the clip, once to animate.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.animation.animator import Animator
from mrfa.animation.composite import Portrait, side_by_side
from mrfa.animation.crop import (
    Crop,
    CropBox,
    check_inside,
    crop_image,
    find_clip_face,
    parse_crop,
    whole_picture,
)
from mrfa.animation.template import SUFFIX, MotionTemplate, stack_keypoints
from mrfa.data.files import check_writable
from mrfa.data.images import read_image
from mrfa.data.video import VideoReader, VideoWriter, open_frames
from mrfa.data.video_writer import SUFFIXES as VIDEO_SUFFIXES
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints

# Called with the stage ("finding the face", "animating", ...), the frames done, and their number where it is known.
Progress = Callable[[str, int, int | None], None]

DEFAULT_RATE = Fraction(25)
BATCH_SIZE = 2
COMPARE_HEIGHT = 512


class JobResult(NamedTuple):
    """What a job did.

    Attributes:
        frames: their number in the output.
        warnings: one line for each thing that the user should know.
    """

    frames: int
    warnings: list[str]


class Step(NamedTuple):
    """One driving frame: what enters the animator, its time, and its picture for a comparison."""

    driving: np.ndarray | Keypoints
    pts: int
    duration: int | None
    panel: np.ndarray | None


def animate_file(
    source: str | Path,
    driving: str | Path,
    output: str | Path,
    *,
    model: str | Path | Animator = "small",
    source_crop: Crop | str = "auto",
    driving_crop: Crop | str = "auto",
    relative: bool = True,
    adapt_scale: bool = False,
    compare: bool = False,
    paste_back: bool = True,
    batch_size: int = BATCH_SIZE,
    on_progress: Progress | None = None,
) -> JobResult:
    """Animate a portrait by a driver, and write the video with the driver's time stamps and audio.

    Args:
        source: a picture of a face.
        driving: a video, a folder of pictures, or a motion template.
        output: the video to write.
        model: name of a bundled model, a model folder, or an animator that is there already.
        source_crop: where the face is in the source: `auto`, `none`, `x,y,w,h` or a box.
        driving_crop: likewise in the driver.
        relative: add the driver's motion to the portrait's pose, otherwise take the driver's pose.
        adapt_scale: scale relative motion by the size of the faces.
        compare: write source, driver (a template has no picture) and result beside each other.
        paste_back: write the whole portrait, otherwise the animated crop.
        batch_size: frames computed together.
        on_progress: told of every frame.

    Raises:
        InputError: something given cannot be used; nothing is written then.
    """
    source, driving, output = Path(source), Path(driving), Path(output)
    if adapt_scale and not relative:
        raise InputError("adapting the scale is for relative motion: it does not go with absolute motion")
    check_output(output, [source, driving], sorted(VIDEO_SUFFIXES))
    source_crop, driving_crop = _as_crop(source_crop), _as_crop(driving_crop)
    portrait = read_image(source)
    driver = _open_driver(driving, driving_crop)
    animator = model if isinstance(model, Animator) else Animator.from_pretrained(model)
    driver.prepare(animator, on_progress)
    animator.set_source(portrait, source_crop, name=source)
    assert animator.source_crop is not None and animator.source_picture is not None

    canvas = Portrait(portrait, animator.source_crop) if paste_back else None
    height, width = (animator.size, animator.size) if canvas is None else canvas.image.shape[:2]
    panel_height, source_panel = 0, portrait[:0]
    if compare:
        panel_height = max(animator.size, min(height, COMPARE_HEIGHT)) // 2 * 2
        source_panel = crop_image(portrait, animator.source_crop, panel_height)
        blank = np.zeros((height, width, 3), np.uint8)
        panels = [source_panel, source_panel, blank] if driver.has_pictures else [source_panel, blank]
        height, width = side_by_side(panels, panel_height).shape[:2]
    del portrait

    waiting: deque[tuple[int, int | None, np.ndarray | None]] = deque()

    def driving_frames() -> Iterator[np.ndarray | Keypoints]:
        for step in driver.steps(animator.size, panel_height):
            waiting.append((step.pts, step.duration, step.panel))
            yield step.driving

    writer = VideoWriter(
        output, width=width, height=height, time_base=driver.time_base, rate=driver.rate, audio_from=driver.audio_from
    )
    done = 0
    with writer:
        pictures = animator.animate(driving_frames(), relative=relative, adapt_scale=adapt_scale, batch_size=batch_size)
        for crop in pictures:
            pts, duration, panel = waiting.popleft()
            picture = crop if canvas is None else canvas.paste(crop)
            if compare:
                panels = [source_panel, picture] if panel is None else [source_panel, panel, picture]
                picture = side_by_side(panels, panel_height)
            writer.write(picture, pts, duration)
            done += 1
            if on_progress is not None:
                on_progress("animating", done, driver.total)
        if done == 0:
            raise InputError(f"{driving} holds no frames that can be read")
    return JobResult(done, driver.warnings())


def extract_motion(
    driving: str | Path,
    output: str | Path,
    *,
    model: str | Path | Animator = "small",
    driving_crop: Crop | str = "auto",
    on_progress: Progress | None = None,
) -> JobResult:
    """Write a driver's motion template, which drives any portrait later.

    Args:
        driving: a video or a folder of pictures.
        output: the template, a `.safetensors` file.
        model: name of a bundled model, a model folder, or an animator; the template fits its keypoint detector alone.
        driving_crop: where the face is: `auto`, `none`, `x,y,w,h` or a box.
        on_progress: told of every frame.

    Raises:
        InputError: something given cannot be used; nothing is written then.
    """
    driving, output = Path(driving), Path(output)
    check_output(output, [driving], (SUFFIX,))
    if driving.suffix.lower() == SUFFIX:
        raise InputError(f"{driving} is a template by its name: give a video or a folder of pictures")
    driver = _VideoDriver(driving, _as_crop(driving_crop))
    animator = model if isinstance(model, Animator) else Animator.from_pretrained(model)
    driver.prepare(animator, on_progress)
    found: list[Keypoints] = []
    pts: list[int] = []
    durations: list[int | None] = []
    for step in driver.steps(animator.size, 0):
        assert isinstance(step.driving, np.ndarray)
        keypoints = animator.detect(step.driving)
        affine = None if keypoints.affine is None else keypoints.affine.float().cpu()
        found.append(Keypoints(keypoints.positions.float().cpu(), affine))
        pts.append(step.pts)
        durations.append(step.duration)
        if on_progress is not None:
            on_progress("finding keypoints", len(pts), driver.total)
    if not found:
        raise InputError(f"{driving} holds no frames that can be read")
    stacked = stack_keypoints(found)
    template = MotionTemplate(
        stacked.positions, stacked.affine, pts, durations, driver.time_base, driver.rate, animator.fingerprint
    )
    template.save(output)
    return JobResult(len(pts), driver.warnings())


def demo_files() -> tuple[Path, Path]:
    """The bundled portrait and motion template.

    Raises:
        InputError: this copy of the package has none.
    """
    folder = Path(str(resources.files("mrfa"))) / "assets"
    portrait, motion = folder / "astronaut.jpg", folder / f"motion{SUFFIX}"
    for path in (portrait, motion):
        if not path.is_file():
            raise InputError(f"this copy of mrfa lacks its demo file {path}: make {motion.name} with  mrfa motion DRIVING")
    return portrait, motion


def check_output(output: Path, inputs: Sequence[Path], suffixes: Sequence[str]) -> None:
    """Check, before any work, that an output can be written and is no input.

    Raises:
        InputError: it cannot, or it would replace an input.
    """
    if output.suffix.lower() not in suffixes:
        raise InputError(f"cannot write {output}: its name must end in {' or '.join(suffixes)}")
    for path in inputs:
        if output.resolve() == path.resolve() or (output.exists() and path.exists() and output.samefile(path)):
            raise InputError(f"the output {output} would replace its own input: choose another name")
    check_writable(output)


class _VideoDriver:
    """A driver of pictures: a video or a folder."""

    has_pictures = True

    def __init__(self, path: Path, crop: Crop) -> None:
        self._path, self._crop = path, crop
        self._reader = open_frames(path)
        self._box: CropBox | None = None
        self._first = 0
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

            face = find_clip_face(self._reader, on_frame=on_frame)
            self._box, self._first = face.crop, face.first
            self._initial = crop_image(face.image, face.crop, animator.size)
            self.total = count
        else:
            self._box = check_inside(self._crop, self._reader.width, self._reader.height, self._path)

    def steps(self, size: int, panel_height: int) -> Iterator[Step]:
        assert self._box is not None, "prepare() comes first"
        for number, (image, pts, duration) in enumerate(self._reader):
            panel = crop_image(image, self._box, panel_height) if panel_height else None
            # Relative motion starts from the first driving frame. Where that is black or a title, the driver is taken to
            # wait in the pose in which its face appears.
            waiting = self._initial if number < self._first else None
            yield Step(crop_image(image, self._box, size) if waiting is None else waiting, pts, duration, panel)

    def warnings(self) -> list[str]:
        if self._reader.truncated is None:
            return []
        return [f"{self._path} is incomplete: {self._reader.truncated} and used"]


class _TemplateDriver:
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

    def steps(self, size: int, panel_height: int) -> Iterator[Step]:
        template = self._template
        for keypoints, pts, duration in zip(template, template.pts, template.durations, strict=True):
            yield Step(keypoints, pts, duration, None)

    def warnings(self) -> list[str]:
        return []


def _open_driver(path: Path, crop: Crop) -> _VideoDriver | _TemplateDriver:
    if path.suffix.lower() != SUFFIX:
        return _VideoDriver(path, crop)
    if crop != "auto":
        raise InputError(f"{path} is a motion template, which holds no picture: leave the driving crop out")
    return _TemplateDriver(path)


def _as_crop(crop: Crop | str) -> Crop:
    return parse_crop(crop) if isinstance(crop, str) else crop
