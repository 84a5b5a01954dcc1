"""The settings of an evaluation: command line, tables and studies hand on this one object."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from mrfa.network.config import Section


class Settings(Section):
    """What is measured, and how."""

    cross_identity: bool = Field(False, description="Drive portraits by other people, instead of each clip by itself.")
    motion: Literal["auto", "relative", "absolute"] = Field("auto", description="Cross-identity: as of mrfa animate.")
    start: Literal["best", "first"] = Field("best", description="Cross-identity: the frame that counts as the portrait's pose.")
    pairs: int = Field(50, ge=1, description="Cross-identity pairs to draw.")
    seed: int = Field(0, ge=0, description="Of the pairs.")
    clips: int = Field(0, ge=0, description="Evenly spaced clips of the folder; 0 for all.")
    frames_per_clip: int = Field(6, ge=0, description="Evenly spaced frames a clip; 0 for all.")
    variant: Literal["standard", "paper"] = Field("standard", description="paper: as the published figures were computed.")
    metrics: tuple[str, ...] | None = Field(None, description="Names between commas; all that can be had by default.")
    weights: Path | None = Field(None, description="Folder of the metrics' weights.")
    baselines: bool = Field(True, description="Also measure the repeated source frame, and a warp by landmarks.")

    @field_validator("metrics", mode="before")
    @classmethod
    def _names_between_commas(cls, value: object) -> object:
        return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else value

    @property
    def protocol(self) -> Literal["reconstruction", "cross-identity"]:
        """Of the paper's two (section 4)."""
        return "cross-identity" if self.cross_identity else "reconstruction"


class TableSettings(Settings):
    """For the paper's tables, which say the protocol themselves: as the published figures were computed."""

    motion: Literal["auto", "relative", "absolute"] = Field("relative", description="Cross-identity: as of mrfa animate.")
    start: Literal["best", "first"] = Field("first", description="Cross-identity: the frame that counts as the portrait's pose.")
    frames_per_clip: int = Field(0, ge=0, description="Evenly spaced frames a clip; 0 for all.")
    variant: Literal["standard", "paper"] = Field("paper", description="paper: as the published figures were computed.")
    baselines: bool = Field(False, description="Also measure the repeated source frame, and a warp by landmarks.")
