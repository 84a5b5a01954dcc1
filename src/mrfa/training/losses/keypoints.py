"""Losses on keypoints: guidance by facial landmarks, and consistency of the generated picture. None of them is in the paper.

Guidance is the way out of the paper's Limitations. The first keypoints are drawn to the means of landmark groups (eyes, lids,
brows, nose, lips, chin, jaw, forehead) that a face-mesh detector found on the training frames beforehand; the others stay
free, or are drawn near places around the face. At run time the network stands alone.

Positions and landmark groups are normalised in the network's coordinates.
"""

import torch
from torch import Tensor

from mrfa.data.guidance import GROUP_INDEX
from mrfa.training.losses.regions import middle_and_up

# Pairs whose distance is what an eye or a mouth says.
OPENINGS = (
    ("right_upper_lid", "right_lower_lid"),
    ("left_upper_lid", "left_lower_lid"),
    ("upper_lip_inner", "lower_lip_inner"),
    ("upper_lip_outer", "lower_lip_outer"),
)
UPPER = [GROUP_INDEX[pair[0]] for pair in OPENINGS]
LOWER = [GROUP_INDEX[pair[1]] for pair in OPENINGS]

# Places around the face, in face heights from its middle: (towards its left, up). Crown, hair, sides, neck, shoulders.
SURROUND = ((0.0, 0.8), (-0.45, 0.6), (0.45, 0.6), (-0.58, 0.0), (0.58, 0.0), (0.0, -0.8), (-0.85, -1.05), (0.85, -1.05))
SURROUND_RADIUS = 0.2
SURROUND_LIMIT = 0.92


def mean_of_found(values: Tensor, found: Tensor) -> Tensor:
    """Mean of `[B]` over the pictures whose faces were found, of bool `[B]`; 0 where there are none."""
    return (values * found).sum() / found.sum().clamp_min(1)


def guidance_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the first G keypoints `[B, K, 2]` to the landmark groups `[B, G, 2]` of pictures with a face."""
    distance = (positions[:, : groups.shape[1]] - groups).abs().mean(dim=(1, 2))
    return mean_of_found(distance, found)


def opening_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """Mean L1 distance of the vectors from upper to lower lids and lips, between keypoints and landmark groups."""
    got, expected = _openings(positions), _openings(groups)
    return mean_of_found((got - expected).abs().mean(dim=(1, 2)), found)


def surround_loss(positions: Tensor, groups: Tensor, found: Tensor) -> Tensor:
    """How far the keypoints after the guided ones are from their places around the face, beyond a radius.

    Without it they gather on the eyes, where the image loss weighs most, and hair and shoulders have no keypoint.
    """
    free = positions[:, groups.shape[1] :][:, : len(SURROUND)]
    places = surround_places(groups)[:, : free.shape[1]]
    height = middle_and_up(groups)[1].norm(dim=-1, keepdim=True)
    excess = ((free - places).norm(dim=-1) - SURROUND_RADIUS * height).clamp_min(0).sum(1) / max(1, free.shape[1])
    return mean_of_found(excess, found)


def surround_places(groups: Tensor) -> Tensor:
    """The places of `SURROUND` `[B, 8, 2]` beside landmark groups `[B, G, 2]`, those outside the picture moved to its border."""
    middle, up = middle_and_up(groups)
    left = torch.stack([-up[:, 1], up[:, 0]], dim=-1)
    places = torch.stack([middle + right * left + above * up for right, above in SURROUND], dim=1)
    return places.clamp(-SURROUND_LIMIT, SURROUND_LIMIT)


def consistency_loss(found: Tensor, expected: Tensor) -> Tensor:
    """Mean L1 distance of keypoints `[B, K, 2]`, and that of the vectors between lids and between lips.

    Keypoints found on a generated picture lie where those of its driving frame do. An image loss hardly sees a lid that is half a
    pixel too low; the detector, which has learned to see it, does. Without guidance keypoints have no names, so the vectors are
    those of whichever keypoints stand in these places.
    """
    error = found - expected
    loss = error.abs().mean()
    if found.shape[1] > max(UPPER + LOWER):
        loss = loss + _openings(error).abs().mean()
    return loss


def _openings(points: Tensor) -> Tensor:
    """Vectors from lower to upper lids and lips, `[B, 4, 2]`, of points `[B, K, 2]`.

    Taken one by one: a list of numbers would have to be copied to the GPU in every step.
    """
    return torch.stack([points[:, upper] - points[:, lower] for upper, lower in zip(UPPER, LOWER, strict=True)], dim=1)
