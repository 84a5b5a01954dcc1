"""The motion's controls in plain words, and what of `mrfa animate` they mean."""

from typing import Any, NamedTuple

from pydantic import ValidationError

from mrfa.animation.options import Options
from mrfa.errors import InputError

# How motion is transferred.
OWN_FACE = "On the portrait's own face (recommended)"
MOTIONS: dict[str, dict[str, Any]] = {
    OWN_FACE: {"motion": "auto"},
    "Only what changes in the video": {"motion": "relative"},
    "Only what changes, scaled to the portrait's face": {"motion": "relative", "adapt_scale": True},
    "Exactly the video's pose and proportions": {"motion": "absolute"},
}
STARTS = {"Best match (recommended)": "best", "First frame": "first"}


class Controls(NamedTuple):
    """What the page asks, in the order of its controls.

    Attributes:
        face: number of the portrait's face, from 1 on, the largest.
        motion: a key of `MOTIONS`.
        start: a key of `STARTS`: which of the video's frames counts as the portrait's pose.
        expression, head, eyes, lips: strengths, 0 to 2; of use with `OWN_FACE` alone.
        same_pose: turn the head as the video's; likewise.
        smooth: 0 to 1.
        whole: show the whole picture, otherwise the face's square.
        compare: show portrait and video beside the result.
        sound: keep the video's.
        mark: write into the picture that it is AI-generated.
    """

    face: int = 1
    motion: str = OWN_FACE
    start: str = next(iter(STARTS))
    expression: float = 1.0
    head: float = 1.0
    eyes: float = 1.0
    lips: float = 1.0
    same_pose: bool = False
    smooth: float = 0.0
    whole: bool = True
    compare: bool = False
    sound: bool = True
    mark: bool = False

    def options(self) -> Options:
        """As the options of `mrfa animate`.

        Raises:
            InputError: a value is none that the page offers.
        """
        parts: dict[str, Any] = {}
        if self.motion == OWN_FACE:
            parts = {name: getattr(self, name) for name in ("expression", "head", "eyes", "lips")}
            parts["pose"] = "absolute" if self.same_pose else "relative"
        try:
            return Options(
                face=str(self.face),
                start=STARTS[self.start],
                smooth=self.smooth,
                paste_back=self.whole,
                compare=self.compare,
                audio="copy" if self.sound else "none",
                mark=self.mark,
                **MOTIONS[self.motion],
                **parts,
            )
        except (KeyError, ValidationError):
            raise InputError("the page sent a setting that it does not have: reload it") from None
