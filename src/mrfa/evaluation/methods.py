"""What makes the pictures that are measured: a network of ours, or result videos made elsewhere."""

import hashlib
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from mrfa.animation.animator import Animator
from mrfa.animation.motion import Transfer
from mrfa.animation.settings import MotionKind, MotionSettings
from mrfa.data.clips import VIDEO_SUFFIXES, read_clip
from mrfa.data.tensors import to_pictures
from mrfa.errors import InputError
from mrfa.evaluation.trials import Trial
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.weights import fingerprint


class Compute(NamedTuple):
    """How networks compute; None leaves it to `mrfa.animation.animator`."""

    device: str | None = None
    precision: str | None = None
    batch_size: int | None = None


class CrossMotion(NamedTuple):
    """What of another person's clip a portrait gets, as by `mrfa animate`: see `MotionSettings`, and `start.Start`."""

    kind: MotionKind = "auto"
    start: Literal["best", "first"] = "best"

    def transfer(self, animator: Animator, source: Keypoints, clip: np.ndarray) -> Transfer | None:
        """What moves a portrait by a clip, uint8 RGB `[T, S, S, 3]`; None: the clip's keypoints as they are."""
        if self.kind == "absolute":
            return None
        settings, network, size = MotionSettings(self.kind), animator.network, animator.batch_size
        looked_at = clip if self.start == "best" or settings.takes_faces_apart(network) else clip[:1]
        driver = stack_keypoints(animator.detect(looked_at[place : place + size]) for place in range(0, len(looked_at), size))
        first = settings.best_start(network, source, driver.positions) if self.start == "best" else 0
        return settings.transfer(network, source, animator.detect(clip[first]), driver.positions)


class Method(Protocol):
    """Makes pictures of a trial.

    Attributes:
        size: side of the pictures in pixels.
        version: changes when the pictures would: figures of an older state are not taken for those of the present one.
        has_coarse: whether it can also show its coarse motion alone.
    """

    size: int
    version: str
    has_coarse: bool

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """Pictures of the trial.

        Args:
            trial: what is asked for.
            source: portrait, uint8 RGB `[S, S, 3]`.
            clip: all driving frames, `[T, S, S, 3]`.
            frames: numbers of the driving frames that are measured, F of them.

        Returns:
            `result`, and before it `coarse` where there is one: `[F, S, S, 3]` each.

        Raises:
            InputError: there are none.
        """
        ...


class NetworkMethod:
    """A network, and its own coarse motion alone.

    Args:
        animator: of the network.
        motion: of other people's clips; a clip drives its own first frame by absolute motion.
    """

    has_coarse = True

    def __init__(self, animator: Animator, motion: CrossMotion = CrossMotion()) -> None:  # noqa: B008 -- a tuple
        self.animator = animator
        self.motion = motion
        self.size = animator.size
        self.version = f"{fingerprint(animator.network)} {animator.dtype}"

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """See `Method`."""
        encoded = self.animator.encode(source)
        transfer = None if trial.is_reconstruction else self.motion.transfer(self.animator, encoded.keypoints, clip)
        made: dict[str, list[np.ndarray]] = {"coarse": [], "result": []}
        for start in range(0, len(frames), self.animator.batch_size):
            driving = clip[frames[start : start + self.animator.batch_size]]
            for name, pictures in made.items():
                output = self.animator.step(
                    encoded, driving, transfer=transfer, same_video=trial.is_reconstruction, coarse_only=name == "coarse"
                )
                pictures.append(to_pictures(output.image))
        return {name: np.concatenate(pictures) for name, pictures in made.items()}


class VideoMethod:
    """Result videos of another method, named like the trials, one frame a driving frame.

    Args:
        folder: of videos, or of folders of pictures.
        size: side of the pictures that are measured.
    """

    has_coarse = False

    def __init__(self, folder: Path, *, size: int = 256) -> None:
        self.folder = folder
        self.size = size
        # Without the access time, which reading changes.
        files = ((path.name, path.stat()) for path in sorted(folder.rglob("*")))
        states = [(name, state.st_size, state.st_mtime_ns) for name, state in files]
        self.version = hashlib.sha256(repr(states).encode()).hexdigest()[:16]

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """See `Method`."""
        path = self._find(trial.name)
        video = read_clip(path, self.size)
        if len(video) != len(clip):
            raise InputError(f"{path} has {len(video)} frames, its driving clip {trial.driving} has {len(clip)}")
        return {"result": video[frames]}

    def _find(self, name: str) -> Path:
        for path in sorted(self.folder.iterdir()):
            if path.stem == name and (path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()):
                return path
        raise InputError(f"no result video {name}.mp4 in {self.folder}")


def load_method(model: str, compute: Compute = Compute(), motion: CrossMotion = CrossMotion()) -> Method:  # noqa: B008
    """A model folder or the name of a bundled model, or else a folder of result videos.

    Raises:
        InputError: it is none of these, or there is no such device or precision.
    """
    if is_video_folder(model):
        return VideoMethod(Path(model))
    device, precision, batch_size = compute
    return NetworkMethod(Animator.from_pretrained(model, device=device, dtype=precision, batch_size=batch_size), motion)


def is_video_folder(model: str) -> bool:
    """Whether a model is given as a folder of result videos."""
    return Path(model).is_dir() and not (Path(model) / "config.yaml").is_file()


def model_label(model: str) -> str:
    """What a model is called where nobody says: its folder, or the one around it where that is called `model`, as in a run's."""
    path = Path(model).absolute()
    return path.parent.name if path.name == "model" else path.name
