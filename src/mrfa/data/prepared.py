"""Clips prepared for training: one file a clip with every frame as a JPEG, so that any frame is read in a millisecond.

A prepared clip is a safetensors file: `jpeg` (all pictures, end to end), `offsets [T+1]`, and, where landmarks were asked for,
`groups [T, G, 2]` (means of the landmark groups, half-pixel normalised: -1 and 1 are the picture's edges) and `found [T]`.
Its name is made from the clip's and from all that decides its content, the version of this format included.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mrfa.data.clips import Clip, list_clips, read_clip, read_still
from mrfa.data.files import replacing
from mrfa.data.guidance import GROUPS, annotate_clip
from mrfa.errors import InputError
from mrfa.processes import ALONE, Processes, run_apart

FORMAT = 2  # 1: landmark groups were normalised over pixel centres
JPEG_QUALITY = 95
ProgressFunction = Callable[[int, int], None]


class PreparedClip(NamedTuple):
    """Where a prepared clip lies and what it holds.

    Attributes:
        path: the file.
        name: of the clip in its data set.
        identity: whom it shows.
        frames: their number; a still has one.
        weight: how often its identity is drawn in training, relative to others.
    """

    path: Path
    name: str
    identity: str
    frames: int
    weight: float = 1.0

    @property
    def still(self) -> bool:
        """Whether this is a still picture, from which a pair has to be made."""
        return self.frames == 1

    def read(self, indices: Sequence[int]) -> "ClipFrames":
        """Decode single frames."""
        return read_frames(self, indices)


class ClipFrames(NamedTuple):
    """Some frames of a prepared clip.

    Attributes:
        images: uint8 RGB `[n, H, W, 3]`.
        groups: float32 `[n, G, 2]`, half-pixel normalised landmark groups; zeros where the clip was prepared without.
        found: bool `[n]`, whether a face was found in the frame.
    """

    images: np.ndarray
    groups: np.ndarray
    found: np.ndarray


def prepare_clips(
    root: Path,
    cache: Path,
    *,
    size: int,
    landmarks: bool,
    processes: Processes = ALONE,
    progress: ProgressFunction | None = None,
) -> tuple[list[PreparedClip], list[str]]:
    """Prepare every clip under `root`, or reuse what an earlier run prepared.

    Args:
        root: folder of clips (see `mrfa.data.clips`).
        cache: folder for the prepared files.
        size: side of the pictures in pixels.
        landmarks: also find the landmark groups.
        processes: those that call this function at the same time; each prepares its share, and all get the same result.
        progress: called with (done, total) of this process.

    Returns:
        The usable clips, and one line for each that is not (unreadable, or of a single frame and yet no still).

    Raises:
        InputError: no usable clip under `root`, or processes that do not share the cache.
    """
    clips = list_clips(root, stills=True)
    cache.mkdir(parents=True, exist_ok=True)
    targets = {clip: cache / _cache_name(clip, size, landmarks) for clip in clips}
    missing = [clip for clip in processes.share(clips) if count_frames(targets[clip]) is None]
    jobs = [_Job(clip, targets[clip], size, landmarks) for clip in missing]
    problems = dict(processes.gather(_prepare_all(jobs, max(1, (os.cpu_count() or 1) // processes.local_count), progress)))
    prepared = {clip: describe_prepared(targets[clip], clip.name(root), clip.identity) for clip in clips if clip not in problems}
    usable = [found for clip, found in prepared.items() if found.frames > 1 or clip.still]
    lines = [f"{clip.path}: {problem}" for clip, problem in problems.items()]
    lines += [f"{found.name}: only one frame" for clip, found in prepared.items() if found.frames < 2 and not clip.still]
    if not usable:
        raise InputError(f"no usable clip in {root}: {lines[0]}")
    return usable, lines


def write_prepared(target: Path, frames: np.ndarray, groups: np.ndarray | None, found: np.ndarray | None) -> None:
    """Write one prepared clip from frames `[T, H, W, 3]` and, where there are any, their landmark groups."""
    encoded = [encode(frame) for frame in frames]
    tensors = {"jpeg": np.concatenate(encoded), "offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64)}
    if groups is not None and found is not None:
        tensors |= {"groups": groups, "found": found}
    with replacing(target) as temporary:
        save_file(tensors, temporary)


def read_landmarks(clip: PreparedClip) -> tuple[np.ndarray, np.ndarray]:
    """Landmark groups `[T, G, 2]` and found flags `[T]` of a clip that was prepared with them."""
    with safe_open(clip.path, framework="np") as file:
        return file.get_tensor("groups"), file.get_tensor("found")


def read_frames(clip: PreparedClip, indices: Sequence[int]) -> ClipFrames:
    """Decode single frames of a prepared clip.

    Raises:
        InputError: it is damaged.
    """
    chosen = list(indices)
    with safe_open(clip.path, framework="np") as file:
        offsets = file.get_tensor("offsets")
        data = file.get_slice("jpeg")
        images = [image for i in chosen if (image := decode(data[int(offsets[i]) : int(offsets[i + 1])])) is not None]
        if len(images) < len(chosen):
            raise InputError(f"{clip.path} is damaged: delete it, and it will be prepared again")
        pictures = np.stack(images)
        if "groups" not in file.keys():  # noqa: SIM118 (safe_open is no dictionary)
            return ClipFrames(pictures, np.zeros((len(chosen), GROUPS, 2), np.float32), np.zeros(len(chosen), bool))
        return ClipFrames(pictures, file.get_tensor("groups")[chosen], file.get_tensor("found")[chosen])


def cache_key(*content: object) -> str:
    """A short name of all that decides what a prepared file holds."""
    return hashlib.sha256(repr((FORMAT, *content)).encode()).hexdigest()[:16]


def file_state(path: Path) -> tuple[str, int, int]:
    """What changes when a file is edited: name, size and time of the last change."""
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns


def count_frames(target: Path) -> int | None:
    """Frames of a prepared clip; None where there is no such file, or one that cannot be read."""
    try:
        with safe_open(target, framework="np") as file:
            return file.get_slice("offsets").get_shape()[0] - 1
    except (OSError, SafetensorError):
        return None


def describe_prepared(target: Path, name: str, identity: str) -> PreparedClip:
    """A prepared clip that this or another process has written.

    Raises:
        InputError: it is not here.
    """
    frames = count_frames(target)
    if frames is None:
        raise InputError(f"{target} is not here: all processes of a training must share their --cache")
    return PreparedClip(target, name, identity, frames)


def clip_state(clip: Clip) -> list[tuple[str, int, int]]:
    """What changes when a clip is edited."""
    files = sorted(clip.path.iterdir()) if clip.path.is_dir() else [clip.path]
    return [file_state(file) for file in files]


def _cache_name(clip: Clip, size: int, landmarks: bool) -> str:
    key = cache_key(str(clip.path.resolve()), clip_state(clip), size, landmarks)
    return f"{clip.path.stem}-{key}.safetensors"


def load_clip(clip: Clip, size: int, landmarks: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """All frames of a clip, `[T, size, size, 3]`, and where they are asked for its landmark groups and found flags.

    Raises:
        InputError: it cannot be read.
    """
    frames = (read_still if clip.still else read_clip)(clip.path, size)
    return (frames, *annotate_clip(frames)) if landmarks else (frames, None, None)


class _Job(NamedTuple):
    """A clip to prepare, and how."""

    clip: Clip
    target: Path
    size: int
    landmarks: bool


def _prepare_all(jobs: list[_Job], workers: int, progress: ProgressFunction | None) -> list[tuple[Clip, str]]:
    """Write prepared clips; those that could not be, with the reason."""
    problems: list[tuple[Clip, str]] = []
    ended = count(1)

    def note(job: _Job, problem: str | None) -> None:
        if problem is None or problem:
            problems.append((job.clip, problem or "the process that read it died"))
        if progress:
            progress(next(ended), len(jobs))

    run_apart(_prepare, jobs, workers, note)
    return problems


def _prepare(job: _Job) -> str:
    """Write one prepared clip; what went wrong is returned, so that one bad clip does not end the job."""
    try:
        write_prepared(job.target, *load_clip(job.clip, job.size, job.landmarks))
    except Exception as error:  # whatever a decoder or a detector makes of a bad clip
        return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return ""


def encode(image: np.ndarray) -> np.ndarray:
    """A uint8 RGB picture `[H, W, 3]` as the bytes of a JPEG."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1].ravel()


def decode(data: np.ndarray) -> np.ndarray | None:
    """The uint8 RGB picture of a JPEG's bytes; None where it is damaged."""
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
