"""The parts of a synthetic head beside its skin: eyeballs, the inside of the mouth, ears, neck, shoulders, hair.

All coordinates are those of the mean head, see `benchmarks.synthetic.shape`.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.synthetic.face_motion import EYE_CENTRE_Z, EYE_RADIUS, JAW_DROP
from benchmarks.synthetic.shape import EYE_X, MOUTH_Y, skull, smoothstep
from benchmarks.synthetic.state import Expression
from benchmarks.synthetic.topology import grids

# Angles from an eyeball's axis to the rim of its grid.
EYE_AZIMUTH, EYE_ELEVATION = np.radians(85), np.radians(70)
IRIS_ANGLE = np.arcsin(0.062 / EYE_RADIUS)


@dataclass(frozen=True)
class HairStyle:
    """The shape of the hair.

    Attributes:
        volume: thickness over the skull in decimetres; 0 for a bald or shaved head.
        hairline: level of the hairline over the middle of the forehead.
        length: level down to which hair hangs at the back and the sides.
        side: degrees from the front at which hanging hair begins.
        waves: strength of its locks, 0 to 1.
    """

    volume: float
    hairline: float
    length: float
    side: float
    waves: float


def eyeball(side: int, expression: Expression) -> np.ndarray:
    """Vertices `[rows, columns, 3]` of one eyeball, turned by the gaze; side -1 is the right eye (left in the picture)."""
    turn, rise = np.radians([expression.gaze_x, expression.gaze_y])
    about_y = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(rise), np.sin(rise)], [0, -np.sin(rise), np.cos(rise)]])
    return eye_centre(side) + EYE_RADIUS * (_EYE_DIRECTIONS @ (about_y @ about_x).T)


def eye_centre(side: int) -> np.ndarray:
    """Middle of an eyeball, `[3]`."""
    return np.array([side * EYE_X, 0.0, EYE_CENTRE_Z])


def _eye_directions() -> np.ndarray:
    grid = grids()["left_eye"]
    rise = np.linspace(EYE_ELEVATION, -EYE_ELEVATION, grid.rows)[:, None]
    turn = np.linspace(-EYE_AZIMUTH, EYE_AZIMUTH, grid.columns)
    return np.stack(np.broadcast_arrays(np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)), axis=-1)


_EYE_DIRECTIONS = _eye_directions()


def mouth_interior(expression: Expression) -> dict[str, np.ndarray]:
    """Vertices of the mouth's cavity, its teeth and the tongue, each `[rows, columns, 3]`."""
    drop = expression.mouth_open * JAW_DROP
    narrow = 1 - 0.3 * expression.pucker
    parts = {name: grid * [narrow, 1, 1] for name, grid in _INTERIOR.items()}
    parts["lower_teeth"] += drop
    parts["tongue"] += 0.95 * drop
    parts["cavity"] += _CAVITY_FALL[..., None] * drop
    return parts


def _interior() -> dict[str, np.ndarray]:
    def sheet(name: str, half: float, top: float, bottom: float, depth: float, bend: float) -> np.ndarray:
        grid = grids()[name]
        x, y = np.linspace(-half, half, grid.columns), np.linspace(top, bottom, grid.rows)[:, None]
        return np.stack(np.broadcast_arrays(x, y, depth - bend * x**2), axis=-1)

    tongue = sheet("tongue", 0.15, -0.75, -0.86, 0.66, 2.0)
    tongue[..., 2] += np.linspace(-0.12, 0.08, len(tongue))[:, None]
    return {
        "cavity": _cavity(),
        "upper_teeth": sheet("upper_teeth", 0.2, -0.6, -0.76, 0.835, 1.7),
        "lower_teeth": sheet("lower_teeth", 0.18, -0.765, -0.84, 0.80, 1.8),
        "tongue": tongue,
    }


def _cavity() -> np.ndarray:
    """A bowl: rings from deep in the mouth out to a rim behind lips and cheeks."""
    grid = grids()["cavity"]
    share = np.linspace(0, 1, grid.rows)[:, None]
    around = np.linspace(0, 2 * np.pi, grid.columns)
    x, y = 0.3 * share * np.cos(around), MOUTH_Y - 0.01 + 0.12 * share * np.sin(around)
    depth = 0.42 + (0.82 - 1.5 * x**2 - 0.42) * share**2
    return np.stack(np.broadcast_arrays(x, y, depth), axis=-1)


_INTERIOR = _interior()
# The upper rim stays with the skull, the lower goes with the jaw, and the deep end between.
_CAVITY_FALL = smoothstep(0.5 - (_INTERIOR["cavity"][..., 1] - MOUTH_Y + 0.01) / 0.24)


