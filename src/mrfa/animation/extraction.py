"""From a driver to its motion template: what `mrfa motion extract` does."""

from pathlib import Path

from mrfa.animation.animator import Animator
from mrfa.animation.crop import Crop, parse_crop
from mrfa.animation.driver import MotionTrack, Progress, VideoDriver
from mrfa.animation.expression import take_apart
from mrfa.animation.face_motion import has_named_keypoints, named_places
from mrfa.animation.job import JobResult
from mrfa.animation.start import shown_samples
from mrfa.animation.template import SUFFIX, DetectorTrack, FaceTrack, MotionTemplate
from mrfa.data.files import check_output
from mrfa.data.guidance import GROUPS
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
        model: name of a bundled model, a model folder, or an animator; where its keypoints have names, the template fits
            every such model.
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
    face, detected = _kept(track, animator)
    MotionTemplate(track.pts, track.durations, track.time_base, track.rate, face, detected).save(output)
    return JobResult(track.length, driver.warnings())


def _kept(track: MotionTrack, animator: Animator) -> tuple[FaceTrack | None, DetectorTrack]:
    """The named places, and what the detector alone knows."""
    positions, affine = track.keypoints
    if not has_named_keypoints(animator.network):
        return None, DetectorTrack(positions, affine, animator.fingerprint)
    places = named_places(animator.network, positions)
    face = FaceTrack(places.float(), take_apart(places[shown_samples(track)]).shape.float())
    return face, DetectorTrack(positions[:, GROUPS:], affine, animator.fingerprint)
