"""What makes the pictures that are judged: a network of ours, or result videos made elsewhere."""

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mrfa.animation.motion import transfer_motion
from mrfa.data.clips import VIDEO_SUFFIXES, read_clip
from mrfa.data.tensors import to_pictures, to_tensor
from mrfa.errors import InputError
from mrfa.evaluation.baselines import repeated_source
from mrfa.evaluation.trials import Trial
from mrfa.network.model import Network
from mrfa.weights import fingerprint, load_model

BATCH = 8


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

    @torch.inference_mode()
    def pictures(self, trial: Trial, source: np.ndarray, clip: np.ndarray, frames: list[int]) -> dict[str, np.ndarray]:
        """See `Subject`."""
        network, device = self.network, next(self.network.parameters()).device
        encoded = network.encode_source(to_tensor(source[None], device))
        initial = network.detect(to_tensor(clip[:1], device))
        found: dict[str, list[np.ndarray]] = {"coarse": [], "result": []}
        for start in range(0, len(frames), BATCH):
            images = to_tensor(clip[frames[start : start + BATCH]], device)
            driving = network.detect(images)
            background = network.follow_background(encoded, images, driving) if trial.is_reconstruction else None
            keypoints = transfer_motion(encoded.keypoints, driving, initial, relative=self.relative)
            for method, pictures in found.items():
                output = network.animate(encoded, keypoints, coarse_only=method == "coarse", background=background)
                pictures.append(to_pictures(output.image))
        return {"source": repeated_source(source, len(frames))} | {name: np.concatenate(found[name]) for name in found}


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