def ear(side: int) -> np.ndarray:
    """Vertices `[rows, columns, 3]` of an ear: rings from its middle outwards."""
    grid = grids()["left_ear"]
    share = np.linspace(0, 1, grid.rows)[:, None]
    around = np.linspace(0, 2 * np.pi, grid.columns) * -side
    back, up = np.cos(around), np.sin(around)
    # Narrower below, and bowl-shaped with a rolled rim.
    wide = 0.17 * (1 + 0.25 * up)
    height = 0.31 * share * up
    depth = np.interp(share, [0, 0.45, 0.8, 0.92, 1], [0.0, 0.005, 0.05, 0.045, -0.01])
    outward = 0.10 * share * back + depth
    points = np.stack([side * (0.755 + outward), -0.13 + height, -0.12 - share * wide * back], axis=-1)
    points[..., 0] -= side * 0.03 * (points[..., 1] < -0.3)
    return points


def neck() -> np.ndarray:
    """Vertices `[rows, columns, 3]` of the neck, from inside the head to below the collar."""
    grid = grids()["neck"]
    level = np.linspace(-0.55, -1.62, grid.rows)[:, None]
    angle = np.linspace(-np.pi, np.pi, grid.columns)
    half = np.interp(level, [-1.62, -1.5, -1.35, -0.9], [0.75, 0.56, 0.47, 0.46])
    front = np.interp(level, [-1.62, -1.5, -1.35, -0.9], [0.5, 0.42, 0.38, 0.36])
    return np.stack(np.broadcast_arrays(half * np.sin(angle), level, front * np.cos(angle) - 0.1), axis=-1)


def torso() -> np.ndarray:
    """Vertices `[rows, columns, 3]` of shoulders and chest."""
    grid = grids()["torso"]
    share = np.linspace(0, 1, grid.rows)[:, None]
    angle = np.linspace(-np.pi, np.pi, grid.columns)
    known = np.array([0, 0.08, 0.2, 0.35, 0.5, 0.7, 1.0])
    level = np.interp(share, known, [-1.36, -1.42, -1.5, -1.62, -1.8, -2.3, -3.6])
    half = np.interp(share, known, [0.5, 0.62, 0.95, 1.4, 1.72, 1.9, 1.9])
    depth = np.interp(share, known, [0.40, 0.44, 0.5, 0.55, 0.62, 0.72, 0.75])
    # A neckline that lies lower in front.
    dip = 0.2 * smoothstep(np.cos(angle)) * smoothstep(1 - share / 0.35)
    x, z = half * np.sin(angle), depth * np.cos(angle) - 0.12
    return np.stack(np.broadcast_arrays(x, level - dip, z), axis=-1)


def hair(style: HairStyle, seed: int) -> np.ndarray:
    """Vertices `[rows, columns, 3]` of the hair: from the crown down to the hairline, and hanging at the sides and behind."""
    grid = grids()["hair"]
    random = np.random.default_rng(seed)
    angle = np.linspace(-np.pi, np.pi, grid.columns)
    share = np.linspace(0, 1, grid.rows)[:, None]
    end = _hair_end(style, np.degrees(np.abs(angle))) + 0.02 * random.standard_normal(grid.columns) * (0.5 + style.waves)
    end[-1] = end[0]
    # Thin at the hairline; full where it hangs.
    hanging = smoothstep((0.15 - end) / 0.5)
    edge = 1 - smoothstep((share - 0.55) / 0.45) * (1 - 0.7 * hanging)
    thickness = 0.012 + style.volume * edge + 0.006 * random.standard_normal((1, grid.columns)) * style.waves
    thickness = thickness + 0.02 * style.waves * np.sin(9 * share + 2 * np.cumsum(random.standard_normal(grid.columns))) * share
    level = (1.13 + thickness[0]) * (1 - share**1.35) + end * share**1.35
    surface = skull(np.maximum(level, -0.05), np.broadcast_to(angle, level.shape), thickness)
    surface[..., 1] = level
    below = np.maximum(-0.05 - level, 0)
    surface[..., ::2] *= (1 - 0.08 * below)[..., None]
    if style.volume <= 0:
        surface *= 0.9  # inside the head, out of sight
    return surface


def _hair_end(style: HairStyle, degrees: np.ndarray) -> np.ndarray:
    """Level at which the hair ends, by the angle from the front."""
    sides = np.interp(
        degrees,
        [0, 20, 40, 55, 68, 80, 88, 95, 120, 180],
        [0, 0.01, 0.04, 0.16, 0.34, 0.62, 0.78, 0.66, 1.1, 1.25],
    )
    short = style.hairline - sides
    return short + (np.minimum(style.length, short) - short) * smoothstep((degrees - style.side) / 14)
