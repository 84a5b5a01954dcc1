"""The landmark groups of `mrfa.data.landmarks` as points of the synthetic head's surface, and regions of its surface."""

from functools import cache

import numpy as np

from mrfa.data.landmarks import LANDMARK_GROUPS
from mrfa.synthetic.shape import EYE_X, MOUTH_Y, Features, neutral_head
from mrfa.synthetic.topology import EYE_ROW, MOUTH_ROW, grids

# Where the middle of each group lies on the neutral head, lids and lips closed; right is negative.
_POINTS = {
    "eye_outer": (0.468, 0.0),
    "eye_inner": (0.162, 0.0),
    "upper_lid": (0.315, EYE_ROW),
    "lower_lid": (0.315, EYE_ROW + 1),
    "brow_inner": (0.15, 0.235),
    "brow_outer": (0.47, 0.26),
    "mouth_corner": (0.245, MOUTH_Y),
    "jaw": (0.52, -0.75),
}
_MIDDLE_POINTS = {
    "nose_tip": -0.39,
    "nose_bridge": 0.05,
    "upper_lip_outer": -0.645,
    "upper_lip_inner": MOUTH_ROW,
    "lower_lip_inner": MOUTH_ROW + 1,
    "lower_lip_outer": -0.825,
    "chin": -1.13,
    "forehead": 0.72,
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
