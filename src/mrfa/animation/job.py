"""Whole jobs, from files to files: what `mrfa animate` and `mrfa demo` do.

Pictures are read, animated, composed and written at once, each stage in its thread, a few pictures at a time; of a whole video no
more than its keypoints is kept, about 1 kB a frame.
"""

from importlib import resources
from pathlib import Path
from typing import NamedTuple

from mrfa.animation.animator import Animator
from mrfa.animation.composite import draw_mark
from mrfa.animation.crop import Crop, parse_crop
from mrfa.animation.driver import Progress, open_driver
from mrfa.animation.face_motion import PoseKind, Strengths
from mrfa.animation.settings import MotionKind, MotionSettings
from mrfa.animation.smoothing import check_strength
from mrfa.animation.sources import SceneOptions, open_source
from mrfa.animation.stages import in_thread
from mrfa.animation.start import parse_start
from mrfa.animation.template import SUFFIX
from mrfa.data.audio import parse_audio_mode
from mrfa.data.credentials import Credentials
from mrfa.data.files import check_output
from mrfa.data.origin import Origin
from mrfa.data.video import VideoWriter
from mrfa.data.video_writer import SUFFIXES as VIDEO_SUFFIXES
from mrfa.errors import InputError
from mrfa.faces.choice import FaceChoice, parse_face


class JobResult(NamedTuple):
    """What a job did.

    Attributes:
        frames: their number in the output.
        warnings: one line for each thing that the user should know.
    """

    frames: int
    warnings: list[str]


def animate_file(
    source: str | Path,
    driving: str | Path,
    output: str | Path,
    *,
    model: str | Path | Animator = "small",
    source_crop: Crop | str = "auto",
    driving_crop: Crop | str = "auto",
    face: FaceChoice | str = "largest",
    motion: MotionKind = "auto",
    start: str = "best",
    strengths: Strengths = Strengths(),  # noqa: B008 -- a tuple
    adapt_scale: bool = False,
    pose: PoseKind = "relative",
    smooth: float = 0.0,
    compare: bool = False,
    paste_back: bool = True,
    audio: str = "copy",
    on_progress: Progress | None = None,
    job: str | None = None,
    mark: bool = False,
    credentials: Credentials | None = None,
) -> JobResult:
    """Animate a portrait by a driver, and write the video with the driver's time stamps and audio.

    Where the source is a video, each of its frames takes the driver's expression of that time; head motion and time stamps stay
    the video's own, and the result ends with the shorter of the two.

    Args:
        source: a picture of a face; or a video, or a folder of pictures.
        driving: a video, a folder of pictures, or a motion template.
        output: the video to write.
        model: name of a bundled model, a model folder, or an animator, which also says where and how to compute.
        source_crop: where the face is in the source: `auto`, `none`, `x,y,w,h` or a box.
        driving_crop: likewise in the driver.
        face: which face of a picture, where it shows several: `largest`, a number from 1 on, the largest, or `x,y` in it.
        motion: `auto`, `relative` or `absolute`, see `MotionSettings`.
        start: the driver's frame that counts as a portrait's pose: `best`, `first`, its number, or seconds such as `1.5s`.
        strengths: how much of expression, head motion, eyes and lips the portrait gets, each 0 to 2.
        adapt_scale: scale relative motion by the size of the faces.
        pose: `relative`: the head moves on from the portrait's pose; `absolute`: it is turned as the driver's.
        smooth: steady the driver's motion, 0 (as it is) to 1, without lag; see `mrfa.animation.smoothing`.
        compare: write source, driver (a template has no picture) and result beside each other.
        paste_back: write the whole portrait, otherwise the animated crop.
        audio: what becomes of the driver's sound, or, where it has none, of that of a video as source: `copy` where the output
            can hold it, else coded anew; `transcode`: coded anew as AAC in any case; or `none`.
        on_progress: told of every frame.
        job: what the output's note of its origin shall call this job, see `mrfa.data.origin`.
        mark: write into every picture that it is AI-generated.
        credentials: who signs that the output is synthetic.

    Raises:
        InputError: something given cannot be used; nothing is written then.
    """
    source, driving, output = Path(source), Path(driving), Path(output)
    settings, begin = MotionSettings(motion, strengths, adapt_scale, pose), parse_start(start)
    settings.check()
    check_strength(smooth)
    check_output(output, [source, driving], sorted(VIDEO_SUFFIXES))
    source_crop, driving_crop, audio_mode = parse_crop(source_crop), parse_crop(driving_crop), parse_audio_mode(audio)
    chosen = parse_face(face)
    if chosen != "largest" and source_crop != "auto":
        raise InputError("a face is chosen where the source's crop is auto: give --face or --crop, not both")
    if credentials is not None:
        credentials.check()
    opened = open_source(source, source_crop, chosen)
    driver = open_driver(driving, driving_crop)
    animator = model if isinstance(model, Animator) else Animator.from_pretrained(model)
    scene = opened.scene(driver, animator, SceneOptions(settings, begin, smooth, paste_back, compare), on_progress)
    done = 0
    written = VideoWriter(
        output,
        width=scene.width,
        height=scene.height,
        time_base=scene.time_base,
        rate=scene.rate,
        audio_from=scene.audio_from,
        audio=audio_mode,
        trim_audio=scene.trim_audio,
        origin=Origin.now(composite=paste_back or compare, model=animator.name, job=job),
        credentials=credentials,
    )
    with written as writer, in_thread(scene.frames) as frames:
        for done, (image, pts, duration) in enumerate(frames, 1):
            writer.write(draw_mark(image) if mark else image, pts, duration)
            if on_progress is not None:
                on_progress("animating", done, scene.length)
    return JobResult(done, [*scene.warnings(), *writer.warnings])


def demo_files() -> tuple[Path, Path]:
    """The bundled portrait and motion template.

    Raises:
        InputError: this copy of the package has none.
    """
    folder = Path(str(resources.files("mrfa"))) / "assets"
    portrait, motion = folder / "astronaut.jpg", folder / f"motion{SUFFIX}"
    for path in (portrait, motion):
        if not path.is_file():
            raise InputError(f"this copy of mrfa lacks its demo file {path}: install it again")
    return portrait, motion
