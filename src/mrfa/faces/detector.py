"""Faces in a picture as boxes with eyes, nose, mouth and ears: BlazeFace.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" (2019), and its model cards: the picture lies
in a square, values are in [-1, 1], each anchor predicts a score and, relative to its centre, a box and six points. Boxes that
overlap are blended by their scores rather than suppressed (section 4.4).
"""

import threading
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.faces.networks import load_network, read_model
from mrfa.faces.regions import Region

# Of the six points.
RIGHT_EYE, LEFT_EYE = 0, 1

# Boxes that share more than this of their union are one face.
OVERLAP = 0.3


class Detection(NamedTuple):
    """A face found.

    Attributes:
        box: (x0, y0, x1, y1) in pixels, brows to chin.
        points: `[6, 2]`, in pixels: the person's right and left eye, nose, mouth, right and left ear.
        score: in [0, 1].
    """

    box: np.ndarray
    points: np.ndarray
    score: float


class _Kind(NamedTuple):
    """A published detector: its file, input size, and the anchors of each of its grids."""

    file: str
    size: int
    grids: tuple[tuple[int, int], ...]
    threshold: float


# For faces within arm's length, which fill much of the picture, and for those some metres away.
SHORT_RANGE = _Kind("face_detection_short_range", 128, ((16, 2), (8, 6)), 0.5)
FULL_RANGE = _Kind("face_detection_full_range", 192, ((48, 1),), 0.6)


class FaceDetector:
    """Finds all faces of a picture, or of a square of it. Threads may share it.

    Attributes:
        kind: `SHORT_RANGE` or `FULL_RANGE`.
    """

    def __init__(self, kind: _Kind = SHORT_RANGE) -> None:
        self.kind = kind
        self._net = load_network(read_model(kind.file), outputs=2)
        # The scores' layer comes first by name in both files.
        self._layers = sorted(self._net.getUnconnectedOutLayersNames())
        self._anchors = np.concatenate([_anchors(cells, count) for cells, count in kind.grids])
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, region: Region | None = None) -> list[Detection]:
        """Faces in a uint8 RGB picture `[H, W, 3]`, the surest first.

        Args:
            image: the picture.
            region: the square to look at; the whole picture by default.
        """
        height, width = image.shape[:2]
        region = region or Region((width - 1) / 2, (height - 1) / 2, max(width, height))
        seen = region.cut_out(image, self.kind.size)
        blob = cv2.dnn.blobFromImage(seen, 1 / 127.5, mean=(127.5, 127.5, 127.5))
        with self._lock:
            self._net.setInput(blob)
            scores, values = self._net.forward(self._layers)
        logits = scores.reshape(-1)
        likely = logits > np.log(self.kind.threshold / (1 - self.kind.threshold))
        boxes, points = self._decode(values[0][likely], self._anchors[likely])
        faces = _blend(boxes, points, 1 / (1 + np.exp(-logits[likely])))
        return [_placed(face, region) for face in faces]

    def _decode(self, values: np.ndarray, anchors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes `[N, 4]` (x0, y0, x1, y1) and points `[N, 6, 2]`, as fractions of the square."""
        values = values.reshape(-1, 8, 2) / self.kind.size
        centre, extent = values[:, 0] + anchors, values[:, 1]
        return np.concatenate([centre - extent / 2, centre + extent / 2], 1), values[:, 2:] + anchors[:, None]


def _anchors(cells: int, count: int) -> np.ndarray:
    """Centres of a grid's cells, row by row, each `count` times: `[cells * cells * count, 2]`, as fractions of the square."""
    places = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    grid = np.stack(np.meshgrid(places, places), -1).reshape(-1, 2)
    return np.repeat(grid, count, axis=0)


def _blend(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray) -> list[Detection]:
    """One detection for each group of boxes that overlap, the mean by score; the surest first."""
    faces = []
    left = np.argsort(-scores, kind="stable")
    while len(left):
        best = left[0]
        same = _overlaps(boxes[best], boxes[left]) > OVERLAP
        same[0] = True
        group, left = left[same], left[~same]
        weights = scores[group] / scores[group].sum()
        faces.append(Detection(weights @ boxes[group], np.einsum("n,nkc->kc", weights, points[group]), float(scores[best])))
    return faces


def _overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with others `[N, 4]`."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    return shared / np.maximum((box[2:] - box[:2]).prod() + areas - shared, 1e-12)


def _placed(face: Detection, region: Region) -> Detection:
    """A detection of a region in the picture's pixels; of a rotated region, its box has the sides of the one there."""
    extent = (face.box[2:] - face.box[:2]) * region.side
    centre = region.to_picture((face.box[:2] + face.box[2:]) / 2)
    return Detection(np.concatenate([centre - extent / 2, centre + extent / 2]), region.to_picture(face.points), face.score)
