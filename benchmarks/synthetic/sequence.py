"""What a synthetic head does while it talks: sway, speech, blinks and glances."""

import numpy as np

from benchmarks.synthetic.state import State

FRAME_RATE = 25
_BLINK_SECONDS = np.array([0.0, 0.08, 0.12, 0.32])
_BLINK_CLOSED = np.array([0.0, 1.0, 1.0, 0.0])


def talking_sequence(seed: int, frames: int, rate: float = FRAME_RATE) -> list[State]:
    """The states of a head that talks, smooth in time and dependent on the arguments alone.

    Yaw stays within 35 degrees, pitch and roll within 15.

    Args:
        frames: how many.
        rate: frames a second.
    """
    random = np.random.default_rng((seed, 3))
    time = np.arange(frames) / rate
    yaw = np.clip(random.uniform(-14, 14) + random.uniform(6, 22) * _sway(time, random), -35, 35)
    pitch = np.clip(random.uniform(-4, 4) + random.uniform(2, 8) * _sway(time, random), -15, 15)
    roll = np.clip(random.uniform(-3, 3) + random.uniform(2, 8) * _sway(time, random), -15, 15)
    opening, pucker, speaking = _speech(time, random)
    # Speech shakes the head a little.
    pitch = pitch - 1.5 * opening
    x, y, z = (size * _sway(time, random) for size in (0.08, 0.04, 0.25))
    blink = _blinks(time, random)
    gaze_x, gaze_y = _glances(time, 8, random) - 0.3 * yaw, _glances(time, 4, random)
    smile = np.clip(random.uniform(-0.1, 0.5) + 0.3 * _sway(time, random), -0.3, 1)
    brows = np.clip(0.25 * _sway(time, random) + 0.35 * speaking * _sway(time, random), -0.5, 1)
    shift = random.uniform(0, 0.08) * np.stack([_sway(time, random), _sway(time, random)])
    columns = [yaw, pitch, roll, x, y, z, blink, blink, gaze_x, gaze_y, opening, smile, pucker, brows, *shift]
    # Rounded as a file keeps them, so that states read back draw the same pictures.
    return [State.from_array(row) for row in np.stack(columns, axis=1).astype(np.float32)]


def _sway(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Slow smooth noise, mostly within [-1, 1]."""
    slow = random.uniform(0.08, 0.6, 4)
    phases = random.uniform(0, 2 * np.pi, 4)
    return (np.sin(2 * np.pi * slow * time[:, None] + phases) * [0.5, 0.4, 0.3, 0.2]).sum(1)


def _speech(time: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Opening and pucker of the mouth, and 1 where a phrase is spoken: syllables in phrases, with rests between."""
    opening, pucker, speaking = np.zeros((3, len(time)))
    now = random.uniform(-1.5, 0.3)
    while len(time) and now < time[-1]:
        end = now + random.uniform(1.2, 3.5)
        speaking += _pulse(time, now - 0.1, end + 0.1)
        while now < end:
            spread = random.uniform(0.05, 0.09)
            syllable = np.exp(-(((time - now) / spread) ** 2))
            opening = np.maximum(opening, random.uniform(0.12, 0.75) * syllable)
            pucker = np.maximum(pucker, max(0.0, random.uniform(-0.8, 0.8)) * np.exp(-(((time - now) / 0.12) ** 2)))
            now += random.uniform(0.14, 0.3)
        now += random.uniform(0.3, 1.2)
    return opening, pucker, np.minimum(speaking, 1)


def _pulse(time: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 between two times, with soft ends."""
    return 1 / (1 + np.exp(-np.clip((time - start) / 0.08, -50, 50))) / (1 + np.exp(np.clip((time - end) / 0.08, -50, 50)))


def _blinks(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How far the eyes are closed, 0 to 1: a blink every few seconds."""
    closed = np.zeros(len(time))
    now = random.uniform(0, 2.5)
    while len(time) and now < time[-1]:
        closed = np.maximum(closed, np.interp(time - now, _BLINK_SECONDS, _BLINK_CLOSED, left=0, right=0))
        now += random.uniform(1.5, 5)
    return closed


def _glances(time: np.ndarray, size: float, random: np.random.Generator) -> np.ndarray:
    """A direction that rests and jumps, in degrees; `size` is its standard deviation."""
    direction = np.full(len(time), random.normal(0, size))
    now = random.uniform(0.3, 2)
    while len(time) and now < time[-1]:
        share = 1 / (1 + np.exp(-np.clip((time - now) / 0.015, -50, 50)))
        direction = direction + share * (random.normal(0, size) - direction)
        now += random.uniform(0.4, 2.5)
    return np.clip(direction, -2.2 * size, 2.2 * size)
