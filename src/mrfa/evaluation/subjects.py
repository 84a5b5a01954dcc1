"""What makes the pictures that are judged: a network of ours, or result videos made elsewhere."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from mrfa.data.clips import VIDEO_SUFFIXES, read_clip
from mrfa.errors import InputError
from mrfa.evaluation.animated_clip import animate_clip
from mrfa.evaluation.baselines import repeated_source
from mrfa.evaluation.trials import Trial
from mrfa.network.model import Network
from mrfa.weights import fingerprint, load_model


class Subject(Protocol):
    """Makes pictures of a trial by one or more methods, `result` among them.

    Attributes:
        size: side of the pictures in pixels.
        version: changes when the pictures would: figures of an older state are not taken for those of the present one.
    """

    size: int
    version: str

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """Pictures by method.

        Args:
            trial: what is asked for.
            source: portrait, uint8 RGB `[S, S, 3]`.
            clip: all driving frames, `[T, S, S, 3]`.
            frames: numbers of the driving frames that are judged, F of them.

        Returns:
            `[F, S, S, 3]` for each method.

        Raises:
            InputError: there are none.
        """
        ...


class NetworkSubject:
    """A network, and beside it what it has to beat: the source repeated, and its own coarse motion.

    Args:
        network: in evaluation mode, on any device.
        relative: add the driver's motion since its first frame to the portrait's own keypoints, otherwise take the driver's.
    """

    def __init__(self, network: Network, *, relative: bool) -> None:
        self.network = network
        self.relative = relative
        self.size = network.config.image_size
        self.version = fingerprint(network)

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """See `Subject`."""
        initial = clip[0] if self.relative else None
        made = animate_clip(self.network, source, clip[frames], initial=initial, one_video=trial.is_reconstruction)
        return {"source": repeated_source(source, len(frames))} | made


class VideoSubject:
    """Result videos of another method, named like the trials, one frame a driving frame.

    Args:
        folder: of videos, or of folders of pictures.
        size: side of the pictures that are judged.
    """

    def __init__(self, folder: Path, *, size: int = 256) -> None:
        if not folder.is_dir():
            raise InputError(f"no folder of result videos at {folder}")
        self.folder = folder
        self.size = size
        # Without the access time, which reading changes.
        files = ((path.name, path.stat()) for path in sorted(folder.rglob("*")))
        states = [(name, state.st_size, state.st_mtime_ns) for name, state in files]
        self.version = hashlib.sha256(repr(states).encode()).hexdigest()[:16]

    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """See `Subject`."""
        path = self._find(trial.name)
        video = read_clip(path, self.size)
        if len(video) != len(clip):
            raise InputError(f"{path} has {len(video)} frames, its driving clip {trial.driving} has {len(clip)}")
        return {"source": repeated_source(source, len(frames)), "result": video[frames]}

    def _find(self, name: str) -> Path:
        for path in sorted(self.folder.glob(f"{name}*")):
            if path.stem == name and (path.suffix.lower() in VIDEO_SUFFIXES or path.is_dir()):
                return path
        raise InputError(f"no result video {name}.mp4 in {self.folder}")


def load_subject(model: str, device: str = "cpu", *, relative: bool) -> Subject:
    """A model folder or the name of a bundled model, or else a folder of result videos.

    Raises:
        InputError: it is none of these.
    """
    folder = Path(model)
    if folder.is_dir() and not (folder / "config.yaml").is_file():
        return VideoSubject(folder)
    return NetworkSubject(load_model(model, device), relative=relative)
