"""The colours of the head's skin: brows, lids, lips, nostrils, cheeks, beard, scalp."""

import numpy as np

from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.noise import noise
from benchmarks.synthetic.shape import EYE_X, MOUTH_Y, bump, smoothstep

_DARK = np.array([0.1, 0.06, 0.05])


def paint_head(head: SyntheticHead, points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The head's chart, RGB `[h, w, 3]`.

    Args:
        points: `[h, w, 3]`, where each texel lies on the neutral head with lids and lips closed.
    """
    shape = points.shape[:2]
    x, y, z = np.moveaxis(points, -1, 0)
    front = smoothstep(z / 0.3)
    skin = np.array(head.colours.skin)
    colour = np.broadcast_to(skin, points.shape) * (0.94 + 0.12 * noise(shape, 30, random))[..., None]
    colour = _blush(colour, x, y, front, head)
    colour = colour * (1 - front * _shade(x, y, head))[..., None]
    colour = _freckles(colour, x, y, front, head, random)
    strands = 0.55 + 0.9 * noise(shape, 4, random)
    hair, lips = np.array(head.colours.hair), np.array(head.colours.lips)
    colour = _mix(colour, hair * 0.8, _beard(x, y, z, head) * (0.7 + 0.6 * noise(shape, 3, random)))
    colour = _mix(colour, lips * (0.93 + 0.14 * noise(shape, 8, random))[..., None], front * _lips(x, y, head))
    colour = _mix(colour, _DARK, front * _lines(x, y))
    colour = _mix(colour, np.array(head.colours.brows), front * _brows(x, y, head) * strands)
    return _mix(colour, hair * (0.35 + 0.55 * strands)[..., None], _scalp(points, head))


def _lips(x: np.ndarray, y: np.ndarray, head: SyntheticHead) -> np.ndarray:
    """1 on the red of the lips, 0 elsewhere, soft at its border."""
    full = 1 + 0.25 * head.features.lips
    across = np.clip(np.abs(x) / 0.25, 0, 1)
    bow = 1 - 0.12 * bump(x / 0.035) + 0.08 * bump((np.abs(x) - 0.06) / 0.04)
    upper = 0.078 * full * bow * (1 - across**1.6)
    lower = 0.105 * full * (1 - across**2.4)
    height = y - MOUTH_Y
    inside = np.where(height > 0, upper - height, lower + height)
    return smoothstep(0.5 + inside / 0.02) * (np.abs(x) < 0.25)


def _mix(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    return colour + (other - colour) * np.clip(share, 0, 1)[..., None]


def _blush(colour: np.ndarray, x: np.ndarray, y: np.ndarray, front: np.ndarray, head: SyntheticHead) -> np.ndarray:
    red = 0.8 * bump((np.abs(x) - 0.4) / 0.17, (y + 0.36) / 0.16) + 0.7 * bump(x / 0.13, (y + 0.42) / 0.1)
    red = red + 0.4 * bump(x / 0.2, (y + 1.02) / 0.12) + 0.3 * bump((np.abs(x) - EYE_X) / 0.2, (y + 0.03) / 0.1)
    return colour * (1 - (front * head.marks.blush * red)[..., None] * np.array([0.02, 0.16, 0.15]))


def _shade(x: np.ndarray, y: np.ndarray, head: SyntheticHead) -> np.ndarray:
    """How much less light reaches hollows, 0 to 1; faces without it look like plastic."""
    side = np.abs(x)
    tip = -0.4 - 0.04 * head.features.nose_length
    socket = 0.16 * bump((side - 0.24) / 0.13, (y - 0.07) / 0.08) + 0.10 * bump((side - EYE_X) / 0.16, (y + 0.1) / 0.05)
    crease = 0.28 * bump((side - EYE_X) / 0.15, (y - 0.085 + 1.4 * (side - EYE_X) ** 2) / 0.012)
    nose = 0.20 * bump((side - 0.15) / 0.045, (y + 0.2) / 0.2) + 0.30 * bump(side / 0.13, (y - tip + 0.115) / 0.035)
    wing = 0.25 * bump((side - 0.175) / 0.02, (y - tip + 0.03) / 0.05)
    fold = 0.10 * bump((side - 0.22 - 0.35 * np.clip(-0.48 - y, 0, 0.3)) / 0.03, (y + 0.58) / 0.12)
    lips = 0.22 * bump(x / 0.14, (y + 0.865) / 0.035) + 0.18 * bump((side - 0.265) / 0.03, (y - MOUTH_Y) / 0.03)
    philtrum = 0.07 * bump(x / 0.02, (y + 0.6) / 0.05)
    jaw = 0.25 * smoothstep((-1.08 - y) / 0.12)
    return np.clip(socket + crease + nose + wing + fold + lips + philtrum + jaw, 0, 0.7)


def _lines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Lashes, nostrils and the line between the lips."""
    side = np.abs(x)
    across = np.clip(np.abs(side - EYE_X) / 0.165, 0, 1)
    lash = np.where(y > -1e-9, 0.9 * bump(np.maximum(y - 0.004, 0) / 0.016), 0.45 * bump(y / 0.008)) * (1 - across**6)
    nostril = 0.85 * bump((side - 0.07) / 0.034, (y + 0.487) / 0.017)
    seam = 0.6 * bump((y - MOUTH_Y) / 0.006) * (side < 0.25)
    return np.maximum(np.maximum(lash, nostril), seam)


def _brows(x: np.ndarray, y: np.ndarray, head: SyntheticHead) -> np.ndarray:
    side = np.abs(x)
    along = (side - 0.12) / 0.4
    arch = head.marks.brow_height + 0.045 * np.sin(np.clip(along, 0, 1) * 2.4) - 0.04 * np.clip(along, 0, 1.2) ** 3
    half = 0.036 * head.marks.brow_thickness * np.interp(along, [0, 0.15, 0.6, 1.0], [0.75, 1.0, 0.85, 0.3])
    ends = smoothstep(along / 0.12 + 0.3) * smoothstep((1.05 - along) / 0.15)
    return 0.95 * ends * smoothstep(1.4 - np.abs(y - arch) / half)


def _freckles(
    colour: np.ndarray, x: np.ndarray, y: np.ndarray, front: np.ndarray, head: SyntheticHead, random: np.random.Generator
) -> np.ndarray:
    spots = smoothstep((noise(x.shape, 5, random) - 0.78) / 0.2)
    where = bump(x / 0.45, (y + 0.28) / 0.2) * front * head.marks.freckles
    return colour * (1 - (spots * where)[..., None] * np.array([0.3, 0.42, 0.5]))


def _beard(x: np.ndarray, y: np.ndarray, z: np.ndarray, head: SyntheticHead) -> np.ndarray:
    """Density of facial hair, 0 to 1."""
    side = np.abs(x)
    # From the sideburns along the jaw; the cheeks stay free.
    border = -0.25 - 0.45 * smoothstep((z - 0.05) / 0.75) - 0.12 * bump((side - 0.28) / 0.12)
    jaw = smoothstep((border - y) / 0.14) * smoothstep((z + 0.15) / 0.15)
    mouth = bump(np.maximum(side - 0.2, 0) / 0.06, np.maximum(np.abs(y - MOUTH_Y + 0.02) - 0.1, 0) / 0.05)
    moustache = bump(np.maximum(side - 0.2, 0) / 0.06, (y + 0.6) / 0.05)
    beard = jaw * (1 - mouth) + 0.8 * bump(x / 0.12, (y + 0.93) / 0.07)
    return np.maximum(head.marks.beard * np.clip(beard, 0, 1), head.marks.moustache * moustache * (z > 0))


def _scalp(points: np.ndarray, head: SyntheticHead) -> np.ndarray:
    """Density of the hair on the head's own skin."""
    x, y, z = np.moveaxis(points, -1, 0)
    degrees = np.degrees(np.abs(np.arctan2(x, z + 0.05)))
    line = head.hair.hairline - np.interp(degrees, [0, 20, 40, 55, 68, 80, 120, 180], [0, 0.01, 0.04, 0.16, 0.34, 0.7, 1.1, 1.25])
    density = smoothstep((y - line) / 0.1 + 0.7)
    return density * (0.97 if head.hair.volume > 0 else 0.35)
