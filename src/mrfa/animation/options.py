"""The options of `mrfa animate`, which are those of each job of `mrfa batch`, too.

Imported by the command line, so torch is not: what they mean is checked where it is known, in `check`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from mrfa.errors import InputError
from mrfa.network.config import Section

if TYPE_CHECKING:
    from mrfa.animation.animator import Animator
    from mrfa.animation.driver import Progress
    from mrfa.animation.face_motion import PoseKind, Strengths
    from mrfa.animation.job import JobResult
    from mrfa.animation.settings import MotionKind
    from mrfa.data.credentials import Credentials

STRENGTH = "How much of the driver's: 0 keeps the portrait's own."
PLACE: JsonDict = {"metavar": "auto|none|X,Y,W,H"}


class Options(Section):
    """How a portrait is animated: see `animate_file`, whose arguments these become."""

    # A job's file may say `start: 12`.
    model_config = ConfigDict(coerce_numbers_to_str=True)

    crop: str = Field("auto", description="Where the face is in the source.", json_schema_extra=PLACE)
    driving_crop: str = Field("auto", description="Where the face is in the driver.", json_schema_extra=PLACE)
    face: str = Field(
        "largest",
        description="Which face of the source, where it shows several; see mrfa crop.",
        json_schema_extra={"metavar": "largest|N|X,Y"},
    )
    motion: str = Field(
        "auto",
        description="The driver's expression on the portrait's own face, or else.",
        json_schema_extra={"metavar": "auto|relative|absolute"},
    )
    start: str = Field(
        "best",
        description="The driver's frame that counts as the portrait's pose.",
        json_schema_extra={"metavar": "best|first|N|SECONDS"},
    )
    expression: float = Field(1.0, ge=0, le=2, description=STRENGTH)
    head: float = Field(1.0, ge=0, le=2, description=STRENGTH)
    eyes: float = Field(1.0, ge=0, le=2, description=STRENGTH)
    lips: float = Field(1.0, ge=0, le=2, description=STRENGTH)
    pose: str = Field(
        "relative",
        description="The head moves on from the portrait's pose, or turns as the driver's.",
        json_schema_extra={"metavar": "relative|absolute"},
    )
    keep_pose: bool = Field(False, description="Expression only; the same as --head 0.")
    adapt_scale: bool = Field(False, description="Scale the motion by the faces' sizes.")
    smooth: float = Field(0.0, ge=0, le=1, description="Steady the driver's motion: 0 leaves it as it is, 0.5 is gentle.")
    compare: bool = Field(False, description="Source, driver and result side by side.")
    paste_back: bool = Field(True, description="Write the whole portrait, not only the face's crop.")
    audio: str = Field(
        "copy", description="What becomes of the driver's sound.", json_schema_extra={"metavar": "copy|transcode|none"}
    )
    mark: bool = Field(False, description="Write 'AI-generated' into every picture.")
    certificate: Path | None = Field(None, description="Certificate (.pem) to sign with, as content credentials (C2PA).")
    key: Path | None = Field(None, description="Private key (.pem) of the certificate.")

    def check(self) -> None:
        """Check what pydantic cannot, before any file is looked at.

        Raises:
            InputError: a value means nothing, or does not go with another one.
        """
        from mrfa.animation.crop import parse_crop
        from mrfa.animation.settings import MotionSettings
        from mrfa.animation.start import parse_start
        from mrfa.data.audio import parse_audio_mode
        from mrfa.faces.choice import parse_face

        motion, pose = cast("MotionKind", self.motion), cast("PoseKind", self.pose)  # they are checked there
        MotionSettings(motion, self._strengths(), self.adapt_scale, pose).check()
        parse_crop(self.crop)
        parse_crop(self.driving_crop)
        parse_face(self.face)
        parse_start(self.start)
        parse_audio_mode(self.audio)
        self._credentials()

    def animate(
        self,
        source: Path,
        driving: Path,
        output: Path,
        animator: "Animator",
        on_progress: "Progress | None" = None,
        job: str | None = None,
    ) -> "JobResult":
        """Do it; see `animate_file`.

        Raises:
            InputError: something given cannot be used; nothing is written then.
        """
        from mrfa.animation.job import animate_file

        renamed = {"crop", "expression", "head", "eyes", "lips", "keep_pose", "certificate", "key"}
        values = self.model_dump(include=set(Options.model_fields) - renamed)
        return animate_file(
            source,
            driving,
            output,
            model=animator,
            source_crop=self.crop,
            strengths=self._strengths(),
            on_progress=on_progress,
            job=job,
            credentials=self._credentials(),
            **values,
        )

    def _strengths(self) -> "Strengths":
        from mrfa.animation.face_motion import Strengths

        return Strengths(self.expression, 0.0 if self.keep_pose else self.head, self.eyes, self.lips)

    def _credentials(self) -> "Credentials | None":
        from mrfa.data.credentials import Credentials

        if self.certificate is None and self.key is None:
            return None
        if self.certificate is None or self.key is None:
            raise InputError("to sign, give both a certificate and its key")
        return Credentials(self.certificate, self.key)
