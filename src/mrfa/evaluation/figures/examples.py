"""What a figure shows: which portrait, driven by which frame of which clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.animation.crop import crop_image, find_face_crop
from mrfa.data.clips import list_clips, read_clip
from mrfa.data.images import PICTURE_SUFFIXES, read_image
from mrfa.errors import InputError
from mrfa.evaluation.trials import Trial, cross_identity_trials, most_different, reconstruction_trials


class Example(NamedTuple):
    """One row of a figure.

    Attributes:
        trial: portrait and driving clip; the portrait may also be a picture.
        frame: number of the driving frame, from 0; None for the one that differs most from the clip's first.
    """

    trial: Trial
    frame: int | None


class Footage(NamedTuple):
    """The pictures of an example.

    Attributes:
        source: portrait, uint8 RGB `[S, S, 3]`.
        clip: all driving frames, `[T, S, S, 3]`.
        frame: number of the driving frame that is shown.
    """

    source: np.ndarray
    clip: np.ndarray
    frame: int


def reconstruction_examples(data: Path | None, clips: Sequence[str], *, rows: int, seed: int) -> list[Example]:
    """Clips driven by themselves.

    Args:
        data: folder of clips.
        clips: `CLIP[:FRAME]` each, a clip's name in `data` or a path; empty to choose from `data`.
        rows: how many to choose; all where there are no more.
        seed: other seeds choose others.

    Raises:
        InputError: no such clip, or nothing to choose from.
    """
    if clips:
        named = [_driver(text, data) for text in clips]
        return [Example(Trial(_name(path, data), path, path), frame) for path, frame in named]
    trials = reconstruction_trials(_required(data, "--clip"))
    chosen = np.random.default_rng(seed).permutation(len(trials))[:rows]
    return [Example(trials[index], None) for index in sorted(chosen)]


def cross_identity_examples(data: Path | None, pairs: Sequence[str], *, rows: int, seed: int) -> list[Example]:
    """Portraits driven by other people's clips; those that are chosen are the first pairs of an evaluation of the same seed.

    Args:
        pairs: `SOURCE,DRIVING[:FRAME]` each, names of clips in `data` or paths; SOURCE may be a picture, the face of which is
            found. Empty to choose from `data`.

    The other arguments and errors are those of `reconstruction_examples`.
    """
    if not pairs:
        return [Example(trial, None) for trial in cross_identity_trials(_required(data, "--pair"), None, pairs=rows, seed=seed)]
    examples = []
    for text in pairs:
        first, _, second = text.rpartition(",")
        if not first or not second:
            raise InputError(f"'{text}' is no pair: give SOURCE,DRIVING or SOURCE,DRIVING:FRAME")
        source, (driving, frame) = _find(first, data), _driver(second, data)
        examples.append(Example(Trial(f"{_name(source, data)}--{_name(driving, data)}", source, driving), frame))
    return examples


def read_example(example: Example, size: int) -> Footage:
    """The pictures of an example at `size` x `size`.

    Raises:
        InputError: they cannot be read, or the clip has no such frame.
    """
    (_, portrait, driving), frame = example
    clip = read_clip(driving, size)
    if frame is not None and frame >= len(clip):
        raise InputError(f"{driving} has no frame {frame}: it has {len(clip)}, the first is 0")
    if _is_picture(portrait):
        image = read_image(portrait)
        source = crop_image(image, find_face_crop(image, name=portrait), size)
    else:
        source = clip[0] if portrait == driving else read_clip(portrait, size)[0]
    return Footage(source, clip, most_different(clip[0], clip) if frame is None else frame)


def _driver(text: str, data: Path | None) -> tuple[Path, int | None]:
    """Path and frame of `CLIP[:FRAME]`."""
    name, _, number = text.rpartition(":")
    path, frame = (_find(name, data), int(number)) if name and number.isdecimal() else (_find(text, data), None)
    if _is_picture(path):
        raise InputError(f"{path} is a picture: a driver is a video or a folder of pictures")
    return path, frame


def _find(text: str, data: Path | None) -> Path:
    """The clip of this name in the folder, or the file or folder at this path."""
    for clip in list_clips(data) if data else ():
        if data and text in (clip.name(data), clip.path.name):
            return clip.path
    if not Path(text).exists():
        raise InputError(f"no clip '{text}': it is no path" + (f" and no name of a clip in {data}" if data else ""))
    return Path(text)


def _name(path: Path, data: Path | None) -> str:
    inside = path.relative_to(data) if data and path.is_relative_to(data) else Path(path.name)
    return "_".join(inside.with_suffix("").parts)


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES


def _required(data: Path | None, option: str) -> Path:
    if data is None:
        raise InputError(f"nothing to show: give a folder of clips by --data, or what to show by {option}")
    return data
