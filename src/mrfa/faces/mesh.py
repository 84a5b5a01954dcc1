"""478 landmarks of a face in space: the face mesh with attention.

Kartynnik et al., "Real-time Facial Surface Geometry from Monocular Video on Mobile GPUs" (2019), for the mesh of 468 points, and
Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in Real-time" (2020), for its second look at lips, eyes
and irises: their regions, found by the mesh, are cut out of the trunk's features, upright, and each goes through a small network.
"""

import math
import threading
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.faces.detector import LEFT_EYE, RIGHT_EYE, Detection
from mrfa.faces.networks import cut, load_network, operator_options, read_model
from mrfa.faces.regions import Region

POINTS, IRIS_POINTS = 468, 5
SIZE = 192  # of the network's input
FEATURES = 48  # side of the features that are looked at again
GLANCE = 16  # side of a region's features
GLANCE_RANGE = 64  # of the points that a head predicts
GLANCE_MARGIN = 1.5  # of a region, over the box of its landmarks

# Side of the square to look at over that of the face's box, and the outer corners of the eyes, which become level.
MARGIN = 1.5
RIGHT_CORNER, LEFT_CORNER = 33, 263

# Probability from which a region shows a face.
PRESENT = 0.5

# Numbers of tensors in the file.
_INPUT, _FEATURE_MAP, _MESH, _PRESENCE = 0, 35, 186, 710
_FEATURE_LAYER = "p_re_lu_3"
_SUBSET_KEY = b"subset_idxs\0"


class Mesh(NamedTuple):
    """Landmarks of a face.

    Attributes:
        points: float32 `[478, 3]`, or `[468, 3]` without irises, in pixels (x right, y down, z away); depth has about the scale
            of x and is zero near the head's middle.
        presence: probability that the region shows a face.
    """

    points: np.ndarray
    presence: float


class _Part(NamedTuple):
    """Where a part of the face is looked at again: tensors of its region's matrix, features and results, and what is level."""

    matrix: int
    features: int
    outputs: tuple[int, ...]
    level: tuple[int, int]


_PARTS = (
    _Part(196, 199, (684,), (61, 291)),  # lips, level by their corners
    _Part(197, 200, (687, 690), (33, 133)),  # right eye and iris
    _Part(198, 201, (693, 696), (362, 263)),  # left eye and iris
)


class _Head:
    """The small network of a part."""

    def __init__(self, model: bytes, part: _Part) -> None:
        self.net = load_network(cut(model, (part.features,), part.outputs), len(part.outputs))
        self.layers = list(self.net.getUnconnectedOutLayersNames())
        self.level = part.level
        self.indices = _subset(operator_options(model, part.matrix))
        self.has_iris = len(part.outputs) > 1


class FaceMesh:
    """Finds the landmarks of the face in a region. Threads may share it.

    Args:
        parts: look again at lips, eyes and irises; otherwise the mesh alone is found, in two thirds of the time.
    """

    def __init__(self, parts: bool = True) -> None:
        model = read_model("face_landmark_with_attention")
        self._trunk = load_network(cut(model, (_INPUT,), (_MESH, _FEATURE_MAP, _PRESENCE)), outputs=2)
        self._layers = [*sorted(self._trunk.getUnconnectedOutLayersNames()), _FEATURE_LAYER]
        self._heads = [_Head(model, part) for part in _PARTS] if parts else []
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, region: Region) -> Mesh:
        """Landmarks in a region of a uint8 RGB picture `[H, W, 3]`, whether a face is there or not: see `presence`."""
        blob = cv2.dnn.blobFromImage(region.cut_out(image, SIZE, cv2.BORDER_REPLICATE), 1 / 255)
        with self._lock:
            self._trunk.setInput(blob)
            presence, mesh, features = self._trunk.forward(self._layers)
            points = mesh.reshape(POINTS, 3)
            if self._heads:
                points = np.concatenate([points, np.zeros((2 * IRIS_POINTS, 3), np.float32)])
                self._refine(points, features[0])
        placed = np.empty_like(points)
        placed[:, :2] = region.to_picture(points[:, :2] / SIZE)
        placed[:, 2] = points[:, 2] * (region.side / SIZE)
        return Mesh(placed, 1 / (1 + math.exp(-float(presence.reshape(())))))

    def _refine(self, points: np.ndarray, features: np.ndarray) -> None:
        """Put the second look's points in the place of the mesh's, and add the irises. Points are in pixels of the input."""
        iris = POINTS
        scale = SIZE / FEATURES
        rough = points[:, :2] / scale
        for head in self._heads:
            part = _glance(rough, head)
            head.net.setInput(_sampled(features, part)[None])
            results = head.net.forward(head.layers)
            outline = results[0].reshape(-1, 2)
            points[head.indices, :2] = part.to_cells(outline / GLANCE_RANGE) * scale
            if head.has_iris:
                here = slice(iris, iris + IRIS_POINTS)
                points[here, :2] = part.to_cells(results[1].reshape(-1, 2) / GLANCE_RANGE) * scale
                points[here, 2] = points[head.indices[:16], 2].mean()
                iris += IRIS_POINTS


