"""Clips prepared for training: one file a clip with every frame as a JPEG, so that any frame is read in a millisecond.

A prepared clip is a safetensors file: `jpeg` (all pictures, end to end), `offsets [T+1]`, and, where landmarks were asked for,
`groups [T, G, 2]` (means of the landmark groups, normalised to [-1, 1]) and `found [T]`.
"""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from mrfa.data.clips import Clip, list_clips, read_clip
from mrfa.data.files import replacing
from mrfa.data.guidance import annotate_clip
from mrfa.errors import InputError

JPEG_QUALITY = 95
ProgressFunction = Callable[[int, int], None]


class PreparedClip(NamedTuple):
    """Where a prepared clip lies and what it holds."""

    path: Path
    name: str
    identity: str
    frames: int


class ClipFrames(NamedTuple):
    """Some frames of a prepared clip.

    Attributes:
        images: uint8 RGB `[n, H, W, 3]`.
        groups: `[n, G, 2]` normalised landmark groups, or None where the clip was prepared without.
        found: `[n]`, whether a face was found in the frame.
    """

    images: np.ndarray
    groups: np.ndarray | None
    found: np.ndarray


def prepare_clips(
    root: Path, cache: Path, *, size: int, landmarks: bool, progress: ProgressFunction | None = None
) -> tuple[list[PreparedClip], list[str]]:
    """Prepare every clip under `root`, or reuse what an earlier run prepared.

    Args:
        root: folder of clips (see `mrfa.data.clips`).
        cache: folder for the prepared files.
        size: side of the pictures in pixels.
        landmarks: also find the landmark groups, which needs mediapipe.
        progress: called with (done, total).

    Returns:
        The usable clips, and one line for each that is not (unreadable, or of a single frame).

    Raises:
        InputError: no usable clip under `root`.
    """
    clips = list_clips(root)
    cache.mkdir(parents=True, exist_ok=True)
    targets = {clip: cache / _cache_name(clip, size, landmarks) for clip in clips}
    missing = [clip for clip in clips if not targets[clip].is_file()]
    problems: dict[Clip, str] = {}
    workers = max(1, min(len(missing), os.cpu_count() or 1))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_prepare, clip, targets[clip], size, landmarks): clip for clip in missing}
        for done, job in enumerate(as_completed(jobs), start=1):
            if job.result():
                problems[jobs[job]] = f"{jobs[job].path}: {job.result()}"
            if progress:
                progress(done, len(missing))
    prepared = [_describe(targets[clip], clip, root) for clip in clips if clip not in problems]
    usable = [clip for clip in prepared if clip.frames > 1]
    lines = [*problems.values(), *(f"{clip.path.name}: only one frame" for clip in prepared if clip.frames < 2)]
    if not usable:
        raise InputError(f"no usable clip in {root}" + (f": {lines[0]}" if lines else ""))
    return usable, lines


def write_prepared(target: Path, frames: np.ndarray, groups: np.ndarray | None, found: np.ndarray | None) -> None:
    """Write one prepared clip from frames `[T, H, W, 3]` and, where there are any, their landmark groups."""
    encoded = [_encode(frame) for frame in frames]
    tensors = {"jpeg": np.concatenate(encoded), "offsets": np.cumsum([0, *map(len, encoded)], dtype=np.int64)}
    if groups is not None and found is not None:
        tensors |= {"groups": groups, "found": found}
    with replacing(target) as temporary:
        save_file(tensors, temporary)


def read_landmarks(clip: PreparedClip) -> tuple[np.ndarray, np.ndarray]:
    """Landmark groups `[T, G, 2]` and found flags `[T]` of a clip that was prepared with them."""
    with safe_open(clip.path, framework="np") as file:
        return file.get_tensor("groups"), file.get_tensor("found")


def read_frames(clip: PreparedClip, indices: list[int]) -> ClipFrames:
    """Decode single frames of a prepared clip."""
    with safe_open(clip.path, framework="np") as file:
        offsets = file.get_tensor("offsets")
        data = file.get_slice("jpeg")
        images = [_decode(data[int(offsets[i]) : int(offsets[i + 1])]) for i in indices]
        if "groups" not in file.keys():  # noqa: SIM118 (safe_open is no dictionary)
            return ClipFrames(np.stack(images), None, np.zeros(len(indices), bool))
        groups, found = file.get_tensor("groups"), file.get_tensor("found")
    return ClipFrames(np.stack(images), groups[indices], found[indices])


def _cache_name(clip: Clip, size: int, landmarks: bool) -> str:
    stat = clip.path.stat()
    key = f"{clip.path.resolve()} {stat.st_size} {stat.st_mtime_ns} {size} {landmarks}"
    return f"{clip.path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.safetensors"


def _prepare(clip: Clip, target: Path, size: int, landmarks: bool) -> str | None:
    """Write one prepared clip; what went wrong is returned, so that one bad clip does not end the job."""
    try:
        frames = read_clip(clip.path, size)
        groups, found = annotate_clip(frames) if landmarks else (None, None)
        write_prepared(target, frames, groups, found)
    except InputError as error:
        return str(error)
    return None


def _describe(path: Path, clip: Clip, root: Path) -> PreparedClip:
    with safe_open(path, framework="np") as file:
        return PreparedClip(path, clip.name(root), clip.identity, file.get_slice("offsets").get_shape()[0] - 1)


def _encode(image: np.ndarray) -> np.ndarray:
    settings = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), settings)[1].ravel()


def _decode(data: np.ndarray) -> np.ndarray:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
