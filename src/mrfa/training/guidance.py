"""Guidance of keypoints by facial landmarks (the way out of the paper's Limitations).

The first keypoints are drawn to the means of landmark groups (eyes, lids, brows, nose, lips, chin, jaw, forehead) that a
face-mesh detector found on the training frames beforehand; the others stay free, or are drawn near places around the face.
At run time the network stands alone.
"""

import torch
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX


def guidance_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the first G keypoints `[B, K, 2]` to the landmark groups `[B, G, 2]` of frames with a face."""
    count = groups.shape[1]
    distance = (positions[:, :count] - groups).abs().mean(dim=(1, 2))
    return mean_of_found(distance, found)


def mean_of_found(values: Tensor, found: Tensor) -> Tensor:
    """Mean of `[B]` over the pairs whose faces were found, of bool `[B]`; 0 where there are none."""
    return (values * found).sum() / found.sum().clamp_min(1)


# Pairs whose distance is what an eye or a mouth says.
OPENINGS = (
    ("right_upper_lid", "right_lower_lid"),
    ("left_upper_lid", "left_lower_lid"),
    ("upper_lip_inner", "lower_lip_inner"),
    ("upper_lip_outer", "lower_lip_outer"),
)


def opening_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the vectors from upper to lower lids and lips, between keypoints and landmark groups."""
    upper = [GROUP_INDEX[pair[0]] for pair in OPENINGS]
    lower = [GROUP_INDEX[pair[1]] for pair in OPENINGS]
    got, expected = (points[:, upper] - points[:, lower] for points in (positions, groups))
    return mean_of_found((got - expected).abs().mean(dim=(1, 2)), found)


# Places around the face, in face heights from its middle: (towards its left, up). Crown, hair, sides, neck, shoulders.
SURROUND = ((0.0, 0.8), (-0.45, 0.6), (0.45, 0.6), (-0.58, 0.0), (0.58, 0.0), (0.0, -0.8), (-0.85, -1.05), (0.85, -1.05))
SURROUND_RADIUS = 0.2


def surround_places(groups: Tensor) -> Tensor:
    """The places of `SURROUND` `[B, 8, 2]` beside landmark groups `[B, G, 2]`, those outside the picture moved to its border."""
    middle, up = middle_and_up(groups)
    left = torch.stack([-up[:, 1], up[:, 0]], dim=-1)
    units = torch.stack([left, up], dim=1)
    places = torch.tensor(SURROUND, device=groups.device, dtype=groups.dtype) @ units
    return (places + middle[:, None]).clamp(-0.92, 0.92)


def surround_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """How far the keypoints after the guided ones are from their places around the face, beyond a radius.

    Without it they gather on the eyes, where the image loss weighs most, and hair and shoulders have no keypoint.
    """
    free = positions[:, groups.shape[1] :][:, : len(SURROUND)]
    places = surround_places(groups)[:, : free.shape[1]]
    height = middle_and_up(groups)[1].norm(dim=-1, keepdim=True)
    excess = ((free - places).norm(dim=-1) - SURROUND_RADIUS * height).clamp_min(0).sum(1) / max(1, free.shape[1])
    return mean_of_found(excess, found)


def middle_and_up(groups: Tensor) -> tuple[Tensor, Tensor]:
    """The middle between forehead and chin, and the way from chin to forehead, which is as long as the face: both `[B, 2]`."""
    forehead, chin = groups[:, GROUP_INDEX["forehead"]], groups[:, GROUP_INDEX["chin"]]
    return (forehead + chin) / 2, forehead - chin
