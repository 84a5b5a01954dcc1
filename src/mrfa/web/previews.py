"""What is found in a portrait and in a driver, to be shown before it is animated."""

import secrets
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.animation.crop import PORTRAIT_MARGIN, crop_image, find_clip_face, square_around, turned_face_warnings
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.animation.template_view import write_view
from mrfa.data.images import read_image
from mrfa.errors import InputError
from mrfa.faces.choice import NoFaceError, draw_faces
from mrfa.faces.finder import FaceFinder
from mrfa.web.limits import Limits, ShortVideo

# Sides of a crop's preview, and of a whole picture's at most, in pixels.
SIDE, LONG_SIDE = 320, 1024
# Of a crowd, so many of the largest faces can be chosen from.
MOST_FACES = 12


class PortraitPreview(NamedTuple):
    """The faces of a portrait, the largest first.

    Attributes:
        crops: what of the picture each would set in motion, uint8 RGB `[SIDE, SIDE, 3]`.
        numbered: the picture with the faces' numbers, uint8 RGB `[H, W, 3]`, `LONG_SIDE` at most.
        warnings: of each face, what the user should know.
    """

    crops: list[np.ndarray]
    numbered: np.ndarray
    warnings: list[list[str]]


class DrivingPreview(NamedTuple):
    """The face that drives.

    Attributes:
        crop: a frame of it, uint8 RGB `[SIDE, SIDE, 3]`; None of a template, which has no picture.
        view: a video of a template's motion.
        warnings: what the user should know.
    """

    crop: np.ndarray | None
    view: Path | None
    warnings: list[str]


def look_at_portrait(path: Path, limits: Limits) -> PortraitPreview:
    """Find the faces of a picture.

    Raises:
        InputError: it cannot be read, is too large, or shows no face.
    """
    limits.check_picture(path)
    image = read_image(path)
    faces = FaceFinder().all(image)[:MOST_FACES]
    if not faces:
        raise InputError(f"no face was found in {path.name}: choose a picture that shows one clearly, from the front")
    height, width = image.shape[:2]
    boxes = [square_around(face.box, width, height, PORTRAIT_MARGIN) for face in faces]
    return PortraitPreview(
        crops=[crop_image(image, box, SIDE) for box in boxes],
        numbered=_reduced(draw_faces(image, faces)),
        warnings=[turned_face_warnings(path.name, face.turn) for face in faces],
    )


def _reduced(image: np.ndarray) -> np.ndarray:
    scale = LONG_SIDE / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)


def look_at_driving(path: Path, limits: Limits, folder: Path) -> DrivingPreview:
    """Find the face of a video, or draw a motion template into a folder.

    Raises:
        InputError: it cannot be read, is too large or too long, or shows no face.
    """
    if path.suffix.lower() == SUFFIX:
        return _look_at_template(path, limits, folder)
    video = ShortVideo(path, limits)
    try:
        face = find_clip_face(video)
    except NoFaceError:
        raise InputError(f"no face was found in {path.name}: choose a video that shows one clearly, from the front") from None
    return DrivingPreview(crop_image(face.image, face.crop, SIDE), None, turned_face_warnings(path.name, face.turn))


def _look_at_template(path: Path, limits: Limits, folder: Path) -> DrivingPreview:
    limits.check_file(path)
    template = MotionTemplate.load(path)
    limits.check_template(path, template)
    if template.face is None:
        return DrivingPreview(None, None, [])
    view = folder / f"{secrets.token_hex(16)}.mp4"
    write_view(template, view)
    return DrivingPreview(None, view, [])
