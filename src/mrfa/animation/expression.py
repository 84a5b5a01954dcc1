"""A person's shape and a frame's expression, told apart on a face seen from the front.

Both are linear and Gaussian (the two-covariance model of speaker recognition): a person's shape is `s ~ N(mean, B)`, and each of
their frames shows `f = s + e` with `e ~ N(0, W)`. After frames of mean `m` the shape is, most probably,

    s = mean + B (B + W / n)^-1 (m - mean)

where `n` counts frames that are independent of each other; neighbours in a video are not. Of a single portrait the shape is a
guess towards the mean face; over a clip it becomes the person's own mean.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from mrfa.animation.head import HeadPose, face_statistics, fit_pose, seen_from_front
from mrfa.data.guidance import GROUP_INDEX

# So many frames of a video count as one more that is independent; and at most so many frames count.
_FRAMES_ALIKE = 6
_MOST_FRAMES = 120
_ROUNDS = 3
# No eye is narrower; what is no face may have eyes of no width.
_NARROWEST = 1e-3

EYES = ("right", "left")


class Frames(NamedTuple):
    """B frames of one person, taken apart.

    Attributes:
        pose: of the head.
        front: places `[B, G, 2]` in the head's frame.
        shape: the person's, `[G, 2]` or `[B, G, 2]`; `front - shape` is the expression.
    """

    pose: HeadPose
    front: Tensor
    shape: Tensor

    def part(self, pictures: slice) -> "Frames":
        """Some of the frames."""
        shape = self.shape if self.shape.ndim == 2 else self.shape[pictures]
        return Frames(self.pose.part(pictures), self.front[pictures], shape)


class PersonShape:
    """What is known of a person's shape, which grows with their frames."""

    def __init__(self) -> None:
        self._sum = torch.zeros(())
        self._count = 0

    def add(self, front: Tensor) -> None:
        """Learn from frames `[B, G, 2]`."""
        self._sum, self._count = self._sum + front.sum(0), self._count + len(front)

    def estimate(self) -> Tensor:
        """The most probable shape `[G, 2]`; before any frame, the mean face."""
        return face_statistics().mean[:, :2] if self._count == 0 else likely_shape(self._sum / self._count, self._count)


def likely_shape(front: Tensor, count: int) -> Tensor:
    """The most probable shapes `[..., G, 2]` of people whose `count` frames have these means, `[..., G, 2]`."""
    mean = face_statistics(front.device).mean[:, :2]
    gain = _gain(min(count, _MOST_FRAMES), front.device)
    return mean + ((front - mean).flatten(-2) @ gain.T).unflatten(-1, mean.shape)


@cache
def _gain(count: int, device: torch.device) -> Tensor:
    _, between, within = face_statistics()
    independent = 1 + (count - 1) / _FRAMES_ALIKE
    return (between @ torch.linalg.inv(between + within / independent)).to(device)


def take_apart(positions: Tensor, shape: Tensor | None = None, nearby: Tensor | None = None) -> Frames:
    """Pose, shape and expression of frames of one person.

    Args:
        positions: `[B, G, 2]`, float64, in the units of a square picture.
        shape: the person's, `[G, 2]`, or of each frame `[B, G, 2]`; None: found of these frames.
        nearby: of the pose, see `fit_pose`.
    """
    if shape is None:
        frames = take_people_apart(positions[None])
        return frames._replace(shape=frames.shape[0])
    depths = face_statistics(positions.device).mean[:, 2:]
    pose = fit_pose(positions, torch.cat([shape, depths.expand(*shape.shape[:-1], 1)], -1), nearby)
    return Frames(pose, seen_from_front(positions, pose, depths[:, 0]), shape)


def take_people_apart(positions: Tensor) -> Frames:
    """The same for frames of several people at once, n of each of them: `[P, n, G, 2]` to P x n frames, person by person."""
    people, count = positions.shape[:2]
    flat = positions.flatten(0, 1)
    shape, rotation = face_statistics(positions.device).mean[:, :2], None
    for _ in range(_ROUNDS):
        frames = take_apart(flat, shape, rotation)
        rotation = frames.pose.rotation
        shapes = likely_shape(frames.front.unflatten(0, (people, count)).mean(1), count)
        shape = shapes[:, None].expand(-1, count, -1, -1).flatten(0, 1)
    return frames._replace(shape=shape)


