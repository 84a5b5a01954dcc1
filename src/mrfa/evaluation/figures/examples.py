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
    """The pictures of a example.

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
        named = [_named_clip(text, data) for text in clips]
        return [Example(Trial(_name(path, data), path, path), frame) for path, frame in named]
    trials = reconstruction_trials(_required(data, "--clip"))
    chosen = np.random.default_rng(seed).permutation(len(trials))[:rows]
    return [Example(trials[index], None) for index in sorted(chosen)]


def cross_identity_examples(data: Path | None, pairs: Sequence[str], *, rows: int, seed: int) -> list[Example]:
    """Portraits driven by other people's clips.

    Those that are chosen are the first pairs that the cross-identity protocol draws with the same seed.

    Args:
        data: folder of clips.
        pairs: `SOURCE,DRIVING[:FRAME]` each, names of clips in `data` or paths; SOURCE may be a picture, the face of which is
            found. Empty to choose from `data`.
        rows: how many to choose; all where there are no more.
        seed: other seeds choose others.

    Raises:
        InputError: no such clip, or nothing to choose from.
    """
    if pairs:
        return [_pair(text, data) for text in pairs]
    trials = cross_identity_trials(_required(data, "--pair"), None, pairs=rows, seed=seed)
    return [Example(trial, None) for trial in trials]


def read_example(example: Example, size: int) -> Footage:
    """The pictures of an example at `size` x `size`.

    Raises:
        InputError: they cannot be read, or the clip has no such frame.
    """
    trial = example.trial
    clip = read_clip(trial.driving, size)
    if example.frame is not None and example.frame >= len(clip):
        raise InputError(f"{trial.driving} has no frame {example.frame}: it has {len(clip)}, the first is 0")
    source = clip[0] if trial.is_reconstruction else _portrait(trial.source, size)
    return Footage(source, clip, most_different(clip[0], clip) if example.frame is None else example.frame)


def _portrait(path: Path, size: int) -> np.ndarray:
    if not _is_picture(path):
        return read_clip(path, size)[0]
    image = read_image(path)
    return crop_image(image, find_face_crop(image, name=path), size)


def _pair(text: str, data: Path | None) -> Example:
    source, comma, driving = text.rpartition(",")
    if not comma or not source or not driving:
        raise InputError(f"'{text}' is no pair: give SOURCE,DRIVING or SOURCE,DRIVING:FRAME")
    source_path = _find(source, data)
    driving_path, frame = _named_clip(driving, data)
    name = f"{_name(source_path, data)}--{_name(driving_path, data)}"
    return Example(Trial(name, source_path, driving_path), frame)


def _named_clip(text: str, data: Path | None) -> tuple[Path, int | None]:
    """Path and frame of `CLIP[:FRAME]`."""
    name, colon, number = text.rpartition(":")
    path, frame = (_find(name, data), int(number)) if colon and number.isdecimal() else (_find(text, data), None)
    if _is_picture(path):
        raise InputError(f"{path} is a picture: a driver is a video or a folder of pictures")
    return path, frame


def _find(text: str, data: Path | None) -> Path:
    """The clip of this name in the folder, or the file or folder at this path."""
    if data is not None:
        for clip in list_clips(data):
            if text in (clip.name(data), clip.path.name):
                return clip.path
    if not Path(text).exists():
        raise InputError(f"no clip '{text}': it is no path" + (f" and no name of a clip in {data}" if data else ""))
    return Path(text)


def _name(path: Path, data: Path | None) -> str:
    inside = data is not None and path.is_relative_to(data)
    return "_".join(path.relative_to(data).with_suffix("").parts) if inside and data else path.stem


def _is_picture(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PICTURE_SUFFIXES


def _required(data: Path | None, option: str) -> Path:
    if data is None:
        raise InputError(f"nothing to show: give a folder of clips by --data, or what to show by {option}")
    return data
