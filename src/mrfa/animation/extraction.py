"""From a driver to its motion template: what `mrfa motion extract` does."""

from itertools import islice
from pathlib import Path

from mrfa.animation.animator import Animator
from mrfa.animation.crop import Crop, parse_crop
from mrfa.animation.driver import Progress, VideoDriver
from mrfa.animation.job import JobResult
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.animation.tracking import Held
from mrfa.data.files import check_output
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints, stack_keypoints


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
    driver.prepare(animator, on_progress)
    found: list[Keypoints] = []
    pts: list[int] = []
    durations: list[int | None] = []
    hold = Held()
    frames = driver.frames(animator.size, 0)
    while batch := list(islice(frames, animator.batch_size)):
        keypoints = animator.detect([frame.driving for frame in batch])
        keypoints = hold(keypoints, (frame.trust for frame in batch))
        affine = None if keypoints.affine is None else keypoints.affine.float().cpu()
        found.append(Keypoints(keypoints.positions.float().cpu(), affine))
        for frame in batch:
            pts.append(frame.pts)
            durations.append(frame.duration)
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