def region_of_detection(face: Detection) -> Region:
    """The square in which the mesh expects a detected face: enlarged, eyes level."""
    x0, y0, x1, y1 = (float(value) for value in face.box)
    return Region(
        (x0 + x1) / 2, (y0 + y1) / 2, MARGIN * max(x1 - x0, y1 - y0), _angle(face.points[RIGHT_EYE], face.points[LEFT_EYE])
    )


def region_of_mesh(points: np.ndarray) -> Region:
    """The square in which the mesh expects a face whose landmarks `[478, 2 or 3]` were found a frame before."""
    low, high = points[:POINTS, :2].min(0), points[:POINTS, :2].max(0)
    x, y = (low + high) / 2
    return Region(float(x), float(y), MARGIN * float((high - low).max()), _angle(points[RIGHT_CORNER], points[LEFT_CORNER]))


def _angle(start: np.ndarray, end: np.ndarray) -> float:
    return math.atan2(float(end[1] - start[1]), float(end[0] - start[0]))


class _Glance(NamedTuple):
    """A rotated rectangle of the features: its middle `[2]` and the matrix `[2, 2]` from fractions of it to cells."""

    centre: np.ndarray
    axes: np.ndarray

    def to_cells(self, fractions: np.ndarray) -> np.ndarray:
        return (fractions - 0.5) @ self.axes.T + self.centre


def _glance(points: np.ndarray, head: _Head) -> _Glance:
    """The rectangle around a part's points, upright in the frame in which the part is level, and enlarged."""
    angle = _angle(points[head.level[0]], points[head.level[1]])
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], np.float32)
    upright = points[head.indices] @ rotation
    low, high = upright.min(0), upright.max(0)
    return _Glance(rotation @ ((low + high) / 2), rotation * (GLANCE_MARGIN * (high - low)))


def _sampled(features: np.ndarray, glance: _Glance) -> np.ndarray:
    """Features `[C, h, w]` in a rectangle: `[C, 16, 16]`, bilinear, zero where a place lies outside."""
    _, height, width = features.shape
    steps = (np.arange(GLANCE, dtype=np.float32) + 0.5) / GLANCE
    places = glance.to_cells(np.stack(np.meshgrid(steps, steps), -1)) - 0.5
    x, y = places[..., 0], places[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    left, top = np.clip(np.floor(x).astype(int), 0, width - 2), np.clip(np.floor(y).astype(int), 0, height - 2)
    right, low = np.where(inside, x - left, 0), np.where(inside, y - top, 0)
    upper = features[:, top, left] * (1 - right) + features[:, top, left + 1] * right
    lower = features[:, top + 1, left] * (1 - right) + features[:, top + 1, left + 1] * right
    return ((upper * (1 - low) + lower * low) * inside).astype(np.float32)


def _subset(options: bytes) -> list[int]:
    """A part's landmarks, in its operator's options: after the key, a vector of 16-bit numbers that begins with its length."""
    start = options.index(_SUBSET_KEY) + len(_SUBSET_KEY)
    count = int.from_bytes(options[start : start + 2], "little")
    return np.frombuffer(options, "<u2", count, start + 2).tolist()
