"""Every vertex of a head at one moment, and where the camera sees it."""

from typing import NamedTuple

import numpy as np

from benchmarks.synthetic.face_motion import FaceMotion
from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.parts import ear, eyeball, hair, mouth_interior, neck, torso
from benchmarks.synthetic.shape import smoothstep
from benchmarks.synthetic.state import State
from benchmarks.synthetic.topology import grids, mesh

# Distance of the camera from the head's origin in decimetres: a portrait from a metre.
CAMERA_DISTANCE = 10.0
# The head turns about the top of the spine.
_PIVOT = np.array([0.0, -0.55, -0.15])
_MOVING = ("head", "right_eye", "left_eye", "cavity", "upper_teeth", "lower_teeth", "tongue")


class View(NamedTuple):
    """A head's vertices as the camera sees them.

    Attributes:
        points: float64 `[V, 3]` in the camera's frame: x right, y up, z towards the camera, decimetres.
        positions: float64 `[V, 2]`, projected (x, y), y down, in half pictures from the middle; see `to_pixels`.
        nearness: float64 `[V]`, one over the distance from the camera's plane.
    """

    points: np.ndarray
    positions: np.ndarray
    nearness: np.ndarray


class Body:
    """The vertices of one identity and how they move."""

    def __init__(self, head: SyntheticHead) -> None:
        self._head = head
        self.face = FaceMotion(head.features)
        self._points = np.zeros((mesh().vertices, 3))
        still = {"right_ear": ear(-1), "left_ear": ear(1), "neck": neck(), "torso": torso(), "hair": hair(head.hair, head.seed)}
        for name, grid in still.items():
            self._points[grids()[name].vertices] = grid.reshape(-1, 3)
        self._follows = self._share_of_turn()

    def view(self, state: State) -> View:
        """All vertices at one moment."""
        points = self._points.copy()
        expression = state.expression
        moving = {
            "head": self.face(expression),
            "right_eye": eyeball(-1, expression),
            "left_eye": eyeball(1, expression),
            **mouth_interior(expression),
        }
        for name in _MOVING:
            points[grids()[name].vertices] = moving[name].reshape(-1, 3)
        points = self._head.proportions.warp(points)
        turned = (points - _PIVOT) @ state.pose.rotation.T + _PIVOT
        points += self._follows[:, None] * (turned - points)
        points += [state.pose.x, state.pose.y, state.pose.z]
        return View(points, *project(self._head, points))

    def _share_of_turn(self) -> np.ndarray:
        """How far each vertex follows the head's turning: all of the head, none of the shoulders."""
        follows = np.ones(mesh().vertices)
        level = self._points[:, 1]
        for name, low, high in (("neck", -1.45, -0.8), ("hair", -1.9, -0.9)):
            part = grids()[name].vertices
            follows[part] = smoothstep((level[part] - low) / (high - low))
        follows[grids()["torso"].vertices] = 0
        return follows


def to_pixels(positions: np.ndarray, size: int) -> np.ndarray:
    """Positions `[..., 2]` of `project` in pixels of a picture: -1 and 1 are the centres of its outermost pixels."""
    return (positions + 1) * ((size - 1) / 2)


def project(head: SyntheticHead, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the camera sees points `[n, 3]` of its frame: positions `[n, 2]` and nearness `[n]` as in `View`."""
    nearness = 1 / (CAMERA_DISTANCE - points[:, 2])
    scale = head.zoom * CAMERA_DISTANCE * nearness[:, None] * [1, -1]
    return points[:, :2] * scale + head.centre, nearness
