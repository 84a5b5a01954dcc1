"""Steadier motion: the noise of a driver's keypoints is taken out, and fast motion, such as a blink, hardly slowed down.

The One Euro filter (Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012) is a first-order low pass whose cutoff rises with speed. Values `x` that come `dt` seconds after
those before become

    v <- v + a(f_v) ((x - y) / dt - v)                    the smoothed velocity, away from the last smoothed values `y`
    y <- y + a(f) (x - y),   f = (f_0 + b |v|) / strength
    a(f) = 1 / (1 + 1 / (2 pi f dt))

so what is still is averaged over `strength / (2 pi f_0)` seconds, and what moves fast over hardly any. It goes by time stamps,
however unevenly they lie, and a strength of 0 changes nothing.

A head moves slowly and as a whole, lids and lips fast and by themselves. So a frame's keypoints are taken apart into their common
shift, turn and size, and the places that are left, and both are filtered. Maps follow their keypoints.

A filter of frames as they come lags, by about a third of a frame at strength 1. Where the clip is known it is filtered from its
beginning and from its end, and the mean of both does not lag: a clip that is played backwards gives the same.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mrfa.errors import InputError
from mrfa.network.geometry import invert_2x2
from mrfa.network.keypoints import Keypoints

# Cutoffs in Hz at strength 1: of what is still, and of the velocity.
_STILL, _VELOCITY = 1.0, 4.0
# By how many Hz the cutoff rises with the speed, in halves of the picture a second.
_SPEED = 40.0
_FLAT = 1e-6


class OneEuro:
    """Smooths a stream of vectors.

    Args:
        strength: 0 (nothing is changed) to 1.
        measured: so many of the vectors' first components tell their speed.
    """

    def __init__(self, strength: float, measured: int) -> None:
        self._strength, self._measured = strength, measured
        self._time = 0.0
        self._smoothed: Tensor | None = None
        self._velocity: Tensor | float = 0.0

    def __call__(self, values: Tensor, times: Sequence[float]) -> Tensor:
        """Those of B frames, `[B, ..., D]`, that follow those before; `times` in seconds, rising."""
        return torch.stack([self._next(value, time) for value, time in zip(values, times, strict=True)])

    def _next(self, value: Tensor, time: float) -> Tensor:
        if self._smoothed is not None:
            step = time - self._time
            away = value - self._smoothed
            acceleration = away[..., : self._measured] / step - self._velocity
            self._velocity = self._velocity + acceleration / (1 + 1 / (2 * math.pi * _VELOCITY * step))
            cutoff = _STILL + _SPEED * self._velocity.norm(dim=-1, keepdim=True)
            value = self._smoothed + away / (1 + self._strength / (2 * math.pi * step * cutoff))
        self._time, self._smoothed = time, value
        return value


class SmoothMotion:
    """Smooths a stream of keypoints as they come.

    Args:
        strength: 0 (nothing is changed) to 1.

    Raises:
        InputError: the strength is out of range.
    """

    def __init__(self, strength: float) -> None:
        check_strength(strength)
        self._strength = strength
        self._head, self._places = OneEuro(strength, 4), OneEuro(strength, 2)
        self._reference: Tensor | None = None

    def __call__(self, keypoints: Keypoints, times: Sequence[float]) -> Keypoints:
        """Keypoints of B frames, positions `[B, K, 2]`, that follow those before; `times` in seconds, rising."""
        if self._strength == 0:
            return keypoints
        centres = keypoints.positions.mean(1, keepdim=True)
        places = keypoints.positions - centres
        if self._reference is None:
            self._reference = places[:1]
        turns = _turns(self._reference, places)
        back = invert_2x2(_matrices(turns))
        values = (back @ places[..., None])[..., 0]
        if keypoints.affine is not None:
            values = torch.cat([values, (back @ keypoints.affine).flatten(2)], -1)
        centres, turns = self._head(torch.cat([centres, turns], -1), times).split(2, -1)
        values, there = self._places(values, times), _matrices(turns)
        affine = None if keypoints.affine is None else there @ values[..., 2:].unflatten(-1, (2, 2))
        return Keypoints(centres + (there @ values[..., :2, None])[..., 0], affine)


def smooth_clip(keypoints: Keypoints, times: Sequence[float], strength: float) -> Keypoints:
    """A whole clip's keypoints, positions `[T, K, 2]`, smoothed without lag; `times` in seconds, rising.

    Raises:
        InputError: the strength is out of range.
    """
    forwards = SmoothMotion(strength)(keypoints, times)
    backwards = _reversed(SmoothMotion(strength)(_reversed(keypoints), [-time for time in reversed(times)]))
    affine = None
    if forwards.affine is not None and backwards.affine is not None:
        affine = (forwards.affine + backwards.affine) / 2
    return Keypoints((forwards.positions + backwards.positions) / 2, affine)


def check_strength(strength: float) -> None:
    """Check a strength.

    Raises:
        InputError: it is out of range.
    """
    if not 0 <= strength <= 1:
        raise InputError(f"the strength of smoothing must be 0 to 1, got {strength:g}")


def _turns(reference: Tensor, places: Tensor) -> Tensor:
    """The turns and sizes, (cosine, sine) times size, `[B, 1, 2]`, that bring centred places `[1, K, 2]` nearest to others,
    `[B, K, 2]`."""
    along = (reference * places).sum((1, 2))
    across = (reference[..., 0] * places[..., 1] - reference[..., 1] * places[..., 0]).sum(1)
    return (torch.stack([along, across], -1) / reference.square().sum((1, 2)).clamp_min(_FLAT)[:, None])[:, None]


def _matrices(turns: Tensor) -> Tensor:
    """What turns and sizes do to places, `[B, 1, 2]` to `[B, 1, 2, 2]`."""
    cosine, sine = turns.unbind(-1)
    return torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)


def _reversed(keypoints: Keypoints) -> Keypoints:
    return Keypoints(keypoints.positions.flip(0), None if keypoints.affine is None else keypoints.affine.flip(0))
