"""The neutral head: a skull of rings around the vertical axis, and the features of the face raised on it.

The unit is a decimetre of a real head. x points to the right of the picture, y up, z out of the face; the eyes lie at y = 0.
Features are shaped where they are the same for all heads; what makes one head longer or narrower than another comes last, in
`Proportions.warp`, so that eyes, lids, teeth and lips always fit each other.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.synthetic.topology import HEAD_ANGLES, HEAD_LEVELS, UNDERSIDE

EYE_X = 0.315
MOUTH_Y = -0.72


@dataclass(frozen=True)
class Features:
    """How the features of a face differ from the mean; each 0 in the mean and mostly within -1 to 1."""

    nose_width: float = 0.0
    nose_length: float = 0.0
    nose_height: float = 0.0
    brow_ridge: float = 0.0
    cheeks: float = 0.0
    chin: float = 0.0
    lips: float = 0.0
    eye_opening: float = 0.0
    eye_tilt: float = 0.0


@dataclass(frozen=True)
class Proportions:
    """How a whole head differs from the mean; each 0 in the mean and mostly within -1 to 1."""

    width: float = 0.0
    jaw: float = 0.0
    lower_face: float = 0.0
    forehead: float = 0.0

    def warp(self, points: np.ndarray) -> np.ndarray:
        """Points `[n, 3]` of the mean head moved to this one's proportions; smooth and the same for all parts of the head."""
        x, y, z = points.T
        below = smoothstep((-0.1 - y) / 0.8)
        above = smoothstep((y - 0.15) / 0.8)
        wide = 1 + 0.06 * self.width + 0.08 * self.jaw * below
        tall = y * (1 + 0.07 * self.lower_face * below + 0.06 * self.forehead * above)
        return np.stack([x * wide, tall, z], axis=1)


