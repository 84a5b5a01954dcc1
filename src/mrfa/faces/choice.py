"""Which of several faces is meant, and a picture that shows their numbers."""

from pathlib import Path
from typing import Literal, NamedTuple, Union

import cv2
import numpy as np

from mrfa.errors import InputError
from mrfa.faces.finder import Face, FaceFinder

# Colours of the preview, RGB.
FRAME, PAPER = (20, 230, 90), (0, 0, 0)


class FaceNumber(NamedTuple):
    """The face of this number, counted from 1, the largest."""

    number: int


class FacePlace(NamedTuple):
    """The face whose box holds this place, in pixels, or else the one nearest to it."""

    x: float
    y: float


FaceChoice = Union[Literal["largest"], FaceNumber, FacePlace]  # noqa: UP007 -- a union at run time, for readers of the signature


def parse_face(text: FaceChoice | str) -> FaceChoice:
    """Read `largest`, a number from 1 on, or `x,y` in pixels.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(text, FaceNumber | FacePlace):
        return text
    text = text.strip().lower()
    if text == "largest":
        return "largest"
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1 and values[0] >= 1:
        return FaceNumber(values[0])
    if len(values) == 2:
        return FacePlace(*values)
    raise InputError(f"'{text}' is no choice of a face: give largest, a number from 1 on, or x,y in whole pixels")


def choose_face(image: np.ndarray, choice: FaceChoice, name: str | Path) -> Face:
    """The face of a uint8 RGB picture `[H, W, 3]` that is meant.

    Raises:
        InputError: there is no face, or none of that number; `name` says in which picture.
    """
    find = FaceFinder()
    if choice == "largest":
        largest = find(image)
        if largest is None:
            raise no_face(name)
        return largest
    faces = find.all(image)
    if not faces:
        raise no_face(name)
    if isinstance(choice, FaceNumber):
        if choice.number > len(faces):
            raise InputError(f"{name} shows {len(faces)} face(s), so none of number {choice.number}: see  mrfa crop {name}")
        return faces[choice.number - 1]
    return min(faces, key=lambda face: _distance(face, choice))


class NoFaceError(InputError):
    """A picture or video shows no face."""


def no_face(name: str | Path, option: str = "--crop") -> NoFaceError:
    """The error that a picture or video shows no face; the option is the one that would help."""
    return NoFaceError(f"no face found in {name}: give one that shows a face, or use {option} none or x,y,w,h")


def draw_faces(image: np.ndarray, faces: list[Face]) -> np.ndarray:
    """A copy of a uint8 RGB picture with the faces' boxes and their numbers, from 1 on."""
    preview = image.copy()
    stroke = max(2, round(max(image.shape[:2]) / 400))
    for number, face in enumerate(faces, 1):
        x0, y0, x1, y1 = (round(value) for value in face.box)
        cv2.rectangle(preview, (x0, y0), (x1, y1), FRAME, stroke)
        scale = max(0.5, (y1 - y0) / 150)
        (width, height), _ = cv2.getTextSize(str(number), cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        cv2.rectangle(preview, (x0, y0), (x0 + width + 2 * stroke, y0 + height + 4 * stroke), PAPER, cv2.FILLED)
        place = (x0 + stroke, y0 + height + 2 * stroke)
        cv2.putText(preview, str(number), place, cv2.FONT_HERSHEY_SIMPLEX, scale, FRAME, stroke, cv2.LINE_AA)
    return preview


def _distance(face: Face, place: FacePlace) -> tuple[float, float]:
    """How far a place lies outside a face's box, and from its middle."""
    x0, y0, x1, y1 = face.box
    outside = np.hypot(max(x0 - place.x, 0, place.x - x1), max(y0 - place.y, 0, place.y - y1))
    return float(outside), float(np.hypot((x0 + x1) / 2 - place.x, (y0 + y1) / 2 - place.y))
