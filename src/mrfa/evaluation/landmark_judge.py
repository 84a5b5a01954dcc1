"""Motion as judged by a landmark detector that the network has never seen at run time."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mrfa.data.landmarks import eye_opening, mouth_opening

# Distances are given as on a picture of this side, whatever the size of the pictures compared.
REFERENCE_SIDE = 256


class LandmarkErrors(NamedTuple):
    """How far a face is from the true one.

    Attributes:
        akd: average keypoint distance over all landmarks, in pixels of a picture of 256 x 256.
        mouth: absolute difference of the mouth openings, in distances of the outer eye corners.
        eye: absolute difference of the eye openings, in the same unit.
    """

    akd: float
    mouth: float
    eye: float


NOT_FOUND = LandmarkErrors(float("nan"), float("nan"), float("nan"))


def judge_landmarks(found: np.ndarray | None, truth: np.ndarray | None, side: int) -> LandmarkErrors:
    """Compare the landmarks `[478, 2]`, in pixels, of a picture with those of the true one.

    Args:
        found: of the picture judged, or None where no face was found in it.
        truth: of the true picture, or None likewise.
        side: side of both pictures in pixels.

    Returns:
        The errors; all NaN where either face is missing.
    """
    if found is None or truth is None:
        return NOT_FOUND
    return LandmarkErrors(
        akd=average_keypoint_distance(found, truth) * REFERENCE_SIDE / side,
        mouth=abs(mouth_opening(found) - mouth_opening(truth)),
        eye=abs(eye_opening(found) - eye_opening(truth)),
    )


def average_keypoint_distance(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean Euclidean distance of two sets of landmarks `[L, 2]`, in their own unit."""
    return float(np.linalg.norm(found - truth, axis=-1).mean())


def landmark_distance(variant: str) -> Callable[[np.ndarray, np.ndarray], float]:
    """How landmarks are compared: by Euclidean distance, or, in the `paper` variant, as the field's public tool does.

    That tool takes the mean absolute difference of the coordinates, about two thirds of the distance.
    """
    if variant == "paper":
        return lambda found, truth: float(np.abs(found - truth).mean())
    return average_keypoint_distance
