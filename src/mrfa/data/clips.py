"""Folders of clips: videos, folders of pictures, or still pictures, of known identities."""

import re
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.data.images import PICTURE_SUFFIXES, read_image
from mrfa.errors import InputError

VIDEO_SUFFIXES = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v"}


class Clip(NamedTuple):
    """A video file, a folder of pictures or a still picture, and whom it shows."""

    path: Path
    identity: str

    @property
    def still(self) -> bool:
        """Whether this is a single picture, a clip of one frame."""
        return self.path.suffix.lower() in PICTURE_SUFFIXES and self.path.is_file()

    def name(self, root: Path) -> str:
        """Unique among the clips under `root`: the path below it, without the ending."""
        return "_".join(self.path.relative_to(root).with_suffix("").parts)


def list_clips(root: str | Path, *, stills: bool = False) -> list[Clip]:
    """All clips below a folder, sorted.

    A clip's identity is the name of the folder that it lies in, or, directly under `root`, its own name up to the last `_<n>`
    (of stills also `_s<n>`).

    Args:
        root: the folder.
        stills: of a folder that has no clips in it, list the pictures directly in it, each as a clip of one frame.

    Raises:
        InputError: no such folder, or no clip in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"no folder of clips at {root}")
    paths = {path for path in root.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES}
    paths |= {path.parent for path in root.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.parent != root}
    if stills and not paths:
        paths = {path for path in root.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES}
    if not paths:
        known = "videos, folders of pictures nor pictures" if stills else "videos nor folders of pictures"
        raise InputError(f"no clips in {root}: it holds neither {known}")
    return [Clip(path, _identity(path, root)) for path in sorted(paths)]


def read_clip(path: str | Path, size: int) -> np.ndarray:
    """All frames of a video or folder of pictures at `size` x `size`: uint8 RGB `[T, size, size, 3]`.

    Of pictures that are not square the middle is taken.

    Raises:
        InputError: the clip cannot be read or is empty.
    """
    # Imported here, as packed data sets are read where there is no PyAV.
    from mrfa.data.video import open_frames

    frames = [square(frame.image, size) for frame in open_frames(Path(path))]
    if not frames:
        raise InputError(f"{path} holds no frames")
    return np.stack(frames)


def read_still(path: str | Path, size: int) -> np.ndarray:
    """A picture as a clip of one frame, `[1, size, size, 3]`; see `read_clip`."""
    return square(read_image(path), size)[None]


def _identity(path: Path, root: Path) -> str:
    if path.parent != root:
        return path.parent.name
    return re.sub(r"_s?\d+$", "", path.stem)


def square(image: np.ndarray, size: int) -> np.ndarray:
    """The middle square of a picture `[H, W, 3]`, resized to `[size, size, 3]`."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = image[top : top + side, left : left + side]
    if side == size:
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
