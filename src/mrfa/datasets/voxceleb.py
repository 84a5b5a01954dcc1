"""VoxCeleb1 (Nagrani et al. 2017): cuts from its metadata.

Either from the text files of the data set, a file an utterance (`idXXXXX/VIDEO/XXXXX.txt`), with a box for each frame at 25
frames a second, in pixels of a picture that is 360 high. They are cut as the preprocessing of the First Order Motion Model does,
on whose data the field trains: followed while they overlap with the first box, their union enlarged and made square. It looks for
the faces anew, which this does not.

Or from the list of that preprocessing, `vox-metadata.csv`: a line for each of its clips, with frames, box, split and person. The
paper's clips are of that kind, 19,522 for training and 525 for the test. Its boxes are not square, and each is resized to a
square as it is, as the list's own script does.
"""

import csv
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from mrfa.data.files import check_readable, is_folder
from mrfa.datasets.cuts import LARGEST_PICTURE, LONGEST_VIDEO, Cut, Rules, Split, check_box, check_name, check_number, follow
from mrfa.datasets.manifest import Row
from mrfa.errors import InputError
from mrfa.faces.landmarks import Box

RATE = 25
HEIGHT = 360
# The 40 people of the official test set. In the first release people had names, and these are those that start with an E.
TEST_PEOPLE = {f"id{number}" for number in range(10270, 10310)}
LARGEST_FILE = 2**23
LARGEST_LIST = 2**28
COLUMNS = {"video_id", "start", "end", "bbox", "fps", "width", "height"}


def read_voxceleb(metadata: Path, rules: Rules) -> tuple[list[Cut], list[Row]]:
    """The cuts of the folder of text files, or of the field's list; and a row for each part of them that is unusable.

    Raises:
        InputError: neither is there.
    """
    if not is_folder(metadata):
        return _read_list(metadata)
    files = sorted(metadata.glob("*/*/*.txt"))
    if not files:
        raise InputError(f"no metadata of VoxCeleb1 in {metadata}: it holds no idXXXXX/VIDEO/XXXXX.txt")
    cuts: list[Cut] = []
    problems: list[Row] = []
    for file in files:
        try:
            cuts += _read_utterance(file, rules)
        except InputError as error:
            problems.append(Row.of_problem(str(file.relative_to(metadata)), str(error)))
    return cuts, problems


def _read_utterance(file: Path, rules: Rules) -> list[Cut]:
    if file.stat().st_size > LARGEST_FILE:
        raise InputError(f"larger than any utterance's file ({LARGEST_FILE} bytes)")
    head, _, table = file.read_text(errors="replace").partition("FRAME")
    fields = dict(line.split(":", 1) for line in head.splitlines() if ":" in line)
    reference = {key.strip(): value.strip() for key, value in fields.items()}.get("Reference", file.parent.name)
    video, identity = check_name(reference, "video"), check_name(file.parent.parent.name, "person")
    rows = [line.split() for line in table.splitlines()[1:] if line.strip()]
    if not rows:
        raise InputError("no frames in it")
    numbers, boxes = zip(*(_read_frame(row) for row in rows), strict=True)
    cuts = []
    for start, stop in _runs(numbers):
        for first, last, box in follow(boxes[start:stop], rules):
            begin, end = numbers[start + first], numbers[start + last - 1] + 1
            name = f"{video}_{begin:06}_{end:06}"
            span = Fraction(begin, RATE), Fraction(end, RATE)
            cuts.append(Cut(name, identity, _split(identity), video, *span, box, (None, HEIGHT), "enlarged"))
    return cuts


def _read_frame(row: list[str]) -> tuple[int, Box]:
    if len(row) != 5:
        raise InputError(f"a line of {len(row)} values, where FRAME, X, Y, W and H are expected")
    number = check_number(row[0], "a frame's number", 0, LONGEST_VIDEO * RATE)
    x, y, width, height = (check_number(value, "a box in pixels", -LARGEST_PICTURE, LARGEST_PICTURE) for value in row[1:])
    if 0 < width < 2 and 0 < height < 2:
        raise InputError("its boxes are shares of the picture, as VoxCeleb2's are")
    return int(number), check_box((x, y, x + width, y + height), "a frame's box")


def _runs(numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """Where frames follow one another without a gap: indices of the first, and one after the last."""
    breaks = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    return list(pairwise(breaks))


def _split(identity: str) -> Split:
    return "test" if identity in TEST_PEOPLE or identity.startswith("E") else "train"


def _read_list(metadata: Path) -> tuple[list[Cut], list[Row]]:
    check_readable(metadata, "list of VoxCeleb1's clips, or folder of its text files")
    if metadata.stat().st_size > LARGEST_LIST:
        raise InputError(f"{metadata} is no list of VoxCeleb1's clips: it is larger than {LARGEST_LIST} bytes")
    cuts: list[Cut] = []
    problems: list[Row] = []
    with metadata.open(newline="", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = COLUMNS - set(reader.fieldnames or ())
        if missing:
            raise InputError(f"{metadata} is no list of VoxCeleb1's clips: it has no column {', '.join(sorted(missing))}")
        try:
            for number, line in enumerate(reader, 2):
                try:
                    cuts.append(_read_line(line))
                except InputError as error:
                    problems.append(Row.of_problem(f"{metadata.name} line {number}", str(error)))
        except csv.Error as error:
            raise InputError(f"{metadata} is no list of VoxCeleb1's clips: {error}") from None
    return cuts, problems


def _read_line(line: dict[str, str]) -> Cut:
    video, _, person = (line["video_id"] or "").partition("#")
    identity = check_name(person or line.get("person_id"), "person")
    check_name(video, "video")
    rate = Fraction(check_number(line["fps"], "fps", 1, 1000)).limit_denominator(1001)
    begin, end = (int(check_number(line[key], key, 0, LONGEST_VIDEO * float(rate))) for key in ("start", "end"))
    if end <= begin:
        raise InputError("it ends before it begins")
    values = (line["bbox"] or "").split("-")
    if len(values) != 4:
        raise InputError(f"'{line['bbox']}' is no box x0-y0-x1-y1")
    box = check_box([check_number(value, "a box in pixels", 0, LARGEST_PICTURE) for value in values], "its box")
    width, height = (check_number(line[key], key, 1, LARGEST_PICTURE) for key in ("width", "height"))
    split = line.get("partition") or _split(identity)
    if split not in ("train", "test"):
        raise InputError(f"'{split}' is neither train nor test")
    name = f"{video}_{begin:06}_{end:06}"
    span = begin / rate, end / rate
    return Cut(name, identity, "test" if split == "test" else "train", video, *span, box, (width, height), "as-is")
