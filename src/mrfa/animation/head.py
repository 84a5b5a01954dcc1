"""The head of a face whose keypoints have meaning: a mean face in space, and its pose in a picture.

A model whose detector has `layout: landmarks` puts its first keypoints at the places of `mrfa.faces.landmarks.LANDMARK_GROUPS`.
With these a frame is taken apart (`mrfa.animation.expression` goes on with what is left of it):

    p_k = s (R [f_k, z_k])_xy + t

where `R` turns the head, `s` is its size, `t` its place (weak perspective), `f_k` the keypoint as seen from the front, and `z_k`
the mean face's depth. The head's frame has x to the picture's right, y down, z away from the viewer; its unit is the distance of
the outer eye corners; its origin lies in the mean of the points that hold the pose.
"""

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
_STEPS = 10
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
def face_statistics() -> FaceStatistics:
    """The bundled statistics."""
    tensors = load((resources.files("mrfa") / "assets" / "face_statistics.safetensors").read_bytes())
    return FaceStatistics(*(tensors[name].double() for name in FaceStatistics._fields))


def held_by_skull() -> Tensor:
    """How far each place follows the skull, whatever the face does: `[G]`, 0 to 1."""
    return torch.tensor([_HOLD.get(name.removeprefix("right_").removeprefix("left_"), 1.0) for name in GROUP_INDEX]).double()


def pose_weights() -> Tensor:
    """How much each place counts for the pose, `[G]`, of sum 1."""
    held = held_by_skull()
    return held / held.sum()


def fit_pose(positions: Tensor, face: Tensor) -> HeadPose:
    """The pose in which a face in space comes nearest to places in a picture.

    Minimises `sum_k w_k |p_k - s (R x_k)_xy - t|^2` by Gauss-Newton steps on the rotation, beginning at the frontal pose: `s`
    and `t` have their best values for each rotation in closed form, and a step `d` turns `R` to `exp([d]) R`, where
    `(exp([d]) R x)_xy` changes by `(d_y Y_z - d_z Y_y, d_z Y_x - d_x Y_z)` for `Y = R x`.

    Args:
        positions: `[B, G, 2]`, float64.
        face: `[G, 3]` or `[B, G, 3]`, in the head's frame.
    """
    count = positions.shape[0]
    weights = pose_weights().to(positions)
    face = face.expand(count, -1, 3)
    rotation = torch.eye(3, dtype=positions.dtype).expand(count, 3, 3)
    for _ in range(_STEPS):
        turned, scale, _, left = _placed(positions, face, rotation, weights)
        x, y, z = turned.unbind(-1)
        none = torch.zeros_like(x)
        slopes = torch.stack([torch.stack([none, z, -y], -1), torch.stack([-z, none, x], -1)], -2)  # [B, G, 2, 3]
        slopes = scale[:, None, None, None] * _centred(slopes.flatten(2), weights).unflatten(2, (2, 3))
        sizes = _centred(turned[..., :2], weights)[..., None]
        columns = torch.cat([slopes, sizes], -1)
        weighted = (columns * weights[:, None, None]).flatten(1, 2).transpose(1, 2)
        normal = weighted @ columns.flatten(1, 2) + 1e-9 * torch.eye(4, dtype=positions.dtype)
        step = torch.linalg.solve(normal, weighted @ left.flatten(1, 2)[..., None])[:, :3, 0]
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
    return torch.linalg.matrix_exp(torch.stack(rows, -2))


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


def _centred(values: Tensor, weights: Tensor) -> Tensor:
    return values - (weights[:, None] * values).sum(1, keepdim=True)