def smoothstep(values: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(values, 0, 1)
    return clipped * clipped * (3 - 2 * clipped)


def bump(*distances: np.ndarray) -> np.ndarray:
    """exp(-d^2) of distances along several axes, in units of the bump's width."""
    return np.exp(-sum(distance**2 for distance in distances))


def skull(level: np.ndarray, angle: np.ndarray, thickness: np.ndarray | float = 0.0) -> np.ndarray:
    """Points `[..., 3]` of the featureless head at levels y and angles around the vertical axis, 0 in front."""
    half, front, back, centre = _section(level, thickness)
    z = np.where(np.cos(angle) > 0, front, back) * np.cos(angle) + centre
    return np.stack(np.broadcast_arrays(half * np.sin(angle), level, z), axis=-1)


def neutral_head(features: Features) -> np.ndarray:
    """Vertices of the head's grid `[rows, columns, 3]` with lids and lips closed, before the warp to its proportions."""
    levels = HEAD_LEVELS[:, None]
    angle = np.broadcast_to(HEAD_ANGLES, (len(HEAD_LEVELS), len(HEAD_ANGLES)))
    points = skull(levels, angle)
    # The jaw rises from the chin to the ears.
    lower = np.clip((-0.5 - levels) / 0.65, 0, 1)
    points[..., 1] += 0.5 * lower**2 * smoothstep((np.abs(angle) - 0.35) / 1.2)
    for ring, share in enumerate(UNDERSIDE, start=len(HEAD_LEVELS) - len(UNDERSIDE)):
        points[ring, :, ::2] *= share
        points[ring, :, 1] += 0.06 * (1 - share)
    front = smoothstep(np.cos(angle) / 0.5)
    seen = points[: len(HEAD_LEVELS) - len(UNDERSIDE)]
    seen[..., 2] += front[: len(seen)] * _relief(seen[..., 0], seen[..., 1], features)
    return points


def _section(level: np.ndarray, thickness: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Half width, depth in front, depth behind and centre (z) of the horizontal section at each level."""
    level = np.asarray(level, float)
    grown = 1.13 + thickness
    rise = np.clip((level - 0.2) / (grown - 0.2), 0, 1)
    crown = np.sqrt(np.maximum(1 - rise**2.3, 0))
    table = np.array([-1.15, -1.05, -0.9, -0.72, -0.5, -0.25, 0.0, 0.2])
    half = _curve(level, table, [0.49, 0.56, 0.61, 0.65, 0.69, 0.715, 0.735, 0.745])
    front = _curve(level, table, [0.66, 0.75, 0.80, 0.84, 0.85, 0.86, 0.88, 0.90])
    back = _curve(level, table, [0.2, 0.3, 0.4, 0.5, 0.66, 0.84, 0.92, 0.95])
    centre = -0.1 * rise**2
    return (half + thickness) * crown, (front + thickness) * crown, (back + thickness) * crown, centre


def _curve(x: np.ndarray, knots: np.ndarray, values: list[float]) -> np.ndarray:
    """A smooth curve through values at knots (a cubic Hermite spline), constant beyond them: `np.interp` without its kinks."""
    heights = np.array(values)
    slopes = np.gradient(heights, knots)
    x = np.clip(x, knots[0], knots[-1])
    low = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    span = knots[low + 1] - knots[low]
    t = (x - knots[low]) / span
    rise = smoothstep(t)
    bend = t * (1 - t) * span * ((1 - t) * slopes[low] - t * slopes[low + 1])
    return heights[low] + rise * (heights[low + 1] - heights[low]) + bend


def _relief(x: np.ndarray, y: np.ndarray, features: Features) -> np.ndarray:
    """How far the features stand out of the skull along z."""
    side = np.abs(x)
    eye = -0.11 * bump((side - EYE_X) / 0.17, y / 0.12)
    bridge_side = -0.05 * bump((side - 0.15) / 0.08, (y + 0.02) / 0.12)
    brow = (0.035 + 0.02 * features.brow_ridge) * bump((side - 0.27) / 0.22, (y - 0.2) / 0.09)
    cheek = (0.045 + 0.03 * features.cheeks) * bump((side - 0.42) / 0.17, (y + 0.33) / 0.17)
    hollow = -0.03 * bump((side - 0.42) / 0.13, (y + 0.68) / 0.16)
    chin = (0.075 + 0.03 * features.chin) * bump(x / 0.16, (y + 1.03) / 0.1)
    fold = -0.035 * bump(x / 0.2, (y + 0.885) / 0.045)
    muzzle = 0.05 * bump(x / 0.26, (y + 0.7) / 0.18)
    return eye + bridge_side + brow + cheek + hollow + chin + fold + muzzle + _nose(x, y, features) + _lips(x, y, features)


def _nose(x: np.ndarray, y: np.ndarray, features: Features) -> np.ndarray:
    tip_y = -0.4 - 0.04 * features.nose_length
    height = 0.235 + 0.035 * features.nose_height
    along = np.clip((0.12 - y) / (0.12 - tip_y), 0, None)
    ridge = np.where(along < 1, height * smoothstep(along * 0.75) / smoothstep(np.array(0.75)), height)
    ridge = ridge * smoothstep((y - (tip_y - 0.115)) / 0.1)
    width = (0.062 + 0.045 * np.clip(along, 0, 1) ** 2) * (1 + 0.12 * features.nose_width)
    wing = (np.abs(x) - 0.115 * (1 + 0.15 * features.nose_width)) / 0.05
    wings = 0.085 * bump(wing, (y - tip_y + 0.035) / 0.05)
    return ridge * bump(x / width) + wings


def _lips(x: np.ndarray, y: np.ndarray, features: Features) -> np.ndarray:
    full = 1 + 0.25 * features.lips
    across = np.sqrt(np.maximum(1 - (x / 0.27) ** 2, 0))
    upper = 0.05 * full * bump((y - MOUTH_Y - 0.035) / 0.032) * across
    lower = 0.06 * full * bump((y - MOUTH_Y + 0.05) / 0.042) * across
    corner = -0.03 * bump((np.abs(x) - 0.26) / 0.06, (y - MOUTH_Y) / 0.06)
    seam = -0.03 * bump((y - MOUTH_Y) / 0.018) * across
    philtrum = -0.012 * bump(x / 0.03, (y + 0.6) / 0.06)
    return upper + lower + corner + seam + philtrum
