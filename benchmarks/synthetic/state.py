"""What a synthetic head does at one moment."""

from dataclasses import astuple, dataclass, field, fields

import numpy as np


@dataclass(frozen=True)
class Pose:
    """Where the head is and how it is turned.

    Seen from the camera x points right, y up and z towards it. The head is turned by Rz(roll) @ Rx(pitch) @ Ry(yaw).

    Attributes:
        yaw: degrees; positive turns the nose to the right of the picture.
        pitch: degrees; positive turns the nose down.
        roll: degrees; positive tilts the head counter-clockwise in the picture.
        x, y: shift of head and shoulders in decimetres of a real head (the eyes are 0.63 apart), right and up.
        z: the same towards the camera.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0

    @property
    def euler(self) -> np.ndarray:
        """float32 `[3]`: yaw, pitch, roll in degrees."""
        return np.array([self.yaw, self.pitch, self.roll], np.float32)

    @property
    def rotation(self) -> np.ndarray:
        """float64 `[3, 3]`: head to camera."""
        (sy, sp, sr), (cy, cp, cr) = (f(np.radians([self.yaw, self.pitch, self.roll])) for f in (np.sin, np.cos))
        about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return about_z @ about_x @ about_y


def euler_degrees(rotation: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll in degrees, float64 `[3]`, of a rotation `[3, 3]`; the inverse of `Pose.rotation` for |pitch| < 90."""
    pitch = np.arcsin(np.clip(rotation[2, 1], -1, 1))
    yaw = np.arctan2(-rotation[2, 0], rotation[2, 2])
    roll = np.arctan2(-rotation[0, 1], rotation[1, 1])
    return np.degrees([yaw, pitch, roll])


@dataclass(frozen=True)
class Expression:
    """What the face does. "Left" and "right" are the person's own.

    Attributes:
        blink_left, blink_right: 0 (open) to 1 (closed).
        gaze_x, gaze_y: degrees; positive looks to the right of the picture, and up.
        mouth_open: 0 (closed) to 1 (wide open).
        smile: -0.5 (corners down) to 1.
        pucker: 0 to 1 (lips pushed forward and together).
        brow_raise: -0.5 (lowered) to 1.
    """

    blink_left: float = 0.0
    blink_right: float = 0.0
    gaze_x: float = 0.0
    gaze_y: float = 0.0
    mouth_open: float = 0.0
    smile: float = 0.0
    pucker: float = 0.0
    brow_raise: float = 0.0


@dataclass(frozen=True)
class State:
    """One moment of a synthetic head.

    Attributes:
        pose: of the head.
        expression: of the face.
        background_x, background_y: shift of the background, right and down, in half pictures; up to 0.1 either way.
    """

    pose: Pose = field(default_factory=Pose)
    expression: Expression = field(default_factory=Expression)
    background_x: float = 0.0
    background_y: float = 0.0

    def to_array(self) -> np.ndarray:
        """float32 `[16]`: pose, expression and background in the order of their fields."""
        return np.array([*astuple(self.pose), *astuple(self.expression), self.background_x, self.background_y], np.float32)

    @classmethod
    def from_array(cls, values: np.ndarray) -> "State":
        """The inverse of `to_array`."""
        numbers = [float(value) for value in values]
        split = len(fields(Pose))
        return cls(Pose(*numbers[:split]), Expression(*numbers[split:-2]), *numbers[-2:])
