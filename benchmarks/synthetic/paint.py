"""The colours of a head's surfaces: one picture (an atlas) with a chart for each grid of the mesh."""

from functools import cache

import cv2
import numpy as np

from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.noise import noise, strands
from benchmarks.synthetic.paint_skin import paint_head
from benchmarks.synthetic.parts import EYE_AZIMUTH, EYE_ELEVATION, IRIS_ANGLE, neck, torso
from benchmarks.synthetic.shape import smoothstep
from benchmarks.synthetic.topology import grids, mesh

# Texels along each side of a grid's cell.
_DETAIL = {"head": 8, "right_eye": 10, "left_eye": 10, "hair": 10, "upper_teeth": 8, "lower_teeth": 8}
_PLAIN_DETAIL = 4


def paint_atlas(head: SyntheticHead, neutral: np.ndarray) -> np.ndarray:
    """The atlas of one identity, float32 RGB `[h, w, 3]` in [0, 1].

    Args:
        neutral: `[rows, columns, 3]`, the head's grid with lids and lips closed, see `FaceMotion.neutral`.
    """
    random = np.random.default_rng((head.seed, 1))
    height, width = _atlas_size()
    atlas = np.zeros((height, width, 3), np.float32)
    skin = np.array(head.colours.skin)
    eye = _paint_eye(head, _chart_shape("left_eye"), random)
    charts = {
        "head": paint_head(head, spread_over_chart(neutral, _DETAIL["head"]), random),
        "right_eye": eye,
        "left_eye": eye,
        "cavity": np.array([0.16, 0.04, 0.04]),
        "upper_teeth": _paint_teeth(_chart_shape("upper_teeth"), 9),
        "lower_teeth": _paint_teeth(_chart_shape("lower_teeth"), 10) * 0.85,
        "tongue": np.array([0.62, 0.27, 0.27]),
        "right_ear": _paint_ear(skin, _chart_shape("right_ear")),
        "left_ear": _paint_ear(skin, _chart_shape("left_ear")),
        "neck": _paint_neck(skin, spread_over_chart(neck(), _PLAIN_DETAIL)),
        "torso": _paint_torso(head, spread_over_chart(torso(), _PLAIN_DETAIL), random),
        "hair": _paint_hair(head, _chart_shape("hair"), random),
    }
    for name, top in _chart_tops().items():
        rows, columns = _chart_shape(name)
        atlas[top : top + rows, :columns] = charts[name]
    return np.clip(atlas, 0, 1)


@cache
def texture_coordinates() -> np.ndarray:
    """Where in the atlas each vertex of the mesh lies: float32 `[V, 2]`, (x, y) in texels."""
    result = np.zeros((mesh().vertices, 2), np.float32)
    for name, top in _chart_tops().items():
        grid, detail = grids()[name], _DETAIL.get(name, _PLAIN_DETAIL)
        row, column = np.mgrid[: grid.rows, : grid.columns] * detail
        result[grid.vertices] = np.stack([column, row + top], axis=-1).reshape(-1, 2)
    return result


def spread_over_chart(points: np.ndarray, detail: int) -> np.ndarray:
    """Values `[rows, columns, c]` at a grid's vertices, interpolated to each texel of its chart."""
    for axis in (0, 1):
        place = np.linspace(0, points.shape[axis] - 1, (points.shape[axis] - 1) * detail + 1)
        low = np.minimum(place.astype(int), points.shape[axis] - 2)
        share = (place - low).reshape([-1 if k == axis else 1 for k in range(3)])
        points = np.take(points, low, axis) * (1 - share) + np.take(points, low + 1, axis) * share
    return points


def _chart_shape(name: str) -> tuple[int, int]:
    grid, detail = grids()[name], _DETAIL.get(name, _PLAIN_DETAIL)
    return (grid.rows - 1) * detail + 1, (grid.columns - 1) * detail + 1


@cache
def _chart_tops() -> dict[str, int]:
    tops, top = {}, 0
    for name in grids():
        tops[name] = top
        top += _chart_shape(name)[0] + 1
    return tops


def _atlas_size() -> tuple[int, int]:
    return sum(_chart_shape(name)[0] + 1 for name in grids()), max(_chart_shape(name)[1] for name in grids())


