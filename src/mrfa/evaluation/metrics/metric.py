"""What a metric is, and what it is given."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mrfa.errors import InputError

# What a good value is: as low as can be (zero is perfect), as high as can be, or the true picture's own, of which it is a share.
Better = Literal["lower", "higher", "near 1"]
RECONSTRUCTION = frozenset({"reconstruction"})
CROSS_IDENTITY = frozenset({"cross-identity"})
BOTH = RECONSTRUCTION | CROSS_IDENTITY


class Frames(NamedTuple):
    """What is measured at once: frames of one clip.

    Attributes:
        source: portrait, uint8 RGB `[S, S, 3]`.
        driving: `[F, S, S, 3]`; in self-reconstruction these are the true frames.
        generated: `[F, S, S, 3]`.
        cross_identity: whether the driving frames show another person than the portrait.
    """

    source: np.ndarray
    driving: np.ndarray
    generated: np.ndarray
    cross_identity: bool = False


# A value a frame, `[F]`, NaN where one cannot be measured; of a metric of sets, features a frame, `[F, D]`.
Measure = Callable[[Frames], np.ndarray]


class Needs(NamedTuple):
    """What metrics are built from.

    Attributes:
        variant: `standard`, or `paper`: as the published figures were computed.
        weights: folder of weights files, or None.
        device: where networks run.
        protocol: in which they shall mean something; None: any.
        all_frames: whether the frames follow each other.
    """

    variant: str = "standard"
    weights: Path | None = None
    device: str = "cpu"
    protocol: str | None = None
    all_frames: bool = True


class Metric(NamedTuple):
    """A measure under its name.

    Attributes:
        name: as in reports. Those that stand in for the paper's have their tool in brackets.
        better: what a good value is.
        protocols: in which it means something.
        measure: values of frames, or the features of frames where `of_set` is given.
        of_set: one value of the features of all clips' frames, `[N, D]`, as FID is; None: frames have values of their own.
    """

    name: str
    better: Better
    protocols: frozenset[str]
    measure: Measure
    of_set: Callable[[np.ndarray], float] | None = None


class MetricUnavailableError(InputError):
    """A metric's weights or package are missing; the message says what to place or install."""


def per_frame(compare: Callable[[np.ndarray, np.ndarray], float]) -> Measure:
    """A measure that compares each generated frame `[S, S, 3]` with its driving frame."""
    return lambda frames: np.array([compare(made, true) for made, true in zip(frames.generated, frames.driving, strict=True)])


def first_line(error: Exception) -> str:
    """What another package's error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
