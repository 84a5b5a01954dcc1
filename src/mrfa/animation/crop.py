"""Square crops around faces, in pictures and, stable over the whole clip, in videos.

The rule is that of the training clips: the box of the landmarks from forehead to chin (in a video the union of the boxes of
sampled frames), made square, enlarged 1.6 times, and less where the picture ends earlier.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Union

import cv2
import numpy as np

from mrfa.animation.stages import in_thread
from mrfa.errors import InputError
from mrfa.faces.choice import FaceChoice, choose_face, no_face
from mrfa.faces.finder import FaceFinder
from mrfa.faces.landmarks import Box

if TYPE_CHECKING:
    from mrfa.data.video import PictureFolder, VideoReader

FACE_MARGIN = 1.6
# A clip's square holds all places where the face goes, so it is wider around the face of a single frame; a portrait's square
# is as wide, which also leaves the head room to move before it reaches the border.
PORTRAIT_MARGIN = 1.9

# A face this much larger, smaller or further away than the clip's median (in sides) is another face or no face.
OUTLIER_SCALE = 2.0
OUTLIER_DISTANCE = 2.0

# A face darker than this (of 255) that gets brighter by this factor from sample to sample is being faded in.
DIM = 80
FADING = 1.1

# A square this much larger than the picture's longer side is a slip of the pen, and takes memory.
LARGEST_CROP = 4

FIRST_STRIDE = 3
SAMPLES_PER_STRIDE = 32


class CropBox(NamedTuple):
    """A square in a picture, in whole pixels; it may reach beyond the border.

    Attributes:
        x, y: of its upper left corner.
        side: its width and height.
    """

    x: int
    y: int
    side: int


Crop = Union[CropBox, Literal["auto", "none"]]  # noqa: UP007 -- a union at run time, for readers of the signature


def parse_crop(text: Crop | str) -> Crop:
    """Read `auto`, `none` or `x,y,w,h` (pixels); a rectangle becomes the square around its centre that holds it.

    A box stays as it is.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(text, CropBox):
        return text
    text = text.strip().lower()
    if text == "auto":
        return "auto"
    if text == "none":
        return "none"
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"'{text}' is no crop: give auto, none or x,y,w,h in whole pixels") from None
    if width < 2 or height < 2:
        raise InputError(f"'{text}' is no crop: width and height must be at least 2 pixels")
    side = max(width, height)
    return CropBox(x + (width - side) // 2, y + (height - side) // 2, side)


def whole_picture(width: int, height: int) -> CropBox:
    """The middle square of a picture, all of it where it is square."""
    side = min(width, height)
    return CropBox((width - side) // 2, (height - side) // 2, side)


def check_inside(box: CropBox, width: int, height: int, name: str | Path, option: str = "--crop") -> CropBox:
    """The box, if it touches the picture and is at most a few times as large; `option` is what the command line calls it.

    Raises:
        InputError: it lies outside, or is larger.
    """
    if box.side > LARGEST_CROP * max(width, height):
        raise InputError(
            f"the crop {box.x},{box.y},{box.side},{box.side} is more than {LARGEST_CROP} times as large as {name} "
            f"({width}x{height}): give {option} in that picture's pixels"
        )
    if box.x >= width or box.y >= height or box.x + box.side <= 0 or box.y + box.side <= 0:
        raise InputError(
            f"the crop {box.x},{box.y},{box.side},{box.side} lies outside {name} ({width}x{height}): change {option}"
        )
    return box


class PictureCrop(NamedTuple):
    """The square of a picture, and by how many degrees its face is turned: 0, 90, 180 or 270; 0 where none was looked for."""

    box: CropBox
    turn: int


def picture_crop(image: np.ndarray, crop: Crop, name: str | Path, face: FaceChoice = "largest") -> PictureCrop:
    """The square of a picture that a crop setting means, around the face that is meant.

    Raises:
        InputError: no face in it, or the crop lies outside; `name` says which picture.
    """
    height, width = image.shape[:2]
    if crop == "auto":
        found = choose_face(image, face, name)
        return PictureCrop(square_around(found.box, width, height, PORTRAIT_MARGIN), found.turn)
    if crop == "none":
        return PictureCrop(whole_picture(width, height), 0)
    return PictureCrop(check_inside(crop, width, height, name), 0)


def turned_face_warnings(name: str | Path, turn: int) -> list[str]:
    """What to tell of a face that does not stand upright: the networks know upright faces alone."""
    return [f"the face of {name} is turned by {turn} degrees, and the result will suffer: turn it upright first"] if turn else []


def find_face_crop(
    image: np.ndarray,
    margin: float = PORTRAIT_MARGIN,
    name: str | Path = "the picture",
    face: FaceChoice = "largest",
) -> CropBox:
    """The square around a face.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        margin: side of the square over the longer side of the face's box.
        name: what the error calls the picture.
        face: which one, where there are several.

    Raises:
        InputError: no such face found.
    """
    found = choose_face(image, face, name)
    height, width = image.shape[:2]
    return square_around(found.box, width, height, margin)


class ClipFace(NamedTuple):
    """The face of a clip.

    Attributes:
        crop: one square for the whole clip.
        first: number of the first frame that shows the face well; clips may begin black, or with something else.
        image: that frame, uint8 `[H, W, 3]`.
        turn: by how many degrees the face is turned in most frames: 0, 90, 180 or 270.
    """

    crop: CropBox
    first: int
    image: np.ndarray
    turn: int


def find_clip_face(
    reader: "VideoReader | PictureFolder",
    margin: float = FACE_MARGIN,
    on_frame: Callable[[int], None] | None = None,
    option: str = "--driving-crop",
) -> ClipFace:
    """The face of a clip, with a crop around the union of the faces of sampled frames.

    Reads the clip once, frame by frame. Samples get rarer as the clip goes on, so that long clips cost little more.

    Args:
        reader: the clip.
        margin: side of the square over the longer side of the union.
        on_frame: called with the number of frames read.
        option: what the command line calls the clip's crop.

    Raises:
        InputError: no face in any sampled frame, or no frame at all.
    """
    boxes: list[Box] = []
    turns: Counter[int] = Counter()
    first: _First | None = None
    find = FaceFinder(tracking=True)
    stride, sampled, count, height, width = FIRST_STRIDE, 0, 0, 0, 0
    with in_thread(reader) as frames:
        for frame in frames:
            if count % stride == 0:
                height, width = frame.image.shape[:2]
                face = find(frame.image)
                if face is not None:
                    boxes.append(face.box)
                    turns[face.turn] += 1
                    first = _earlier(first, _First(count, frame.image, _brightness(frame.image, face.box)))
                sampled += 1
                if sampled % SAMPLES_PER_STRIDE == 0:
                    stride *= 2
            count += 1
            if on_frame is not None:
                on_frame(count)
    if count == 0:
        raise InputError(f"{reader.path} holds no frames that can be read")
    if first is None:
        raise no_face(reader.path, option)
    crop, turn = square_around(union_box(boxes), width, height, margin), turns.most_common(1)[0][0]
    return ClipFace(crop, first.number, first.image, turn)


def find_clip_crop(reader: "VideoReader | PictureFolder", margin: float = FACE_MARGIN) -> CropBox:
    """One square for the whole clip, around the face; see `find_clip_face`."""
    return find_clip_face(reader, margin).crop


def union_box(boxes: list[Box]) -> Box:
    """The box around all boxes (x0, y0, x1, y1) but those of other sizes and places than most."""
    array = np.asarray(boxes, np.float64)
    centres = (array[:, :2] + array[:, 2:]) / 2
    sides = (array[:, 2:] - array[:, :2]).max(1)
    side = float(np.median(sides))
    ratio = sides / side
    distance = np.abs(centres - np.median(centres, axis=0)).max(1)
    near = (ratio < OUTLIER_SCALE) & (ratio > 1 / OUTLIER_SCALE) & (distance < OUTLIER_DISTANCE * side)
    kept = array[near] if near.any() else array
    low, high = kept[:, :2].min(0), kept[:, 2:].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def square_around(box: Box, width: int, height: int, margin: float = FACE_MARGIN) -> CropBox:
    """The enlarged square around a box, moved and if need be shrunk to lie in a picture of width x height."""
    x0, y0, x1, y1 = box
    side = max(2, min(round(margin * max(x1 - x0, y1 - y0)), width, height))
    x = min(max(round((x0 + x1 - side) / 2), 0), width - side)
    y = min(max(round((y0 + y1 - side) / 2), 0), height - side)
    return CropBox(x, y, side)


def crop_image(image: np.ndarray, box: CropBox, size: int) -> np.ndarray:
    """The square of a picture at `size` x `size`, without aliasing; beyond the border its last pixels go on.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        box: touches the picture.
        size: of the result, in pixels.

    Returns:
        uint8 RGB `[size, size, 3]`, contiguous.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = max(box.x, 0), max(box.y, 0), min(box.x + box.side, width), min(box.y + box.side, height)
    part = image[y0:y1, x0:x1]
    if part.shape[:2] != (box.side, box.side):
        borders = (y0 - box.y, box.y + box.side - y1, x0 - box.x, box.x + box.side - x1)
        part = cv2.copyMakeBorder(part, *borders, cv2.BORDER_REPLICATE)
    if box.side == size:
        return np.ascontiguousarray(part)
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if box.side > size else cv2.INTER_CUBIC)


class _First(NamedTuple):
    """A candidate for the first frame that shows the face well."""

    number: int
    image: np.ndarray
    brightness: float
    settled: bool = False


def _earlier(kept: _First | None, new: _First) -> _First:
    """The candidate kept, or the new one where the clip is still being faded in."""
    if kept is None:
        return new
    if kept.settled:
        return kept
    fading = kept.brightness < DIM and new.brightness > FADING * kept.brightness
    return new if fading else kept._replace(settled=True)


def _brightness(image: np.ndarray, box: Box) -> float:
    """Mean value, 0 to 255, in a box."""
    x0, y0, x1, y1 = (max(0, round(value)) for value in box)
    part = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    return float(part.mean()) if part.size else 0.0
