"""The mesh that all synthetic heads share: grids of vertices, their triangles, and the slits of eyes and mouth.

Every part is a grid of vertices whose rows run down and whose columns run to the right of the picture when its outer side is
seen. The skin of the head is one such grid around the head. At the level of the eyes, and again at the level of the mouth, it
has two rows in the same place: there the skin is slit, and what lies between the two rows of a slit is not skin.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

EYE_LEVEL, MOUTH_LEVEL = 0.0, -0.72

# Levels of the head's rows from crown to chin in decimetres over the eyes, denser where the face moves.
_CROWN = 0.1 + 1.03 * np.cos(np.linspace(0, 1.12, 9))
_HEAD_LEVELS = np.concatenate(
    [
        _CROWN,
        [0.48, 0.42, 0.36, 0.31, 0.27, 0.235, 0.2, 0.17, 0.145, 0.12, 0.095, 0.07, 0.05, 0.03, 0.012, EYE_LEVEL],
        [EYE_LEVEL, -0.012, -0.03, -0.05, -0.075, -0.1, -0.13, -0.17, -0.21, -0.25, -0.29, -0.33, -0.365, -0.395, -0.42],
        [-0.44, -0.46, -0.475, -0.49, -0.505, -0.525, -0.55, -0.58, -0.61, -0.63, -0.65, -0.67, -0.685, -0.7, -0.712],
        [MOUTH_LEVEL, MOUTH_LEVEL, -0.73, -0.745, -0.76, -0.78, -0.8, -0.82, -0.84, -0.87, -0.9, -0.94, -0.98],
        [-1.02, -1.06, -1.1, -1.15],
    ]
)
# Rings below the chin, each as a share of the last ring's width.
UNDERSIDE = (0.8, 0.45, 0.05)
HEAD_LEVELS = np.concatenate([_HEAD_LEVELS, np.full(len(UNDERSIDE), _HEAD_LEVELS[-1])])
EYE_ROW = int(np.flatnonzero(_HEAD_LEVELS == EYE_LEVEL)[0])
MOUTH_ROW = int(np.flatnonzero(_HEAD_LEVELS == MOUTH_LEVEL)[0])

_FACE = np.arcsin(np.linspace(0, 0.7, 22))
_SIDE = np.linspace(_FACE[-1], np.pi, 15)[1:]
_HALF = np.concatenate([_FACE, _SIDE])
# Angles of the head's columns, 0 in front, rising to the right of the picture.
HEAD_ANGLES = np.concatenate([-_HALF[:0:-1], _HALF])


class Grid(NamedTuple):
    """One part of the mesh.

    Attributes:
        first: index of its first vertex; vertices lie row by row.
        rows, columns: of vertices.
        two_sided: seen from behind, too.
    """

    first: int
    rows: int
    columns: int
    two_sided: bool

    @property
    def vertices(self) -> slice:
        """Where its vertices lie among all."""
        return slice(self.first, self.first + self.rows * self.columns)


_SHAPES = {
    "head": (len(HEAD_LEVELS), len(HEAD_ANGLES), False),
    "right_eye": (13, 15, False),
    "left_eye": (13, 15, False),
    "cavity": (6, 17, True),
    "upper_teeth": (3, 13, True),
    "lower_teeth": (3, 13, True),
    "tongue": (5, 7, True),
    "right_ear": (6, 13, True),
    "left_ear": (6, 13, True),
    "neck": (12, 25, False),
    "torso": (12, 25, False),
    "hair": (26, 49, True),
}

# Grids whose first row is a single point, which has no direction of its own.
_STARTS_AT_A_POINT = {"head", "hair", "right_ear", "left_ear", "cavity"}


@cache
def grids() -> dict[str, Grid]:
    """The parts of the mesh by name."""
    found, first = {}, 0
    for name, (rows, columns, two_sided) in _SHAPES.items():
        found[name] = Grid(first, rows, columns, two_sided)
        first += rows * columns
    return found


class Mesh(NamedTuple):
    """All triangles.

    Attributes:
        faces: int64 `[T, 3]`, corners; clockwise in the picture (whose y points down) where the outer side is seen.
        two_sided: bool `[T]`.
        part: int64 `[T]`, which of `grids()` each belongs to, in their order.
        vertices: how many vertices there are.
    """

    faces: np.ndarray
    two_sided: np.ndarray
    part: np.ndarray
    vertices: int


@cache
def mesh() -> Mesh:
    """The triangles of all parts."""
    faces, two_sided, part = [], [], []
    for number, (name, grid) in enumerate(grids().items()):
        index = np.arange(grid.rows * grid.columns).reshape(grid.rows, grid.columns) + grid.first
        rows = np.arange(grid.rows - 1)
        if name == "head":
            rows = rows[(rows != EYE_ROW) & (rows != MOUTH_ROW)]
        upper, lower = index[rows], index[rows + 1]
        corners = [upper[:, :-1], upper[:, 1:], lower[:, 1:], lower[:, :-1]]
        for triangle in ((0, 1, 2), (0, 2, 3)):
            faces.append(np.stack([corners[k] for k in triangle], axis=-1).reshape(-1, 3))
            two_sided.append(np.full(len(faces[-1]), grid.two_sided))
            part.append(np.full(len(faces[-1]), number))
    last = list(grids().values())[-1]
    return Mesh(np.concatenate(faces), np.concatenate(two_sided), np.concatenate(part), last.vertices.stop)


def normals(points: np.ndarray) -> np.ndarray:
    """Unit normals `[V, 3]` of all vertices `[V, 3]`, by differences along the grids; outwards."""
    result = np.empty_like(points)
    for name, grid in grids().items():
        surface = points[grid.vertices].reshape(grid.rows, grid.columns, 3)
        before, after = _row_neighbours(name, grid.rows)
        down = surface[after] - surface[before]
        right = np.empty_like(surface)
        right[:, 1:-1] = surface[:, 2:] - surface[:, :-2]
        right[:, 0], right[:, -1] = surface[:, 1] - surface[:, 0], surface[:, -1] - surface[:, -2]
        normal = _cross(down, right)
        if name == "head":
            _join_beside_slits(surface, normal)
        if name in _STARTS_AT_A_POINT:
            normal[0] = normal[1]
        result[grid.vertices] = normal.reshape(-1, 3)
    return result / np.maximum(np.sqrt(np.einsum("vc,vc->v", result, result)), 1e-9)[:, None]


def _join_beside_slits(surface: np.ndarray, normal: np.ndarray) -> None:
    """Where both rows of a slit lie in the same place the skin is whole, and so is its shading."""
    for row in (EYE_ROW, MOUTH_ROW):
        whole = (surface[row] == surface[row + 1]).all(-1)
        normal[row, whole] = normal[row + 1, whole] = (normal[row] + normal[row + 1])[whole]


@cache
def _row_neighbours(name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row those before and after it; a slit is an end."""
    before, after = np.maximum(np.arange(rows) - 1, 0), np.minimum(np.arange(rows) + 1, rows - 1)
    if name == "head":
        for row in (EYE_ROW, MOUTH_ROW):
            after[row], before[row + 1] = row, row + 1
    return before, after


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product over the last axis; faster than NumPy's on short vectors."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)
