"""The head of a face whose keypoints have meaning: a mean face in space, and its pose in a picture.

A model whose detector has `layout: landmarks` puts its first keypoints at the places of `mrfa.faces.landmarks.LANDMARK_GROUPS`.
With these a frame is taken apart (`mrfa.animation.expression` goes on with what is left of it):

    p_k = s (R [f_k, z_k])_xy + t

where `R` turns the head, `s` is its size, `t` its place (weak perspective), `f_k` the keypoint as seen from the front, and `z_k`
the mean face's depth. The head's frame has x to the picture's right, y down, z away from the viewer; its unit is the distance of
the outer eye corners; its origin lies in the mean of the points that hold the pose.
"""

import math
from functools import cache
from importlib import resources
from typing import NamedTuple

import torch
from safetensors.torch import load
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX
from mrfa.network.geometry import invert_2x2

# How far a place follows the skull, 1 where it is not named: lids, lips, chin and brows move by themselves, eyeballs turn.
_HOLD = {
    "upper_lid": 0.05,
    "lower_lid": 0.2,
    "brow_inner": 0.05,
    "brow_outer": 0.1,
    "mouth_corner": 0.1,
    "upper_lip_outer": 0.1,
    "upper_lip_inner": 0.1,
    "lower_lip_inner": 0.02,
    "lower_lip_outer": 0.02,
    "chin": 0.02,
    "jaw": 0.3,
    "forehead": 0.7,
    "iris": 0.0,
}
_STEPS, _STEPS_NEARBY = 10, 3
_SMALLEST = 1e-6
_LONGEST_STEP = 0.4  # radians an axis


class HeadPose(NamedTuple):
    """Of B heads.

    Attributes:
        rotation: `[B, 3, 3]`, from the head's frame to the picture's.
        scale: `[B]`, distance of the outer eye corners, in the picture's units.
        place: `[B, 2]`, of the head frame's origin, in the picture.
    """

    rotation: Tensor
    scale: Tensor
    place: Tensor

    def part(self, heads: slice) -> "HeadPose":
        """Those of some of the heads."""
        return HeadPose(self.rotation[heads], self.scale[heads], self.place[heads])

    @property
    def linear(self) -> Tensor:
        """What the pose does to small pictures on the face's front, `[B, 2, 2]`."""
        return self.scale[:, None, None] * self.rotation[:, :2, :2]


class FaceStatistics(NamedTuple):
    """What faces are like; all float64, see `benchmarks/face_statistics.py`.

    Attributes:
        mean: `[G, 3]`, the mean face, symmetric and upright.
        between: `[2 G, 2 G]`, covariance of people's mean faces as seen from the front.
        within: `[2 G, 2 G]`, covariance of a person's frames around their mean.
    """

    mean: Tensor
    between: Tensor
    within: Tensor


@cache
def face_statistics(device: torch.device | str = "cpu") -> FaceStatistics:
    """The bundled statistics, copied to a device once: a GPU need not stop for them."""
    tensors = load((resources.files("mrfa") / "assets" / "face_statistics.safetensors").read_bytes())
    return FaceStatistics(*(tensors[name].double().to(device) for name in FaceStatistics._fields))


@cache
def held_by_skull(device: torch.device | str = "cpu") -> Tensor:
    """How far each place follows the skull, whatever the face does: `[G]`, 0 to 1, float64."""
    held = [_HOLD.get(name.removeprefix("right_").removeprefix("left_"), 1.0) for name in GROUP_INDEX]
    return torch.tensor(held, dtype=torch.float64, device=device)


def pose_weights(device: torch.device | str = "cpu") -> Tensor:
    """How much each place counts for the pose, `[G]`, of sum 1."""
    held = held_by_skull(device)
    return held / held.sum()


def fit_pose(positions: Tensor, face: Tensor, nearby: Tensor | None = None) -> HeadPose:
    """The pose in which a face in space comes nearest to places in a picture.

    Minimises `sum_k w_k |p_k - s (R x_k)_xy - t|^2` by Gauss-Newton steps on the rotation, beginning at a pose nearby: `s`
    and `t` have their best values for each rotation in closed form, and a step `d` turns `R` to `exp([d]) R`, where
    `(exp([d]) R x)_xy` changes by `(d_y Y_z - d_z Y_y, d_z Y_x - d_x Y_z)` for `Y = R x`. Nothing waits for the device.

    Args:
        positions: `[B, G, 2]`, float64.
        face: `[G, 3]` or `[B, G, 3]`, in the head's frame.
        nearby: rotations `[B, 3, 3]` that are nearly right, where they are known: then few steps will do; None: frontal poses.
    """
    count = positions.shape[0]
    weights = pose_weights(positions.device).to(positions)
    face = face.expand(count, -1, 3)
    frontal = torch.eye(3, dtype=positions.dtype, device=positions.device).expand(count, 3, 3)
    rotation = frontal if nearby is None else nearby
    for _ in range(_STEPS if nearby is None else _STEPS_NEARBY):
        turned, scale, _, left = _placed(positions, face, rotation, weights)
        x, y, z = turned.unbind(-1)
        none = torch.zeros_like(x)
        slopes = torch.stack([torch.stack([none, z, -y], -1), torch.stack([-z, none, x], -1)], -2)  # [B, G, 2, 3]
        slopes = scale[:, None, None, None] * _centred(slopes.flatten(2), weights).unflatten(2, (2, 3))
        step = _least_squares(slopes, _centred(turned[..., :2], weights), left, weights)
        rotation = rotation_of(step.clamp(-_LONGEST_STEP, _LONGEST_STEP)) @ rotation
    _, scale, place, _ = _placed(positions, face, rotation, weights)
    return HeadPose(rotation, scale, place)


