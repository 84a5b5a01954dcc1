"""The search for faces: near and far, in pictures of any shape and size, and turned.

Each step costs more than the one before, and is taken only when those found nothing: the whole picture by the detector for near
faces; by the one for far faces; turned by 90, 180 and 270 degrees; and squares that cover it, smaller and smaller. A face counts
when the mesh, too, sees one there.
"""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from mrfa.faces.detector import FULL_RANGE, SHORT_RANGE, Detection, FaceDetector
from mrfa.faces.landmarks import Box, face_box
from mrfa.faces.mesh import PRESENT, FaceMesh, region_of_detection, region_of_mesh
from mrfa.faces.regions import Region, tiles, whole

# A face whose detection scores less is looked for turned as well: detectors see faces, though less surely, in faces upside down.
SURE = 0.85
LIKELY = 0.6  # the least score of an unsure face seen from near by
AROUND = 2.5  # side of the square in which it is looked for, over the face's

# Squares of a search are at least this large, as the detector sees no more in smaller ones.
SMALLEST_TILE = 256
TILES_ACROSS = (2, 4, 8)
ELONGATED = 1.5

TURNS = (math.pi / 2, math.pi, -math.pi / 2)


class Face(NamedTuple):
    """A face found.

    Attributes:
        landmarks: float32 `[468, 3]` in pixels, see `mrfa.faces.mesh.Mesh`.
        score: the detector's, in [0, 1].
    """

    landmarks: np.ndarray
    score: float

    @property
    def box(self) -> Box:
        """(x0, y0, x1, y1) in pixels around all landmarks, forehead to chin."""
        return face_box(self.landmarks)

    @property
    def turn(self) -> int:
        """Degrees by which the face is turned clockwise, rounded to 0, 90, 180 or 270."""
        return round(region_of_mesh(self.landmarks).angle / (math.pi / 2)) % 4 * 90


class FaceFinder:
    """Finds faces. Threads may share it, unless it tracks.

    Args:
        tracking: pictures are the frames of one video, in turn; a face once found is followed.
        closely: no frame is left out, so that a face lies about where its landmarks were a frame before: they alone are followed
            (as by Kartynnik et al., 2019), and faces are detected only when it is lost, in half the time. Otherwise it is
            detected in every frame. The boxes of both differ by 2 % of a face's side on average.
    """

    def __init__(self, tracking: bool = False, closely: bool = False) -> None:
        self._tracking, self._closely = tracking, closely
        self._last: Face | None = None
        self._failures = 0

    def __call__(self, image: np.ndarray) -> Face | None:
        """The largest face in a uint8 RGB picture `[H, W, 3]`, or when tracking the one followed; None without a face."""
        face = None if self._last is None else self._followed(image, self._last)
        if face is None:
            # In a video without faces each costly search is worth less than the one before.
            thorough = not self._tracking or self._failures & (self._failures - 1) == 0
            faces = self._search(image, thorough)
            self._failures = 0 if faces else self._failures + 1
            face = faces[0] if faces else None
        if self._tracking:
            self._last = face
        return face

    def _followed(self, image: np.ndarray, last: Face) -> Face | None:
        """The face in the next frame: the one detected where it was, or else as its landmarks let expect."""
        x0, y0, x1, y1 = last.box
        for face in () if self._closely else self._faces(image, _near(), [whole(image)]):
            x, y = _middle(face)
            if x0 < x < x1 and y0 < y < y1 and face.turn == last.turn:
                return face
        return self._look(image, region_of_mesh(last.landmarks), last.score)

    def all(self, image: np.ndarray) -> list[Face]:
        """All faces of a uint8 RGB picture `[H, W, 3]`, the largest first; small ones beside larger ones too."""
        near = self._faces(image, _near(), [whole(image)])
        far = self._faces(image, _far(), [whole(image), *tiles(image, max(image.shape[:2]) // 2)])
        return _different(near + far) or self._search(image, thorough=True)

    def _search(self, image: np.ndarray, thorough: bool) -> list[Face]:
        """Faces of the first step that finds any, the largest first."""
        for detector, regions in self._steps(image, thorough):
            settled = (self._settled(image, face, detector) for face in self._faces(image, detector, regions))
            faces = _different([face for face in settled if face is not None])
            if faces:
                return faces
        return []

    def _steps(self, image: np.ndarray, thorough: bool) -> Iterator[tuple[FaceDetector, list[Region]]]:
        yield _near(), [whole(image)]
        yield _far(), [whole(image)]
        yield _near(), [whole(image, turn) for turn in TURNS]
        if not thorough:
            return
        short, long = sorted(image.shape[:2])
        sides = [short] if long > ELONGATED * short else []
        sides += [side for side in (long // across for across in TILES_ACROSS) if SMALLEST_TILE <= side < 0.9 * short]
        for side in sides:
            yield _far(), list(tiles(image, side))
        yield _far(), [whole(image, turn) for turn in TURNS]
        if sides and sides[0] == short:
            yield _far(), [region for turn in TURNS for region in tiles(image, short, turn)]

    def _settled(self, image: np.ndarray, face: Face, detector: FaceDetector) -> Face | None:
        """A face of which the detector is sure, also from near by; the one found there when turned, if it is surer of that."""
        if face.score >= SURE:
            return face
        around = Region(*_middle(face), AROUND * _side(face))
        regions = [around._replace(angle=turn) for turn in (0.0, *TURNS)]
        best = max(self._faces(image, _near(), regions), key=lambda found: found.score, default=None)
        if best is None or best.score < LIKELY:
            return None
        return face if face.turn == best.turn and detector.kind is SHORT_RANGE else best

    def _faces(self, image: np.ndarray, detector: FaceDetector, regions: list[Region]) -> list[Face]:
        found = (self._confirmed(image, face, detector) for region in regions for face in detector(image, region))
        return [face for face in found if face is not None]

    def _confirmed(self, image: np.ndarray, detection: Detection, detector: FaceDetector) -> Face | None:
        """The detected face if the mesh finds one there, which looks twice where the box is not of the detector it expects."""
        face = self._look(image, region_of_detection(detection), detection.score)
        if face is None or detector.kind is SHORT_RANGE:
            return face
        return self._look(image, region_of_mesh(face.landmarks), detection.score)

    def _look(self, image: np.ndarray, region: Region, score: float) -> Face | None:
        mesh = _mesh()(image, region)
        return Face(mesh.points, score) if mesh.presence >= PRESENT else None


@cache
def _near() -> FaceDetector:
    """Of near faces. The networks are loaded when they are first needed, and are the same for all finders."""
    return FaceDetector(SHORT_RANGE)


@cache
def _far() -> FaceDetector:
    """Of far faces."""
    return FaceDetector(FULL_RANGE)


@cache
def _mesh() -> FaceMesh:
    """The mesh without its second look at lips and eyes: boxes and turns do not depend on it."""
    return FaceMesh(parts=False)


def _different(faces: list[Face]) -> list[Face]:
    """The faces, the largest first, without those whose middle lies in a larger one."""
    kept: list[Face] = []
    for face in sorted(faces, key=_side, reverse=True):
        x, y = _middle(face)
        if not any(other.box[0] < x < other.box[2] and other.box[1] < y < other.box[3] for other in kept):
            kept.append(face)
    return kept


def _middle(face: Face) -> tuple[float, float]:
    x0, y0, x1, y1 = face.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _side(face: Face) -> float:
    x0, y0, x1, y1 = face.box
    return max(x1 - x0, y1 - y0)
