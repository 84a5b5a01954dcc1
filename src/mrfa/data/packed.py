"""A data set as one small file, to take to another machine: H.264 clips and their landmark groups.

A packed file is a safetensors file with, for each clip, `video/NAME` (the bytes of the file) and, where landmarks were asked
for, `groups/NAME` `[T, G, 2]` and `found/NAME` `[T]`. The identity of each clip stands in the metadata.
"""

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mrfa.data.clips import list_clips, square
from mrfa.data.files import replacing
from mrfa.data.prepared import PreparedClip, prepare_clips, read_landmarks, write_prepared
from mrfa.errors import InputError


def pack_clips(root: Path, target: Path, cache: Path, *, size: int) -> int:
    """Write the clips under `root`, with landmark groups, into one file.

    Args:
        root: folder of video files (the bytes are packed as they are, so they should be small already).
        target: the packed file.
        cache: folder for prepared clips, from which the landmark groups come.
        size: side of the prepared pictures.

    Returns:
        The number of clips.

    Raises:
        InputError: no usable clip, a clip that is a folder of pictures, or an unwritable target.
    """
    clips = {clip.name(root): clip for clip in list_clips(root)}
    folder = next((clip.path for clip in clips.values() if clip.path.is_dir()), None)
    if folder is not None:
        raise InputError(f"{folder} is a folder of pictures: only video files can be packed")
    prepared, _ = prepare_clips(root, cache, size=size, landmarks=True)
    tensors: dict[str, np.ndarray] = {}
    identities: dict[str, str] = {}
    for item in prepared:
        clip = clips[item.name]
        groups, found = read_landmarks(item)
        tensors[f"video/{item.name}"] = np.frombuffer(clip.path.read_bytes(), np.uint8)
        tensors[f"groups/{item.name}"] = groups.astype(np.float16)
        tensors[f"found/{item.name}"] = found
        identities[item.name] = item.identity
    with replacing(target) as temporary:
        save_file(tensors, temporary, metadata={"identities": json.dumps(identities)})
    return len(identities)


def unpack_clips(packed: Path, cache: Path, *, size: int) -> list[PreparedClip]:
    """Prepare the clips of a packed file for training.

    Raises:
        InputError: the file is not a packed data set.
    """
    try:
        with safe_open(packed, framework="np") as file:
            identities = json.loads((file.metadata() or {})["identities"])
    except (SafetensorError, KeyError, OSError) as error:
        raise InputError(f"{packed} is not a packed data set: {error}") from None
    cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda name: _unpack(packed, cache, name, identities[name], size), identities))


def _unpack(packed: Path, cache: Path, name: str, identity: str, size: int) -> PreparedClip:
    target = cache / f"{packed.stem}-{name}-{size}.safetensors"
    with safe_open(packed, framework="np") as file, tempfile.TemporaryDirectory() as folder:
        groups, found = file.get_tensor(f"groups/{name}"), file.get_tensor(f"found/{name}")
        video = Path(folder) / f"{name}.mp4"
        video.write_bytes(file.get_tensor(f"video/{name}").tobytes())
        frames = _decode(video, size)
    write_prepared(target, frames, groups.astype(np.float32)[: len(frames)], found[: len(frames)])
    return PreparedClip(target, name, identity, len(frames))


def _decode(video: Path, size: int) -> np.ndarray:
    """All frames `[T, size, size, 3]`, by OpenCV, which is more often at hand on training machines than PyAV."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(square(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), size))
    if not frames:
        raise InputError(f"the packed clip {video.stem} cannot be decoded by OpenCV")
    return np.stack(frames)
