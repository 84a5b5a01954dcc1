"""Where a file comes from: a note in its metadata that says that it is synthetic, and what made it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from mrfa import __version__
from mrfa.data.video_reader import open_input

# The one entry of metadata that mp4, mov, Matroska and WebM all keep and that players show.
NOTE = "comment"
BEGINNING = "AI-generated"
# The International Press Telecommunications Council's words for it: https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = f"{_SOURCE_TYPES}trainedAlgorithmicMedia", f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"


class Origin(NamedTuple):
    """What the note says. As text it is `AI-generated; software: mrfa 0.1.0; date: 2026-01-31; source type: http://...`.

    Attributes:
        software: with its version.
        date: of writing, UTC, as in ISO 8601.
        source_type: IPTC's digital source type.
        job: short name of all that a job was made from, where it was one of many.
    """

    software: str
    date: str
    source_type: str
    job: str | None = None

    @classmethod
    def of_animation(cls, *, whole_picture: bool, job: str | None = None) -> Self:
        """Of what this version writes now.

        Args:
            whole_picture: it shows pixels of the portrait or the driver beside generated ones.
            job: see the class.
        """
        date = datetime.now(UTC).date().isoformat()
        return cls(f"mrfa {__version__}", date, COMPOSITE if whole_picture else GENERATED, job)

    def __str__(self) -> str:
        values = self._asdict().items()
        return "; ".join([BEGINNING, *(f"{name.replace('_', ' ')}: {value}" for name, value in values if value is not None)])

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What a note says; None where it is none of ours."""
        beginning, *parts = text.split("; ")
        values = dict(part.partition(": ")[::2] for part in parts)
        values = {name.replace(" ", "_"): value for name, value in values.items()}
        if beginning != BEGINNING or not {"software", "date", "source_type"} <= set(values):
            return None
        return cls(**{name: value for name, value in values.items() if name in cls._fields})


def read_origin(path: Path) -> Origin | None:
    """What a video says of its origin; None where it has no note of ours.

    Raises:
        InputError: it is no video that can be read.
    """
    with open_input(path) as container:
        return Origin.parse(container.metadata.get(NOTE, ""))
