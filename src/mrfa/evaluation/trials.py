"""What is evaluated: which portrait is driven by which clip."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrfa.data.clips import Clip, list_clips
from mrfa.data.files import replacing
from mrfa.errors import InputError


class Trial(NamedTuple):
    """The first frame of one clip, driven by a clip; by itself in self-reconstruction.

    Attributes:
        name: unique among the trials; also the name of a result video.
        source: clip whose first frame is the portrait.
        driving: clip that drives it.
    """

    name: str
    source: Path
    driving: Path

    @property
    def is_reconstruction(self) -> bool:
        """Whether portrait and driving clip are one video, so that its background is one, too."""
        return self.source == self.driving


def reconstruction_trials(root: Path, clips: int = 0) -> list[Trial]:
    """Every clip of a folder, driven by itself (paper, section 4); see `chosen_clips`.

    Raises:
        InputError: no clips there.
    """
    return [Trial(clip.name(root), clip.path, clip.path) for clip in chosen_clips(root, clips)]


def cross_identity_trials(root: Path, pairs_file: Path | None, *, pairs: int, seed: int, clips: int = 0) -> list[Trial]:
    """Pairs of clips of different people, of `chosen_clips`.

    The pairs are drawn once and written to `pairs_file`; where that exists, its pairs are taken, so that every model is
    measured on the same ones. With None they are drawn and not written: the first so many of those of the same seed.

    Raises:
        InputError: fewer than two people, or a file of pairs that does not fit the clips.
    """
    named = {clip.name(root): clip for clip in chosen_clips(root, clips)}
    if pairs_file is not None and pairs_file.is_file():
        drawn = _read_pairs(pairs_file, named)
    else:
        drawn = _draw_pairs(named, pairs, seed)
        if pairs_file is not None:
            with replacing(pairs_file) as temporary:
                temporary.write_text(json.dumps([{"source": a, "driving": b} for a, b in drawn], indent=1))
    return [Trial(f"{source}--{driving}", named[source].path, named[driving].path) for source, driving in drawn]


def chosen_clips(root: Path, count: int) -> list[Clip]:
    """So many evenly spaced clips of a folder, from the middles of equal stretches; all for 0, or where there are no more.

    Raises:
        InputError: no clips there.
    """
    found = list_clips(root)
    if not 0 < count < len(found):
        return found
    return [found[int((index + 0.5) * len(found) / count)] for index in range(count)]


def most_different(picture: np.ndarray, frames: np.ndarray) -> int:
    """Number of the frame, of uint8 `[F, H, W, 3]`, that differs most from a picture `[H, W, 3]` in the mean."""
    return int(np.array([np.abs(frame.astype(np.int16) - picture).mean() for frame in frames]).argmax())


def _draw_pairs(clips: dict[str, Clip], count: int, seed: int) -> list[tuple[str, str]]:
    """Different pairs, every clip as source once before any is twice."""
    identities = {clip.identity for clip in clips.values()}
    if len(identities) < 2:
        raise InputError("cross-identity pairs need clips of at least two people: give each a folder or a name of its own")
    rng = np.random.default_rng(seed)
    possible = {name: [other for other in clips if clips[other].identity != clips[name].identity] for name in clips}
    for others in possible.values():
        rng.shuffle(others)
    drawn: list[tuple[str, str]] = []
    while len(drawn) < count and any(possible.values()):
        names = [name for name in clips if possible[name]]
        drawn += [(name, possible[name].pop()) for name in rng.permutation(names)]
    return drawn[:count]


def _read_pairs(path: Path, clips: dict[str, Clip]) -> list[tuple[str, str]]:
    try:
        drawn = [(str(pair["source"]), str(pair["driving"])) for pair in json.loads(path.read_text())]
    except (ValueError, TypeError, KeyError):
        raise InputError(f'{path} is not a list of pairs such as {{"source": "anna_0", "driving": "ben_1"}}') from None
    if not drawn:
        raise InputError(f"{path} names no pairs: delete it to have some drawn")
    unknown = [name for pair in drawn for name in pair if name not in clips]
    if unknown:
        raise InputError(f"{path} names the clip {unknown[0]}, which is none of those evaluated")
    return drawn
