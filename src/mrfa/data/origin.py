"""Where a file comes from: notes in its metadata that say that it is synthetic, and what made it.

There are two of them: a line of text where players and editors show it, and IPTC's digital source type in XMP, where platforms
look for it. Signed ones are in `mrfa.data.credentials`.
"""

import re
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self
from xml.sax.saxutils import quoteattr

from PIL import Image

from mrfa import __version__
from mrfa.data.images import BROKEN, is_picture
from mrfa.data.video_reader import open_input
from mrfa.errors import InputError

# The one entry of metadata that mp4, mov, Matroska and WebM all keep and that players show.
NOTE = "comment"
BEGINNING = "AI-generated"
# The words of the International Press Telecommunications Council: https://cv.iptc.org/newscodes/digitalsourcetype/
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = f"{_SOURCE_TYPES}trainedAlgorithmicMedia", f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"

# Of the box that holds XMP in ISO base media files (XMP specification, part 3).
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 Iptc4xmpExt:DigitalSourceType={} xmp:CreatorTool={} xmp:CreateDate={}/></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


class Origin(NamedTuple):
    """What the note says. As text it is `AI-generated; software: mrfa 0.1.0; date: 2026-01-31; source type: http://...`.

    Attributes:
        software: with its version.
        date: of writing, UTC, as in ISO 8601.
        source_type: IPTC's digital source type.
        model: name of the model.
        job: short name of all that a job was made from, where it was one of many.
    """

    software: str
    date: str
    source_type: str
    model: str | None = None
    job: str | None = None

    @classmethod
    def now(cls, *, composite: bool, model: str | None = None, job: str | None = None) -> Self:
        """Of what this version writes now.

        Args:
            composite: there are pixels of a camera beside generated ones.
            model, job: see the class.
        """
        date = datetime.now(UTC).date().isoformat()
        name = None if model is None else " ".join(model.replace(";", ",").split())
        return cls(f"mrfa {__version__}", date, COMPOSITE if composite else GENERATED, name, job)

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

    @property
    def xmp(self) -> str:
        """The same for machines."""
        return _XMP.format(*map(quoteattr, (self.source_type, self.software, self.date)))

    def append_xmp(self, path: Path) -> None:
        """Put the XMP at the end of an mp4 or mov file, where it moves nothing else."""
        content = self.xmp.encode()
        with path.open("ab") as file:
            file.write(struct.pack(">I4s", 8 + len(_XMP_BOX) + len(content), b"uuid") + _XMP_BOX + content)


class Notes(NamedTuple):
    """What a file's metadata says, whoever wrote it.

    Attributes:
        origin: the note, where it is one of ours.
        source_type: IPTC's digital source type in its XMP.
    """

    origin: Origin | None
    source_type: str | None


def read_notes(path: Path) -> Notes:
    """What a picture or video says of its origin.

    Raises:
        InputError: it is neither.
    """
    note, xmp = _picture_notes(path) if is_picture(path) else _video_notes(path)
    return Notes(Origin.parse(note), find_source_type(xmp))


def read_origin(path: Path) -> Origin | None:
    """What a video says of its origin; None where it has no note of ours.

    Raises:
        InputError: it is no video that can be read.
    """
    return Origin.parse(_video_notes(path)[0])


def find_source_type(text: str) -> str | None:
    """The first of IPTC's digital source types in a text: its last part, such as `trainedAlgorithmicMedia`."""
    found = re.search(re.escape(_SOURCE_TYPES) + r"(\w{1,100})", text)
    return found[1] if found else None


def is_synthetic(source_type: str | None) -> bool:
    """Whether a digital source type says that a trained model made the pixels, or some of them."""
    return source_type is not None and source_type.lower().endswith("trainedalgorithmicmedia")


def _video_notes(path: Path) -> tuple[str, str]:
    with open_input(path, export_xmp="1") as container:
        metadata = {name.lower(): value for name, value in container.metadata.items()}  # Matroska shouts
        return metadata.get(NOTE, ""), metadata.get("xmp", "")


def _picture_notes(path: Path) -> tuple[str, str]:
    try:
        with Image.open(path) as picture:
            picture.load()
            info = picture.info
    except BROKEN as error:
        raise InputError(f"cannot read the picture {path}: {' '.join(str(error).split())}") from None
    return _text(info.get("comment") or info.get("Comment")), _text(info.get("xmp") or info.get("XML:com.adobe.xmp"))


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
