"""How the skin of the head moves with an expression: lids over eyeballs, jaw and lips, brows."""

from typing import NamedTuple

import numpy as np

from benchmarks.synthetic.shape import EYE_X, MOUTH_Y, Features, bump, neutral_head, smoothstep
from benchmarks.synthetic.state import Expression
from benchmarks.synthetic.topology import EYE_ROW, HEAD_LEVELS, MOUTH_ROW

EYE_RADIUS = 0.19
EYE_CENTRE_Z = 0.60
JAW_DROP = np.array([0.0, -0.3, -0.06])
_LID_THICKNESS = 0.014
_EYE_HALF_WIDTH, _MOUTH_HALF_WIDTH = 0.155, 0.25


class Lids(NamedTuple):
    """The skin around one eye.

    Attributes:
        vertices: int `[n]`, those of the head's grid near the eye.
        centre_x: of the eyeball.
        upper, lower: `[n]`, how far each vertex rises with the upper lid's opening and sinks with the lower lid's.
        closed: `[n]`, shift along y that bends the closed slit.
    """

    vertices: np.ndarray
    centre_x: float
    upper: np.ndarray
    lower: np.ndarray
    closed: np.ndarray


class FaceMotion:
    """The head's grid of one identity and how it deforms; coordinates before the warp to the head's proportions.

    Attributes:
        neutral: `[rows, columns, 3]`, lids and lips closed.
    """

    def __init__(self, features: Features) -> None:
        self.neutral = neutral_head(features)
        self._upper_side = np.arange(len(self.neutral))[:, None] <= np.array([EYE_ROW, MOUTH_ROW])
        self._lids = {name: self._lids_at(side, features) for name, side in (("right", -1), ("left", 1))}
        x, y = self.neutral[..., 0], self.neutral[..., 1]
        front = smoothstep(self.neutral[..., 2] / 0.3)
        self._jaw = (self._jaw_weight(x) * front)[..., None] * JAW_DROP
        self._smile = self._smile_shift(x, y) * front[..., None]
        self._parting = self._parting_shift(x, y) * front[..., None]
        self._pucker = self._pucker_shift(x, y) * front[..., None]
        lift = 0.085 * bump(np.maximum(np.abs(x) - 0.3, 0) / 0.2, np.maximum(np.abs(y - 0.22) - 0.03, 0) / 0.11) * front
        self._brows = np.stack([0 * lift, lift, 0.15 * lift], axis=-1)

    def __call__(self, expression: Expression) -> np.ndarray:
        """Vertices `[rows, columns, 3]` of the head's grid."""
        points = (
            self.neutral
            + expression.mouth_open * self._jaw
            + expression.smile * self._smile
            + max(0.0, expression.smile - 0.3) * self._parting
            + expression.pucker * self._pucker
            + expression.brow_raise * self._brows
        ).reshape(-1, 3)
        for name, blink in (("right", expression.blink_right), ("left", expression.blink_left)):
            self._open_lids(points, self._lids[name], 1 - blink, expression)
        return points.reshape(self.neutral.shape)

    def _open_lids(self, points: np.ndarray, lids: Lids, opening: float, expression: Expression) -> None:
        follow = 1 + 0.012 * expression.gaze_y + 0.12 * expression.brow_raise
        near = points[lids.vertices]
        near[:, 1] += lids.closed + opening * (follow * lids.upper - lids.lower)
        off_axis = (near[:, 0] - lids.centre_x) ** 2 + near[:, 1] ** 2
        radius = EYE_RADIUS + _LID_THICKNESS
        inside = radius**2 - off_axis
        # Beyond its rim the ball must not hold up the temple: it falls away there.
        ball = EYE_CENTRE_Z + np.where(inside > 0, np.sqrt(np.maximum(inside, 0)), 8 * inside)
        near[:, 2] = 0.5 * (near[:, 2] + ball + np.sqrt((near[:, 2] - ball) ** 2 + 0.015**2))
        points[lids.vertices] = near

    def _lids_at(self, side: int, features: Features) -> Lids:
        x, y = self.neutral[..., 0], self.neutral[..., 1]
        start, end = (self._column_at(EYE_ROW, side * EYE_X + way * _EYE_HALF_WIDTH) for way in (-1, 1))
        left, right = x[EYE_ROW, start], x[EYE_ROW, end]
        across = (2 * x - left - right) / (right - left)
        # The upper lid's arch is highest a little to the nose, the lower one's lowest a little to the ear.
        arch = np.maximum(1 - across**2, 0)
        outward = across * side
        tilt = 0.05 * features.eye_tilt * outward * bump(np.maximum(np.abs(across) - 1, 0) / 0.4, y / 0.16)
        upper_side = self._upper_side[:, :1]
        fall = np.where(upper_side, np.maximum(1 - y / 0.25, 0), np.maximum(1 + y / 0.17, 0)) ** 2
        wide = 1 + 0.15 * features.eye_opening
        upper = wide * 0.088 * arch**0.7 * (1 - 0.12 * outward) * fall * upper_side
        lower = wide * 0.030 * arch**0.8 * (1 + 0.2 * outward) * fall * ~upper_side
        closed = -0.025 * arch * fall + tilt
        near = np.flatnonzero((np.hypot(x - side * EYE_X, y) < 0.3) & (self.neutral[..., 2] > 0))
        return Lids(near, side * EYE_X, *(part.ravel()[near] for part in (upper, lower, closed)))

    def _column_at(self, row: int, x: float) -> int:
        distance = np.where(self.neutral[row, :, 2] > 0, np.abs(self.neutral[row, :, 0] - x), np.inf)
        return int(distance.argmin())

    def _across_mouth(self, x: np.ndarray) -> np.ndarray:
        """x in half widths of the mouth: 1 at the corners."""
        return np.abs(x) / np.abs(self.neutral[MOUTH_ROW, self._column_at(MOUTH_ROW, _MOUTH_HALF_WIDTH), 0])

    def _jaw_weight(self, x: np.ndarray) -> np.ndarray:
        """How much of the jaw's drop each vertex shares; differs between the lips, and is the same beyond the corners."""
        across = self._across_mouth(x)
        # By rows, not by y: rows rise towards the ears, and beyond the corners the skin must stay whole.
        y = HEAD_LEVELS[:, None]
        corner = 0.42
        beside = corner * np.where(across < 1, smoothstep(across) ** 2, bump((across - 1) / 1.6))
        above = beside * bump((y - MOUTH_Y) / 0.3) - 0.1 * np.maximum(1 - across**2, 0) * bump((y - MOUTH_Y) / 0.08)
        lip = np.maximum(1 - across**2, 0) ** 0.55
        low = np.maximum(lip, smoothstep((MOUTH_Y - y) / 0.33))
        below = beside + (1 - beside) * low
        return np.where(self._upper_side[:, 1:], above, below)

    def _smile_shift(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        side, across = np.sign(x), self._across_mouth(x)
        pull = np.where(across < 1, smoothstep(across), bump((across - 1) / 0.8)) * bump((y - MOUTH_Y - 0.02) / 0.17)
        cheek = bump((np.abs(x) - 0.42) / 0.16, (y + 0.36) / 0.14)
        middle = bump(x / 0.2, (y - MOUTH_Y) / 0.12)
        lift = 0.075 * pull + 0.035 * cheek - 0.012 * middle
        return np.stack([side * 0.06 * pull, lift, -0.05 * pull + 0.03 * cheek - 0.02 * middle], axis=-1)

    def _parting_shift(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """A broad smile parts the lips."""
        lip = np.maximum(1 - self._across_mouth(x) ** 2, 0) * bump((y - MOUTH_Y) / 0.12)
        return np.stack([0 * x, lip * np.where(self._upper_side[:, 1:], 0.055, -0.04), 0 * x], axis=-1)

    def _pucker_shift(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        around = bump(np.maximum(np.abs(x) - 0.18, 0) / 0.16, (y - MOUTH_Y) / 0.17)
        return np.stack([-0.36 * x * around, 0 * x, 0.09 * around * bump(x / 0.22)], axis=-1)
