"""The landmark groups of `mrfa.faces.landmarks` as points of the synthetic head's surface, and regions of its surface."""

from functools import cache

import numpy as np

from benchmarks.synthetic.shape import EYE_X, MOUTH_Y, Features, neutral_head
from benchmarks.synthetic.topology import EYE_ROW, MOUTH_ROW, UNDERSIDE, grids, mesh
from mrfa.faces.landmarks import LANDMARK_GROUPS

# Where the middle of each group lies on the neutral head, lids and lips closed; right is negative.
_POINTS = {
    "eye_outer": (0.468, 0.0),
    "eye_inner": (0.162, 0.0),
    "upper_lid": (0.315, EYE_ROW),
    "lower_lid": (0.315, EYE_ROW + 1),
    "brow_inner": (0.15, 0.235),
    "brow_outer": (0.55, 0.165),
    "mouth_corner": (0.245, MOUTH_Y),
    "jaw": (0.52, -0.82),
}
_MIDDLE_POINTS = {
    "nose_tip": -0.39,
    "nose_bridge": -0.01,
    "upper_lip_outer": -0.645,
    "upper_lip_inner": MOUTH_ROW,
    "lower_lip_inner": MOUTH_ROW + 1,
    "lower_lip_outer": -0.825,
    "chin": -1.13,
    "forehead": 0.58,
}


@cache
def landmark_vertices() -> np.ndarray:
    """The vertex that stands for each group of `LANDMARK_GROUPS`, in their order: int64 `[26]`."""
    return np.array([_vertex(name) for name in LANDMARK_GROUPS])


def _vertex(name: str) -> int:
    if name in _MIDDLE_POINTS:
        return _head_vertex(0.0, _MIDDLE_POINTS[name])
    side, _, point = name.partition("_")
    if point == "iris":
        eye = grids()[f"{side}_eye"]
        return eye.first + (eye.rows // 2) * eye.columns + eye.columns // 2
    x, place = _POINTS[point]
    return _head_vertex(x if side == "left" else -x, place)


def _head_vertex(x: float, place: float) -> int:
    """The vertex of the head's grid nearest to x and a level, or, where `place` is an int, to x in that row."""
    points = neutral_head(Features())
    distance = np.abs(points[..., 0] - x)
    if isinstance(place, int):
        distance[np.arange(len(points)) != place] = np.inf
    else:
        distance = np.hypot(distance, points[..., 1] - place)
    distance[points[..., 2] < 0] = np.inf
    return grids()["head"].first + int(distance.argmin())


@cache
def face_triangles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which triangles of the mesh belong to the face, to eyes with lids, and to the mouth: three times bool `[T]`."""
    grid = grids()["head"]
    names = list(grids())
    part = mesh().part
    on_head = part == names.index("head")
    x, y, z = neutral_head(Features()).reshape(-1, 3)[mesh().faces[on_head] - grid.first].mean(1).T
    eyeballs = np.isin(part, [names.index(name) for name in ("right_eye", "left_eye")])
    inside = np.isin(part, [names.index(name) for name in ("cavity", "upper_teeth", "lower_teeth", "tongue")])
    face, eyes, mouth = eyeballs | inside, eyeballs.copy(), inside.copy()
    # The last rings are the chin's underside.
    above_chin = (mesh().faces[on_head] - grid.first).max(1) < (grid.rows - len(UNDERSIDE)) * grid.columns
    face[on_head] = (z > 0.05) & (y < 0.65) & above_chin
    eyes[on_head] = (z > 0) & (((np.abs(x) - EYE_X) / 0.2) ** 2 + (y / 0.12) ** 2 < 1)
    mouth[on_head] = (z > 0) & ((x / 0.27) ** 2 + ((y - MOUTH_Y + 0.015) / 0.11) ** 2 < 1)
    return face, eyes, mouth
