"""What every judge looks like."""

from collections.abc import Set
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from mrfa.errors import InputError

RECONSTRUCTION = frozenset({"reconstruction"})
CROSS_IDENTITY = frozenset({"cross-identity"})
BOTH = RECONSTRUCTION | CROSS_IDENTITY


class Frames(NamedTuple):
    """What is judged at once: frames of one clip.

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


class JudgeUnavailableError(InputError):
    """A judge's weights or package are missing; the message says what to place or install."""


@runtime_checkable
class Judge(Protocol):
    """Judges frames one by one.

    Attributes:
        name: as in reports. Judges that stand in for the paper's carry their own in brackets.
        lower_is_better: whether less is better.
        protocols: in which it means something.
    """

    @property
    def name(self) -> str: ...

    @property
    def lower_is_better(self) -> bool: ...

    @property
    def protocols(self) -> Set[str]: ...

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`; NaN where a frame cannot be judged."""
        ...


@runtime_checkable
class SetJudge(Protocol):
    """Judges all frames together, by their features."""

    @property
    def name(self) -> str: ...

    @property
    def lower_is_better(self) -> bool: ...

    @property
    def protocols(self) -> Set[str]: ...

    def features(self, frames: Frames) -> np.ndarray:
        """What is kept of a clip: `[F, D]`."""
        ...

    def result(self, features: np.ndarray) -> float:
        """The figure of all clips' features `[sum of F, D]`."""
        ...


def first_line(error: Exception) -> str:
    """What another package's error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]
