"""A data set as one small file, to take to another machine: H.264 clips or stills, and their landmark groups.

A packed file is a safetensors file with, for each clip, `video/NAME` or, of a still, `picture/NAME` (the bytes of the file),
`groups/NAME` `[T, G, 2]` (half-pixel normalised) and `found/NAME` `[T]`. Its metadata hold the version of this format, the side
of the pictures that the clips are unpacked to, and the identity of each clip.
"""

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mrfa.data.clips import list_clips, read_still, square
from mrfa.data.files import replacing
from mrfa.data.guidance import GROUPS
from mrfa.data.prepared import (
    FORMAT,
    PreparedClip,
    cache_key,
    count_frames,
    describe_prepared,
    file_state,
    prepare_clips,
    read_landmarks,
    write_prepared,
)
from mrfa.errors import InputError
from mrfa.processes import ALONE, Processes

LARGEST_SIZE = 2048


class _Packed(NamedTuple):
    """A packed file: where it lies, the side of its pictures, whom each clip shows, and which clips are stills."""

    path: Path
    size: int
    identities: dict[str, str]
    stills: set[str]


def pack_clips(root: Path, target: Path, cache: Path, *, size: int, report: Callable[[str], None] = lambda problem: None) -> int:
    """Write the clips under `root`, with landmark groups, into one file.

    Args:
        root: folder of video files or of stills (the bytes are packed as they are, so they should be small already).
        target: the packed file.
        cache: folder for prepared clips, from which the landmark groups come.
        size: side of the pictures that landmarks are found on and that the clips are unpacked to.
        report: called with a line for each clip that is left out.

    Returns:
        The number of clips.

    Raises:
        InputError: no usable clip, a clip that is a folder of pictures, or an unwritable target.
    """
    clips = {clip.name(root): clip for clip in list_clips(root, stills=True)}
    folder = next((clip.path for clip in clips.values() if clip.path.is_dir()), None)
    if folder is not None:
        raise InputError(f"{folder} is a folder of pictures: only video files and stills can be packed")
    prepared, problems = prepare_clips(root, cache, size=size, landmarks=True)
    for problem in problems:
        report(problem)
    tensors: dict[str, np.ndarray] = {}
    identities: dict[str, str] = {}
    for item in prepared:
        clip = clips[item.name]
        groups, found = read_landmarks(item)
        tensors[f"{'picture' if clip.still else 'video'}/{item.name}"] = np.frombuffer(clip.path.read_bytes(), np.uint8)
        tensors[f"groups/{item.name}"] = groups.astype(np.float16)
        tensors[f"found/{item.name}"] = found
        identities[item.name] = item.identity
    metadata = {"format": str(FORMAT), "size": str(size), "identities": json.dumps(identities)}
    with replacing(target) as temporary:
        save_file(tensors, temporary, metadata=metadata)
    return len(identities)


def unpack_clips(packed: Path, cache: Path, *, processes: Processes = ALONE) -> list[PreparedClip]:
    """Prepare the clips of a packed file for training, or reuse what an earlier run prepared.

    Args:
        packed: the packed file.
        cache: folder for the prepared files.
        processes: those that call this function at the same time; each prepares its share, and all get the same result.

    Raises:
        InputError: the file is not a packed data set, is one of another version, or one of its clips cannot be decoded.
    """
    content = _read_metadata(packed)
    cache.mkdir(parents=True, exist_ok=True)
    state = file_state(packed)
    targets = {name: cache / f"{packed.stem}-{cache_key(state, name)}.safetensors" for name in content.identities}
    missing = [name for name in processes.share(list(targets)) if count_frames(targets[name]) is None]
    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(lambda name: _unpack(content, name, targets[name]), missing) if problem]
    problems = processes.gather(problems)
    if problems:
        raise InputError(f"{packed}: {problems[0]}")
    return [describe_prepared(target, name, content.identities[name]) for name, target in targets.items()]


def _read_metadata(packed: Path) -> _Packed:
    try:
        with safe_open(packed, framework="np") as file:
            metadata, keys = file.metadata() or {}, set(file.keys())
        identities = json.loads(metadata["identities"])
        version = int(metadata.get("format", 1))
        size = int(metadata.get("size", 256))
        stills = {name for name in identities if f"picture/{name}" in keys}
        contents = {name: ("picture" if name in stills else "video", "groups", "found") for name in identities}
        complete = all(f"{part}/{name}" in keys for name, parts in contents.items() for part in parts)
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(f"{packed} is not a packed data set: {error}") from None
    if version != FORMAT:
        raise InputError(f"{packed} was packed by another version of mrfa (format {version}, not {FORMAT}): pack the clips again")
    if not identities or not complete or not 32 <= size <= LARGEST_SIZE:
        raise InputError(f"{packed} is not a packed data set: clips are missing, or their size of {size} is impossible")
    return _Packed(packed, size, {str(name): str(identity) for name, identity in identities.items()}, stills)


def _unpack(content: _Packed, name: str, target: Path) -> str | None:
    """Write one prepared clip; what is wrong with it is returned, so that all processes learn of it."""
    with safe_open(content.path, framework="np") as file, tempfile.TemporaryDirectory() as folder:
        groups, found = file.get_tensor(f"groups/{name}").astype(np.float32), file.get_tensor(f"found/{name}").astype(bool)
        still = name in content.stills
        clip = Path(folder) / ("clip.jpg" if still else "clip.mp4")
        clip.write_bytes(file.get_tensor(f"{'picture' if still else 'video'}/{name}").tobytes())
        frames = (_decode_still if still else _decode)(clip, content.size)
    count, fewest = min(len(frames), len(found)), 1 if still else 2
    if count < fewest or groups.shape[1:] != (GROUPS, 2) or len(groups) != len(found) or not np.isfinite(groups).all():
        return f"the clip {name} is damaged, or OpenCV cannot decode it"
    write_prepared(target, frames[:count], groups[:count], found[:count])
    return None


def _decode_still(picture: Path, size: int) -> np.ndarray:
    """One frame `[1, size, size, 3]`, or none of a picture that cannot be read."""
    try:
        return read_still(picture, size)
    except InputError:
        return np.zeros((0, size, size, 3), np.uint8)


def _decode(video: Path, size: int) -> np.ndarray:
    """All frames `[T, size, size, 3]`, by OpenCV, which is more often at hand on training machines than PyAV."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(square(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size))
    return np.stack(frames) if frames else np.zeros((0, size, size, 3), np.uint8)
