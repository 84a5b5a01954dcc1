"""Whether pictures of a larger model are better than a smaller model's, enlarged.

    python -m benchmarks.enlarged MODEL SMALLER DATA [DATA ...]

DATA are packed files at the size of MODEL. Of clips the first frame is driven by `FRAMES` others; portraits, where DATA holds
stills, by those of each clip, with relative motion. A line for each: the measures of `mrfa evaluate`, at the size of MODEL.
`sharpness` and `artefact` are shares of the true face's energy (of portraits their own) from 0.12 to 0.3 and from 0.42 to 0.5
cycles a pixel of that size.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from mrfa.animation.animator import Animator
from mrfa.data.clips import square
from mrfa.data.packed import unpack_clips
from mrfa.data.prepared import read_frames
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.methods import CrossMotion
from mrfa.evaluation.metrics import Frames, load_metrics

FRAMES = 16
MEASURES = ["L1", "face L1", "sharpness", "artefact", "mouth gain (mediapipe)", "eye gain (mediapipe)"]


def load_pictures(data: list[Path], cache: Path, size: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Frames `[1 + FRAMES, size, size, 3]` of each clip, and each still `[size, size, 3]`."""
    clips, stills = {}, {}
    for item in (item for path in data for item in unpack_clips(path, cache)):
        chosen = np.linspace(0, item.frames - 1, min(item.frames, 1 + FRAMES)).round().astype(int).tolist()
        images = np.stack([square(image, size) for image in read_frames(item, chosen).images])
        if item.still:
            stills[item.name] = images[0]
        else:
            clips[item.name] = images
    return clips, stills


def generate(animator: Animator, source: np.ndarray, clip: np.ndarray, *, cross_identity: bool, size: int) -> np.ndarray:
    """The source in the poses of a clip's frames after the first, enlarged to `[F, size, size, 3]`."""
    encoded = animator.encode(source)
    transfer = CrossMotion().transfer(animator, encoded.keypoints, clip) if cross_identity else None
    made = []
    for begun in range(1, len(clip), animator.batch_size):
        driving = list(clip[begun : begun + animator.batch_size])
        made += list(to_pictures(animator.step(encoded, driving, transfer=transfer, same_video=not cross_identity).image))
    return np.stack([cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC) for picture in made])


def trials(clips: dict[str, np.ndarray], stills: dict[str, np.ndarray]) -> Iterator[tuple[bool, np.ndarray, np.ndarray]]:
    """Whether it is another person's, the source, and the clip."""
    for clip in clips.values():
        yield False, clip[0], clip
        for still in stills.values():
            yield True, still, clip


def measure(animators: dict[str, Animator], data: list[Path], cache: Path, report: Callable[[str], None]) -> None:
    """Report the mean over all trials for each model, and for the source as it is."""
    size = max(animator.size for animator in animators.values())
    found: dict[tuple[str, bool, str], list[float]] = defaultdict(list)
    for cross_identity, source, clip in trials(*load_pictures(data, cache, size)):
        made = {"source": np.broadcast_to(source, clip[1:].shape)}
        for name, animator in animators.items():
            made[name] = generate(animator, source, clip, cross_identity=cross_identity, size=size)
        for metric in load_metrics(MEASURES)[0]:
            if cross_identity and "cross-identity" not in metric.protocols:
                continue
            for name, pictures in made.items():
                values = metric.measure(Frames(source, clip[1:], pictures, cross_identity))
                found[name, cross_identity, metric.name].append(float(np.nanmean(values)))
    for cross_identity, kind in ((False, "own clips"), (True, "portraits")):
        for name in ("source", *animators):
            of_this = {metric: each for (who, cross, metric), each in found.items() if (who, cross) == (name, cross_identity)}
            if of_this:
                report(f"{kind}, {name}: {', '.join(f'{metric} {np.mean(each):.4f}' for metric, each in of_this.items())}")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, metavar="MODEL")
    parser.add_argument("data", nargs="+", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        measure({name: Animator.from_pretrained(name) for name in arguments.models}, arguments.data, Path(cache), print)


if __name__ == "__main__":
    main()