def seen_from_front(positions: Tensor, pose: HeadPose, depths: Tensor) -> Tensor:
    """Places `[B, G, 2]` in pictures as `f` in the head's frame, for depths `[G]`."""
    flat = (positions - pose.place[:, None]) / pose.scale[:, None, None] - pose.rotation[:, None, :2, 2] * depths[:, None]
    return (invert_2x2(pose.rotation[:, :2, :2])[:, None] @ flat[..., None])[..., 0]


def project(front: Tensor, pose: HeadPose, depths: Tensor) -> Tensor:
    """The inverse of `seen_from_front`."""
    face = torch.cat([front, depths[:, None].expand(*front.shape[:-1], 1)], -1)
    turned = face @ pose.rotation.transpose(-1, -2)
    return pose.scale[:, None, None] * turned[..., :2] + pose.place[:, None]


def rotation_of(vector: Tensor) -> Tensor:
    """Rotations `[B, 3, 3]` about axes by angles in radians, `[B, 3]`."""
    x, y, z = vector.unbind(-1)
    none = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((none, -z, y), (z, none, -x), (-y, x, none))]
    cross = torch.stack(rows, -2)
    # Rodrigues' formula, 1 + sin(a) / a K + (1 - cos(a)) / a^2 K^2.
    turns = (vector.norm(dim=-1) / math.pi)[..., None, None]
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + torch.sinc(turns) * cross + torch.sinc(turns / 2).square() / 2 * (cross @ cross)


def vector_of(rotation: Tensor) -> Tensor:
    """Axes by angles `[B, 3]` of rotations `[B, 3, 3]`, for angles below half a turn."""
    odd = (
        torch.stack(
            [rotation[:, 2, 1] - rotation[:, 1, 2], rotation[:, 0, 2] - rotation[:, 2, 0], rotation[:, 1, 0] - rotation[:, 0, 1]],
            -1,
        )
        / 2
    )
    sine, cosine = odd.norm(dim=-1), (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    angle = torch.atan2(sine, cosine)
    return odd * torch.where(sine > 1e-9, angle / sine.clamp_min(1e-9), torch.ones_like(sine))[:, None]


def _placed(positions: Tensor, face: Tensor, rotation: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The turned face, and for it the best scale, place, and what is left of the centred positions."""
    turned = face @ rotation.transpose(1, 2)
    flat, target = _centred(turned[..., :2], weights), _centred(positions, weights)
    scale = (weights * (flat * target).sum(-1)).sum(1) / (weights * flat.square().sum(-1)).sum(1).clamp_min(_SMALLEST)
    scale = scale.clamp_min(_SMALLEST)
    left = target - scale[:, None, None] * flat
    centres = ((weights[:, None] * points).sum(1) for points in (positions, turned[..., :2]))
    middle, origin = centres
    return turned, scale, middle - scale[:, None] * origin, left


def _least_squares(slopes: Tensor, sizes: Tensor, left: Tensor, weights: Tensor) -> Tensor:
    """The step `[B, 3]` along slopes `[B, G, 2, 3]` that with a change of the size, along `[B, G, 2]`, comes nearest to what is
    left, `[B, G, 2]`."""
    root = weights.sqrt()[:, None]
    size, target, slope = (root * sizes).flatten(1), (root * left).flatten(1), (root[..., None] * slopes).flatten(1, 2)
    # Without what a change of the size can do by itself.
    slope = slope - size[..., None] * ((size[:, None] @ slope) / size.square().sum(1).clamp_min(_SMALLEST)[:, None, None])
    one, two, three = (slope.transpose(1, 2) @ slope + 1e-9 * torch.eye(3, dtype=slope.dtype, device=slope.device)).unbind(1)
    adjugate = torch.stack([torch.linalg.cross(two, three), torch.linalg.cross(three, one), torch.linalg.cross(one, two)], 1)
    determinant = (one * adjugate[:, 0]).sum(1, keepdim=True)
    return (adjugate @ (slope.transpose(1, 2) @ target[..., None]))[..., 0] / determinant


def _centred(values: Tensor, weights: Tensor) -> Tensor:
    return values - (weights[:, None] * values).sum(1, keepdim=True)
