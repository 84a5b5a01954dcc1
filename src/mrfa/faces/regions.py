"""Rotated squares of a picture, and the pictures of them that the networks look at."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

# A picture is reduced by averaging before it is sampled more sparsely than this, in pixels; then it is sampled half as sparsely.
SPARSE = 8

# Squares that lie over a picture begin this part of their side apart, so that a face of a third of it lies wholly in one.
TILE_STEP = 2 / 3


class Region(NamedTuple):
    """A square in a picture, which may be rotated and reach beyond the border.

    Attributes:
        x, y: its middle, in pixels (the first pixel's centre is 0).
        side: its width and height, in pixels.
        angle: of its upper edge, in radians; positive turns it clockwise, as x goes right and y down.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points `[..., 2]` that are fractions of the square (0, 0 its upper left corner, 1, 1 the lower right) in pixels."""
        return (points - 0.5) @ self._axes().T + (self.x, self.y)

    def cut_out(self, image: np.ndarray, size: int, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
        """The square's picture at `size` x `size`, of a uint8 RGB picture; `border` is what OpenCV puts beyond its border."""
        corners = self.to_picture(np.array([(0, 0), (0, 1), (1, 0), (1, 1)]))
        left, top = np.maximum(np.floor(corners.min(0)) - 1, 0).astype(int)
        right, bottom = np.maximum(np.ceil(corners.max(0)) + 2, 0).astype(int)
        part = image[top:bottom, left:right]
        if part.size == 0:
            return np.zeros((size, size, 3), np.uint8)
        # The first cell is taken at the square's corner, not half a cell further in, as mediapipe does: half a cell would move
        # landmarks by 0.4 pixels of 256.
        matrix = np.concatenate([self._axes() / size, corners[:1].T + 0.5 - [[left], [top]]], 1)
        step = self.side / size
        if step > SPARSE:
            height, width = part.shape[:2]
            reduced = max(1, round(2 * width / step)), max(1, round(2 * height / step))
            part = cv2.resize(part, reduced, interpolation=cv2.INTER_AREA)
            ratio = np.array([[reduced[0] / width], [reduced[1] / height]])
            matrix *= ratio
            matrix[:, 2:] += (ratio - 1) / 2
        return cv2.warpAffine(part, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=border)

    def _axes(self) -> np.ndarray:
        cosine, sine = self.side * math.cos(self.angle), self.side * math.sin(self.angle)
        return np.array([[cosine, -sine], [sine, cosine]])


def whole(image: np.ndarray, angle: float = 0.0) -> Region:
    """The square that holds a picture `[H, W, 3]`, turned by a multiple of a right angle."""
    height, width = image.shape[:2]
    return Region((width - 1) / 2, (height - 1) / 2, max(width, height), angle)


def tiles(image: np.ndarray, side: int, angle: float = 0.0) -> Iterator[Region]:
    """Squares that cover a picture `[H, W, 3]` and overlap."""
    height, width = image.shape[:2]
    for y in _middles(height, side):
        for x in _middles(width, side):
            yield Region(x, y, side, angle)


def _middles(extent: int, side: int) -> list[float]:
    if extent <= side:
        return [(extent - 1) / 2]
    count = math.ceil((extent - side) / (TILE_STEP * side)) + 1
    return [(side - 1) / 2 + start for start in np.linspace(0, extent - side, count).tolist()]