def strangeness(expressions: Tensor, other: Tensor) -> Tensor:
    """How much expressions `[B, G, 2]` differ from another, `[G, 2]`: the mean square in standard deviations, `[B]`."""
    difference = (expressions - other).flatten(1)
    return (difference @ _precision() * difference).mean(1)


@cache
def _precision() -> Tensor:
    return torch.linalg.inv(face_statistics().within)


def eye_openings(front: Tensor) -> Tensor:
    """Of the right and the left eye, in widths of that eye: `[..., 2]`."""
    return torch.stack([_gap(front, *_lids(side)) / eye_width(front, side) for side in EYES], -1)


def eye_width(front: Tensor, side: str) -> Tensor:
    """Distance of an eye's corners, `[...]`."""
    return _distance(front, f"{side}_eye_outer", f"{side}_eye_inner")


def gaze(front: Tensor) -> Tensor:
    """How far irises lie beside the middles of their eyes, to the picture's right, in eye widths, both averaged: `[...]`."""
    offsets = []
    for side in EYES:
        outer, inner = (front[..., GROUP_INDEX[f"{side}_eye_{end}"], 0] for end in ("outer", "inner"))
        offsets.append((front[..., GROUP_INDEX[f"{side}_iris"], 0] - (outer + inner) / 2) / eye_width(front, side))
    return torch.stack(offsets, -1).mean(-1)


def mouth_opening(front: Tensor) -> Tensor:
    """Distance of the inner lips in distances of the outer eye corners, `[...]`."""
    return _gap(front, "upper_lip_inner", "lower_lip_inner") / eye_distance(front)


def eye_distance(front: Tensor) -> Tensor:
    """Distance of the outer eye corners, `[...]`."""
    return _distance(front, "left_eye_outer", "right_eye_outer")


def with_openings(front: Tensor, eyes: Tensor, mouth: Tensor) -> Tensor:
    """Faces whose lids and lips are so far open; their middles and the lips' thickness stay.

    Args:
        front: `[..., G, 2]`.
        eyes: `[..., 2]`, as `eye_openings` has them.
        mouth: `[...]`, as `mouth_opening` has it.
    """
    front = front.clone()
    for number, side in enumerate(EYES):
        _open(front, *_lids(side), eyes[..., number] * eye_width(front, side))
    upper, lower = ([GROUP_INDEX[f"{lip}_lip_outer"], GROUP_INDEX[f"{lip}_lip_inner"]] for lip in ("upper", "lower"))
    thickness = [front[..., outer, :] - front[..., inner, :] for outer, inner in (upper, lower)]
    _open(front, "upper_lip_inner", "lower_lip_inner", mouth * eye_distance(front))
    for (outer, inner), thick in zip((upper, lower), thickness, strict=True):
        front[..., outer, :] = front[..., inner, :] + thick
    return front


def with_gaze(front: Tensor, wanted: Tensor) -> Tensor:
    """Faces `[..., G, 2]` whose eyes look so far aside, `[...]`, as `gaze` has it; both irises are shifted alike."""
    front, shift = front.clone(), wanted - gaze(front)
    for side in EYES:
        front[..., GROUP_INDEX[f"{side}_iris"], 0] += shift * eye_width(front, side)
    return front


def _lids(side: str) -> tuple[str, str]:
    return f"{side}_upper_lid", f"{side}_lower_lid"


def _distance(front: Tensor, one: str, other: str) -> Tensor:
    return (front[..., GROUP_INDEX[one], :] - front[..., GROUP_INDEX[other], :]).norm(dim=-1).clamp_min(_NARROWEST)


def _gap(front: Tensor, upper: str, lower: str) -> Tensor:
    return front[..., GROUP_INDEX[lower], 1] - front[..., GROUP_INDEX[upper], 1]


def _open(front: Tensor, upper: str, lower: str, gap: Tensor) -> None:
    up, low = GROUP_INDEX[upper], GROUP_INDEX[lower]
    middle = (front[..., up, 1] + front[..., low, 1]) / 2
    front[..., up, 1], front[..., low, 1] = middle - gap / 2, middle + gap / 2
