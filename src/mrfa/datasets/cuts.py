"""What is to be cut out of which video: a span of time and a box, as metadata say it, and the pixels that this means."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from mrfa.errors import InputError
from mrfa.faces.landmarks import Box

Split = Literal["train", "test"]

# What metadata may say at most. Two days of video, and pictures larger than any camera's.
LONGEST_VIDEO = 2 * 24 * 3600
LARGEST_PICTURE = 2**15
LONGEST_NAME = 80


class Cut(NamedTuple):
    """A clip that is to be made.

    Attributes:
        name: of its file, without ending; unique among those of its identity.
        identity: whom it shows.
        split: which part of the data set it belongs to.
        video: name of the source video's file, without ending.
        begin, end: seconds of the source video; a frame shown at `end` is left out.
        box: (x0, y0, x1, y1) of the face over the whole span, in units of `reference`.
        reference: width and height of the picture that `box` was measured in; no width where its pixels were square.
        shape: what is cut out around the box: the `enlarged` box made square, which must lie in the picture; the box `as-is`,
            whatever its aspect; the largest square `within` it; or the enlarged square `moved` into the picture.
    """

    name: str
    identity: str
    split: Split
    video: str
    begin: Fraction
    end: Fraction
    box: Box
    reference: tuple[float | None, float]
    shape: Literal["enlarged", "as-is", "within", "moved"]


class Rules(NamedTuple):
    """What makes a clip usable, and how it is written.

    Attributes:
        size: side of the clips' pictures in pixels.
        smallest: the longer side that a box must have in the source video, in pixels.
        fewest, most: frames of a clip; longer spans become several clips, where the metadata follow the face.
        enlarge: share of a box's width and height that is added on each side.
        overlap: intersection over union with its first box below which a face that is followed has gone elsewhere.
    """

    size: int = 256
    smallest: int = 256
    fewest: int = 64
    most: int = 1024
    enlarge: float = 0.1
    overlap: float = 0.25


class Rectangle(NamedTuple):
    """Whole pixels of a picture."""

    left: int
    top: int
    right: int
    bottom: int


def rectangle(cut: Cut, width: int, height: int, rules: Rules) -> Rectangle:
    """The pixels of a video of this size that a cut means.

    Raises:
        InputError: the face is too small there, or the square leaves the picture.
    """
    reference_width, reference_height = cut.reference
    vertical = height / reference_height
    horizontal = vertical if reference_width is None else width / reference_width
    x0, y0, x1, y1 = cut.box[0] * horizontal, cut.box[1] * vertical, cut.box[2] * horizontal, cut.box[3] * vertical
    # Boxes that are taken as they are come from lists that were sifted already.
    if max(x1 - x0, y1 - y0) < rules.smallest and cut.shape != "as-is":
        raise InputError(f"the face's box is {x1 - x0:.0f}x{y1 - y0:.0f} pixels, smaller than {rules.smallest}")
    if cut.shape == "as-is":
        placed = Rectangle(max(0, int(x0)), max(0, int(y0)), min(int(x1), width), min(int(y1), height))
    elif cut.shape == "within":
        placed = _square((x0, y0, x1, y1), int(min(x1 - x0, y1 - y0)))
    else:
        side = round((1 + 2 * rules.enlarge) * max(x1 - x0, y1 - y0))
        placed = _square((x0, y0, x1, y1), side if cut.shape == "enlarged" else min(side, width, height))
        if cut.shape == "moved":
            placed = _inside(placed, width, height)
    if placed.left < 0 or placed.top < 0 or placed.right > width or placed.bottom > height:
        raise InputError(f"the square around the face leaves the picture of {width}x{height}")
    if placed.right - placed.left < 2 or placed.bottom - placed.top < 2:
        raise InputError(f"the face's box lies outside the picture of {width}x{height}")
    return placed


def follow(boxes: Sequence[Box], rules: Rules) -> list[tuple[int, int, Box]]:
    """Spans of a face that is followed in which it stays where it is.

    Args:
        boxes: (x0, y0, x1, y1) of each frame.
        rules: a span ends where the overlap with its first box gets too small, or it has the most frames.

    Returns:
        First frame, the one after the last, and the union of the boxes.
    """
    spans, start = [], 0
    for index in range(1, len(boxes) + 1):
        ended = index == len(boxes) or index - start >= rules.most or overlap(boxes[start], boxes[index]) < rules.overlap
        if ended:
            spans.append((start, index, union(boxes[start:index])))
            start = index
    return spans


def union(boxes: Sequence[Box]) -> Box:
    """The box around all boxes."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / max(areas - shared, 1e-9)


def check_name(text: object, kind: str) -> str:
    """A name from metadata that becomes one of a file or folder.

    Raises:
        InputError: it is none.
    """
    name = str(text)
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or name[0] == "." or any(mark in name for mark in "/\\:"):
        raise InputError(f"'{name[:LONGEST_NAME]}' is no name of a {kind}")
    return name


def check_number(text: object, kind: str, least: float, most: float) -> float:
    """A number from metadata.

    Raises:
        InputError: it is none, or lies outside its bounds.
    """
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"'{str(text)[:LONGEST_NAME]}' is no number: {kind}") from None
    if not least <= number <= most:
        raise InputError(f"{kind} is {number:g}, not between {least:g} and {most:g}")
    return number


def check_box(values: Sequence[float], kind: str) -> Box:
    """A box (x0, y0, x1, y1) that has an area.

    Raises:
        InputError: it has none.
    """
    x0, y0, x1, y1 = values
    if x1 <= x0 or y1 <= y0:
        raise InputError(f"{kind} is empty")
    return x0, y0, x1, y1


def _square(box: Box, side: int) -> Rectangle:
    """Around the middle of a box."""
    left, top = round((box[0] + box[2] - side) / 2), round((box[1] + box[3] - side) / 2)
    return Rectangle(left, top, left + side, top + side)


def _inside(square: Rectangle, width: int, height: int) -> Rectangle:
    side = square.right - square.left
    left, top = min(max(square.left, 0), width - side), min(max(square.top, 0), height - side)
    return Rectangle(left, top, left + side, top + side)
