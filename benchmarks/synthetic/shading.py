"""Light on a synthetic head: soft diffuse light and a faint gloss a vertex, and the lamp's mirror image in the eyes."""

from functools import cache

import numpy as np

from benchmarks.synthetic.face_motion import EYE_RADIUS
from benchmarks.synthetic.identity import Light, SyntheticHead
from benchmarks.synthetic.posing import View, to_pixels
from benchmarks.synthetic.rasterise import Surface
from benchmarks.synthetic.state import Expression
from benchmarks.synthetic.topology import grids, mesh, normals

_TOWARDS_CAMERA = np.array([0.0, 0.0, 1.0])
_GLOSS = {"head": 0.13, "hair": 0.08, "upper_teeth": 0.12, "lower_teeth": 0.08, "tongue": 0.1, "neck": 0.04}


def light_on(light: Light, view: View, expression: Expression) -> np.ndarray:
    """Diffuse light RGB and gloss of each vertex: `[V, 4]`."""
    normal = _facing(normals(view.points))
    direction = np.array(light.direction)
    half = direction + _TOWARDS_CAMERA
    half = half / np.linalg.norm(half)
    lamp = np.clip(0.25 + 0.75 * (normal @ direction), 0, 1)
    gloss = np.clip(normal @ half, 0, 1) ** 18 * _gloss() * max(light.colour)
    lit = np.array(light.ambient) + np.array(light.colour) * lamp[:, None]
    if any(light.colour):
        # More light from above than from below, and less behind lids and lips.
        lit = lit + 0.12 * np.array(light.ambient) * normal[:, 1:2]
        lit *= _shelter(view, expression)[:, None]
    return np.concatenate([lit, gloss[:, None]], axis=1)


def add_catch_lights(colour: np.ndarray, head: SyntheticHead, view: View, surface: Surface) -> None:
    """Add the lamp's mirror image to both eyes of a picture `[H, W, 3]`, in place."""
    if not any(head.light.colour):
        return
    half = np.array(head.light.direction) + _TOWARDS_CAMERA
    half = half / np.linalg.norm(half)
    size = len(colour)
    for name in ("right_eye", "left_eye"):
        grid = grids()[name]
        points = view.points[grid.vertices]
        # The mirror image lies where the eyeball reaches farthest along the direction that halves the angle.
        reach = points @ half
        near = np.exp((reach - reach.max()) / 0.006)
        x, y = to_pixels(near @ view.positions[grid.vertices] / near.sum(), size)
        rows, columns = np.nonzero(mesh().part[surface.triangle] == list(grids()).index(name))
        radius = 0.017 * head.zoom * size / 2
        glow = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * radius**2))
        colour[rows, columns] += 0.9 * glow[:, None]


@cache
def _gloss() -> np.ndarray:
    result = np.zeros(mesh().vertices)
    for name, strength in _GLOSS.items():
        result[grids()[name].vertices] = strength
    return result


def _facing(normal: np.ndarray) -> np.ndarray:
    """Normals of surfaces seen from both sides turned to the camera."""
    for grid in grids().values():
        if grid.two_sided:
            part = normal[grid.vertices]
            part *= np.where(part[:, 2:] < 0, -1, 1)
    return normal


def _shelter(view: View, expression: Expression) -> np.ndarray:
    """Share of the light that reaches each vertex past lids and lips: `[V]`."""
    share = np.ones(mesh().vertices)
    for name in ("right_eye", "left_eye"):
        grid = grids()[name]
        height = view.points[grid.vertices, 1]
        share[grid.vertices] = np.interp((height - height.mean()) / EYE_RADIUS, [-0.5, -0.1, 0.5], [0.92, 1.0, 0.55])
    inside = 0.7 + 0.3 * min(1.0, expression.mouth_open)
    for name in ("cavity", "upper_teeth", "lower_teeth", "tongue"):
        share[grids()[name].vertices] = inside
    return share
