"""A depth-buffered triangle rasteriser in NumPy: which triangle each pixel shows, and where in it.

Triangles become rows, rows become pixels, each by one `repeat`, so that the work grows with what is drawn and not with the
boxes around it.
"""

from typing import NamedTuple

import numpy as np

# Twice the area in pixels below which a triangle is seen edge-on, so that positions in it mean nothing.
_EDGE_ON = 1e-5


class Surface(NamedTuple):
    """What each pixel of a picture shows.

    Attributes:
        triangle: int32 `[H, W]`, index of the nearest triangle at the pixel's centre, or -1 where there is none.
        weights: float32 `[H, W, 3]`, perspective-correct weights of the triangle's corners, sum 1 (zeros where there is none).
    """

    triangle: np.ndarray
    weights: np.ndarray


class Planes(NamedTuple):
    """Screen-space weights of triangles as planes over the pixel grid.

    Attributes:
        slope_x, slope_y, offset: float64 `[3, T]`; corner k has the weight slope_x*x + slope_y*y + offset at pixel (x, y).
        area: float64 `[T]`, twice the signed area in pixels, positive for triangles that face the camera.
    """

    slope_x: np.ndarray
    slope_y: np.ndarray
    offset: np.ndarray
    area: np.ndarray

    def at(self, triangle: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Screen-space weights `[3, n]` of triangles `[n]` at pixel positions `[n]`; negative outside."""
        return self.slope_x[:, triangle] * x + self.slope_y[:, triangle] * y + self.offset[:, triangle]


def screen_planes(points_px: np.ndarray, faces: np.ndarray) -> Planes:
    """Weight planes of the triangles `faces [T, 3]` with corners among `points_px [V, 2]`."""
    # Corners come first in all arrays here: NumPy is slow along a last axis of three.
    x, y = (np.ascontiguousarray(points_px[:, axis].astype(np.float64)[faces].T) for axis in (0, 1))
    next_x, next_y = x[[1, 2, 0]], y[[1, 2, 0]]
    last_x, last_y = x[[2, 0, 1]], y[[2, 0, 1]]
    offset = next_x * last_y - last_x * next_y
    area = offset[0] + offset[1] + offset[2]
    scale = 1 / np.where(np.abs(area) < _EDGE_ON, np.inf, area)
    return Planes((next_y - last_y) * scale, (last_x - next_x) * scale, offset * scale, area)


def rasterise(
    points_px: np.ndarray, nearness: np.ndarray, faces: np.ndarray, two_sided: np.ndarray, size: tuple[int, int]
) -> Surface:
    """The nearest triangle at each pixel's centre.

    Args:
        points_px: `[V, 2]`, projected vertices in pixels (x, y).
        nearness: `[V]`, one over the distance to the camera's plane; positive.
        faces: int `[T, 3]`, corners run clockwise in the picture (whose y points down) where the outer side is seen.
        two_sided: bool `[T]`, drawn when seen from behind, too.
        size: (height, width).
    """
    height, width = size
    planes = screen_planes(points_px, faces)
    drawn = np.flatnonzero((planes.area > _EDGE_ON) | (two_sided & (planes.area < -_EDGE_ON)))
    triangle, x, y = _pixels_of(planes, points_px[:, 1][faces[drawn]].T, drawn, size)
    weights = planes.at(triangle, x, y) * np.ascontiguousarray(nearness[faces].T)[:, triangle]
    near = weights[0] + weights[1] + weights[2]
    pixel = y * width + x
    depth = np.zeros(height * width)
    np.maximum.at(depth, pixel, near)
    won = np.flatnonzero(near == depth[pixel])
    index = np.full(height * width, -1, np.int32)
    index[pixel[won]] = triangle[won]
    corner_weights = np.zeros((height * width, 3), np.float32)
    corner_weights[pixel[won]] = (weights[:, won] / near[won]).T
    return Surface(index.reshape(height, width), corner_weights.reshape(height, width, 3))


def _pixels_of(
    planes: Planes, levels: np.ndarray, drawn: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every (triangle, x, y) such that the pixel's centre lies in a drawn triangle, edges included.

    Args:
        levels: `[3, D]`, y of the corners of the triangles `drawn [D]`.
    """
    height, width = size
    first, second, third = levels
    top = np.ceil(np.minimum(np.minimum(first, second), third))
    bottom = np.floor(np.maximum(np.maximum(first, second), third))
    which, y = expand(np.maximum(top, 0).astype(np.int64), np.minimum(bottom, height - 1).astype(np.int64))
    triangle = drawn[which]
    left, right = np.full(len(y), -0.5), np.full(len(y), width - 0.5)
    for slope, slope_y, offset in zip(planes.slope_x, planes.slope_y, planes.offset, strict=True):
        # A row is inside where it is right of every rising edge and left of every falling one.
        across, level = slope[triangle], slope_y[triangle] * y + offset[triangle]
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -level / across
        np.maximum(left, crossing, out=left, where=across > 0)
        np.minimum(right, crossing, out=right, where=across < 0)
        right[(across == 0) & (level < 0)] = -1
    row, x = expand(np.ceil(left - 1e-9).astype(np.int64), np.floor(right + 1e-9).astype(np.int64))
    return triangle[row], x, y[row]


def expand(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers of the ranges first..last (int `[n]`): for each the range that it comes from, and itself."""
    count = np.maximum(last - first + 1, 0)
    source = np.repeat(np.arange(len(count)), count)
    start = np.cumsum(count) - count
    return source, np.arange(len(source)) - (start - first)[source]
