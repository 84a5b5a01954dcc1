"""From a driver to its motion template: what `mrfa motion extract` does."""

from pathlib import Path

from mrfa.animation.animator import Animator
from mrfa.animation.crop import Crop, parse_crop
from mrfa.animation.driver import Progress, VideoDriver
from mrfa.animation.job import JobResult
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.data.files import check_output
from mrfa.errors import InputError


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
    driver = VideoDriver(driving, parse_crop(driving_crop), "--crop")
    animator = model if isinstance(model, Animator) else Animator.from_pretrained(model)
    track = driver.read(animator, on_progress)
    positions, affine = track.keypoints
    template = MotionTemplate(positions, affine, track.pts, track.durations, track.time_base, track.rate, animator.fingerprint)
    template.save(output)
    return JobResult(track.length, driver.warnings())
