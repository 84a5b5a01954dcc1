"""The exact motion between two pictures of one synthetic head."""

from typing import NamedTuple

import numpy as np

from benchmarks.synthetic.landmarks import face_triangles
from benchmarks.synthetic.posing import View, project, to_pixels
from benchmarks.synthetic.rasterise import expand, screen_planes
from benchmarks.synthetic.render import Rendered
from benchmarks.synthetic.topology import mesh

# A surface hides another when it is nearer by this share of its distance: a tenth of a millimetre at a metre.
_NEARER = 1e-4
# Positions this far outside the picture, in pixels, are at its border.
_ROUNDING = 1e-6


class Regions(NamedTuple):
    """Parts of a picture, each bool `[H, W]`; hair, ears, neck and shoulders belong to none.

    Attributes:
        face: the skin of the face with eyes and mouth, from the forehead to the chin.
        eyes: eyeballs and lids.
        mouth: lips and what shows between them.
        background: neither head nor body.
    """

    face: np.ndarray
    eyes: np.ndarray
    mouth: np.ndarray
    background: np.ndarray


class PairMotion(NamedTuple):
    """How a driving picture's pixels lie in a source picture.

    Attributes:
        displacement_px: float32 `[H, W, 2]`, backward, in pixels (x, y): from each driving pixel's centre to the position in
            the source of what it shows. Where that is hidden in the source, it is where it would be.
        visible: bool `[H, W]`: it lies in the source picture, and nothing hides it there.
        regions: of the driving picture.
    """

    displacement_px: np.ndarray
    visible: np.ndarray
    regions: Regions


def pair_motion(source: Rendered, driving: Rendered) -> PairMotion:
    """The motion from one picture of a head to another.

    Exact up to rounding: both pictures show the same mesh, and each driving pixel knows its triangle and its place in it.

    Raises:
        ValueError: the pictures differ in identity or size.
    """
    if source.head != driving.head or source.image.shape != driving.image.shape:
        raise ValueError("the motion of a pair needs two pictures of one head at one size")
    size = len(source.image)
    rows, columns = np.nonzero(driving.surface.triangle >= 0)
    triangle = driving.surface.triangle[rows, columns]
    weights = driving.surface.weights[rows, columns].astype(np.float64)
    points = np.einsum("nk,nkc->nc", weights, source.view.points[mesh().faces[triangle]])
    on_head, nearness = project(source.head, points)

    pixels = np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)
    shift = [source.state.background_x - driving.state.background_x, source.state.background_y - driving.state.background_y]
    positions_px = pixels + np.array(shift) * ((size - 1) / 2)
    positions_px[rows, columns] = to_pixels(on_head, size)
    near = np.zeros((size, size))
    near[rows, columns] = nearness
    facing = np.ones((size, size), bool)
    facing[rows, columns] = _drawn(source.view, size)[triangle]
    visible = facing & ((positions_px > -_ROUNDING) & (positions_px < size - 1 + _ROUNDING)).all(-1)
    rows, columns = np.nonzero(visible)
    visible[rows, columns] = ~_hidden(source.view, positions_px[rows, columns], near[rows, columns], size)
    return PairMotion((positions_px - pixels).astype(np.float32), visible, find_regions(driving))


def find_regions(rendered: Rendered) -> Regions:
    """The regions of a picture."""
    triangle = rendered.surface.triangle
    drawn = triangle >= 0
    face, eyes, mouth = (of_triangles[triangle] & drawn for of_triangles in face_triangles())
    return Regions(face, eyes, mouth, ~drawn)


def _drawn(view: View, size: int) -> np.ndarray:
    """Which triangles are seen from their outer side, or may be seen from both: bool `[T]`."""
    area = screen_planes(to_pixels(view.positions, size), mesh().faces).area
    return np.where(mesh().two_sided, area != 0, area > 0)


def _hidden(view: View, positions_px: np.ndarray, nearness: np.ndarray, size: int) -> np.ndarray:
    """Whether a triangle lies before each of some points in the picture.

    Args:
        positions_px: `[n, 2]`.
        nearness: `[n]`, as in `View`; 0 for the background.
    """
    points_px = to_pixels(view.positions, size)
    planes = screen_planes(points_px, mesh().faces)
    starts, triangles = _triangles_by_cell(points_px, _drawn(view, size), size)
    x, y = positions_px.T
    cell = np.minimum(y.astype(int), size - 1) * size + np.minimum(x.astype(int), size - 1)
    which, entry = expand(starts[cell], starts[cell + 1] - 1)
    triangle = triangles[entry]
    first, second, third = planes.at(triangle, x[which], y[which])
    near = view.nearness[mesh().faces.T]
    nearer = first * near[0, triangle] + second * near[1, triangle] + third * near[2, triangle] > nearness[which] * (1 + _NEARER)
    inside = (first >= 0) & (second >= 0) & (third >= 0)
    return np.bincount(which, nearer & inside, minlength=len(positions_px)) > 0


def _triangles_by_cell(points_px: np.ndarray, drawn: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The triangles whose boxes touch each square between pixel centres.

    Returns:
        int `[size * size + 1]`, where each square's triangles start (row by row), and int `[n]`, the triangles.
    """
    number = np.flatnonzero(drawn)
    corners = np.floor(points_px[mesh().faces[number]]).astype(int)
    low, high = np.maximum(corners.min(1), 0), np.minimum(corners.max(1), size - 1)
    row_of, row = expand(low[:, 1], high[:, 1])
    cell_of, column = expand(low[row_of, 0], high[row_of, 0])
    cell = row[cell_of] * size + column
    order = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[order], np.arange(size * size + 1))
    return starts, number[row_of[cell_of[order]]]
