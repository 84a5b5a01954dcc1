"""What became of every clip of a data set: `manifest.jsonl`, a line a clip, from which an interrupted preparation goes on."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, Self

from mrfa.data.files import replacing
from mrfa.datasets.cuts import Cut, Rectangle, Rules
from mrfa.errors import InputError

NAME = "manifest.jsonl"


class Row(NamedTuple):
    """A clip that was made, or that was not.

    Attributes:
        clip: path of its file below the data set's folder, without ending, or what the metadata call what is no clip.
        problem: why it was not made; empty where it was.
        video, identity, split: as its `Cut` has them.
        begin, end: seconds of the source video.
        box: pixels of the source video that were cut out.
        frames: their number.
        key: of all that decides its content; one that was made by another key is made again.
    """

    clip: str
    problem: str = ""
    video: str = ""
    identity: str = ""
    split: str = ""
    begin: float = 0.0
    end: float = 0.0
    box: Rectangle | None = None
    frames: int = 0
    key: str = ""

    @classmethod
    def of_problem(cls, clip: str, problem: str) -> Self:
        """Of metadata that name no clip, or none that could be read."""
        return cls(clip, problem)

    @classmethod
    def of_cut(cls, cut: Cut, rules: Rules, *, problem: str = "", box: Rectangle | None = None, frames: int = 0) -> Self:
        """Of a cut that was made, or could not be."""
        span = round(float(cut.begin), 3), round(float(cut.end), 3)
        return cls(clip_name(cut), problem, cut.video, cut.identity, cut.split, *span, box, frames, cut_key(cut, rules))


def clip_name(cut: Cut) -> str:
    """Path of a clip's file below the data set's folder, without ending."""
    return f"{cut.split}/{cut.identity}/{cut.name}"


def cut_key(cut: Cut, rules: Rules) -> str:
    """A short name of all that decides what a clip holds."""
    return hashlib.sha256(repr((cut, rules)).encode()).hexdigest()[:16]


def read_manifest(folder: Path) -> dict[str, Row]:
    """The rows of a data set's manifest by clip, later ones in place of earlier ones; none where there is no manifest.

    A last line that was cut short, by a run that was killed, is left out.

    Raises:
        InputError: the file is no manifest.
    """
    path = folder / NAME
    rows: dict[str, Row] = {}
    if not path.exists():
        return rows
    lines = path.read_text(errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            if number == len(lines):
                break
            raise InputError(f"{path} is no manifest: line {number} cannot be read; delete it, or give another folder") from None
        rows[row.clip] = row
    return rows


def append_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Add rows at the end, so that a run that is killed later has them."""
    with (folder / NAME).open("a") as file:
        file.write("".join(_line(row) for row in rows))


def write_manifest(folder: Path, rows: Iterable[Row]) -> None:
    """Write all rows, sorted by clip, in place of the manifest."""
    with replacing(folder / NAME) as temporary:
        temporary.write_text("".join(_line(row) for row in sorted(rows)))


def _line(row: Row) -> str:
    values = {key: value for key, value in row._asdict().items() if value not in ("", None)}
    return json.dumps(values) + "\n"


def _row(values: Any) -> Row:
    row = Row(**values)
    if not all(isinstance(value, str) for value in (row.clip, row.problem, row.key)) or not isinstance(row.frames, int):
        raise TypeError
    return row._replace(box=None if row.box is None else Rectangle(*row.box))
