"""A folder of synthetic clips, with the truth of each beside it.

The truth of a clip is a safetensors file of its name: `states [T, 16]` (see `State.to_array`), `landmarks_px [T, 26, 2]`,
`euler [T, 3]` and `expression [T, 8]`; the identity's seed and the side of the pictures stand in its metadata. From these
`read_truth` draws every frame again, unharmed by compression and with its surface, from which the motion of any pair follows.
"""

from collections.abc import Callable
from dataclasses import astuple
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.render import Rendered, render
from benchmarks.synthetic.sequence import FRAME_RATE, talking_sequence
from benchmarks.synthetic.state import State
from mrfa.data.files import check_writable, replacing
from mrfa.data.video import VideoWriter
from mrfa.errors import InputError

FORMAT = "mrfa-synthetic"
VERSION = "2"
SUFFIX = ".safetensors"


class Truth(NamedTuple):
    """What a synthetic clip shows.

    Attributes:
        head: who.
        states: what the head does, a frame each.
        size: side of the pictures in pixels.
    """

    head: SyntheticHead
    states: list[State]
    size: int

    def frame(self, index: int) -> Rendered:
        """A frame, drawn again."""
        return render(self.head, self.states[index], self.size)


def synthesize_clips(
    folder: Path,
    *,
    clips: int,
    frames: int,
    size: int = 256,
    seed: int = 0,
    truth: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write clips of talking heads, each of another identity, as `<identity>_0.mp4`.

    Args:
        folder: where; made if it does not exist.
        clips, frames: how many, and how many pictures each.
        size: side of the pictures in pixels.
        seed: other seeds give other identities and other motion.
        truth: also write the truth beside each clip.
        progress: called with (done, total) pictures.

    Returns:
        The clips.

    Raises:
        InputError: the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from None
    check_writable(folder / "clip.mp4")
    written = []
    for number in range(clips):
        identity, motion = (int(value) for value in np.random.default_rng((seed, number)).integers(2**31, size=2))
        path = folder / f"head{identity:010d}_0.mp4"
        head, states = SyntheticHead.draw(identity), talking_sequence(motion, frames)
        rendered = []
        time_base = Fraction(1, FRAME_RATE)
        with VideoWriter(path, width=size, height=size, time_base=time_base, rate=Fraction(FRAME_RATE)) as writer:
            for index, state in enumerate(states):
                picture = render(head, state, size)
                writer.write(picture.image, index, 1)
                rendered.append((picture.landmarks_px, picture.euler, np.array(astuple(state.expression), np.float32)))
                if progress:
                    progress(number * frames + index + 1, clips * frames)
            if truth:
                _write_truth(path.with_suffix(SUFFIX), identity, size, states, rendered)
        written.append(path)
    return written


def read_truth(clip: Path) -> Truth:
    """The truth of a clip that `synthesize_clips` wrote.

    Args:
        clip: the video, or the truth beside it.

    Raises:
        InputError: there is no truth beside it, or it cannot be read.
    """
    path = clip.with_suffix(SUFFIX)
    if not path.is_file():
        raise InputError(f"{clip} has no truth beside it: there is no {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != VERSION:
                raise InputError(f"{path} is not the truth of a synthetic clip that this version can read")
            states = [State.from_array(row) for row in file.get_tensor("states")]
            return Truth(SyntheticHead.draw(int(metadata["identity"])), states, int(metadata["size"]))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read {path}: {error}") from None


def _write_truth(
    path: Path, identity: int, size: int, states: list[State], rendered: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> None:
    landmarks, euler, expression = (np.stack(part) for part in zip(*rendered, strict=True))
    tensors = {
        "states": np.stack([state.to_array() for state in states]),
        "landmarks_px": landmarks,
        "euler": euler,
        "expression": expression,
    }
    metadata = {"format": FORMAT, "version": VERSION, "identity": str(identity), "size": str(size)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)