def _paint_eye(head: SyntheticHead, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    rise = np.linspace(EYE_ELEVATION, -EYE_ELEVATION, shape[0])[:, None]
    turn = np.linspace(-EYE_AZIMUTH, EYE_AZIMUTH, shape[1])
    angle = np.arccos(np.clip(np.cos(turn) * np.cos(rise), -1, 1)) / IRIS_ANGLE
    around = np.arctan2(np.sin(rise), np.sin(turn) * np.cos(rise))
    iris = np.array(head.colours.iris)
    rays = 1 + 0.25 * np.sin(around * 17 + 3 * np.sin(around * 5 + head.seed)) * smoothstep((angle - 0.3) / 0.4)
    # Lighter towards the pupil, with a dark ring where the iris ends.
    shade = np.interp(angle, [0.0, 0.45, 0.8, 0.92, 1.0], [1.5, 1.45, 1.1, 0.7, 0.35]) * rays
    coloured = iris * shade[..., None]
    white = np.array([0.93, 0.91, 0.89]) - np.array([0.02, 0.10, 0.11]) * smoothstep((angle - 1.6) / 2.4)[..., None]
    colour = white + (coloured - white) * smoothstep((1.05 - angle) / 0.1)[..., None]
    return colour * (1 - 0.97 * smoothstep((0.46 - angle) / 0.08))[..., None]


def _paint_teeth(shape: tuple[int, int], teeth: int) -> np.ndarray:
    row, column = np.linspace(0, 1, shape[0])[:, None], np.linspace(-1, 1, shape[1])
    gap = 1 - 0.35 * np.exp(-(((((column * teeth / 2) % 1) - 0.5) / 0.1) ** 2))
    shade = gap * (1 - 0.55 * column**2) * (0.85 + 0.15 * row)
    return np.array([0.9, 0.88, 0.82]) * shade[..., None]


def _paint_ear(skin: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    share = np.linspace(0, 1, shape[0])[:, None, None] * np.ones((1, shape[1], 1))
    shade = np.interp(share, [0, 0.3, 0.55, 0.8, 1], [0.5, 0.68, 0.95, 1.0, 0.9])
    return skin * np.array([1.0, 0.94, 0.93]) * shade


def _paint_neck(skin: np.ndarray, points: np.ndarray) -> np.ndarray:
    level, front = points[..., 1], smoothstep(points[..., 2] / 0.2)
    # The chin keeps light off the neck.
    shade = 0.97 - 0.38 * smoothstep((level + 1.5) / 0.4)
    cord = 1 - 0.06 * front * np.exp(-(((np.abs(points[..., 0]) - 0.14) / 0.05) ** 2))
    return skin * (shade * cord)[..., None]


def _paint_torso(head: SyntheticHead, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    fabric = np.array(head.colours.clothes) * (1 + 0.12 * (noise(points.shape[:2], 14, random) - 0.5))[..., None]
    collar = np.linspace(0, 1, points.shape[0])[:, None] * np.ones(points.shape[1])
    seam = 1 - 0.25 * np.exp(-(((collar - 0.1) / 0.012) ** 2))
    return fabric * seam[..., None]


def _paint_hair(head: SyntheticHead, shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    light = 0.72 + 0.6 * strands(shape, random)
    row = np.linspace(0, 1, shape[0])[:, None]
    gloss = 1 + 0.25 * np.exp(-(((row - 0.42) / 0.09) ** 2))
    return np.array(head.colours.hair) * (light * gloss * (0.9 + 0.2 * row))[..., None]


def paint_background(head: SyntheticHead, size: int, margin: int) -> np.ndarray:
    """Background, uint8 RGB `[size + 2 margin, size + 2 margin, 3]`: a wall with soft shapes."""
    random = np.random.default_rng((head.seed, 2))
    side = 192
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    first, second = (np.array(colour) for colour in head.background)
    turn = random.uniform(0, 2 * np.pi)
    blend = smoothstep(0.5 + 0.5 * (x * np.cos(turn) + y * np.sin(turn)) + 0.5 * (noise((side, side), 40, random) - 0.5))
    picture = first + (second - first) * blend[..., None]
    for _ in range(random.integers(3, 9)):
        centre, half = random.uniform(-1.1, 1.1, 2), random.uniform(0.08, 0.5, 2)
        edge = random.uniform(0.02, 0.12)
        inside = smoothstep((half[0] - np.abs(x - centre[0])) / edge) * smoothstep((half[1] - np.abs(y - centre[1])) / edge)
        picture += inside[..., None] * (random.uniform(0.1, 0.9, 3) - picture) * random.uniform(0.15, 0.6)
    whole = size + 2 * margin
    picture = cv2.resize(picture.astype(np.float32), (whole, whole), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8)
