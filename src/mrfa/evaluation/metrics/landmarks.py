"""Metrics of facial landmarks, by mediapipe's face mesh, which is bundled, and by face-alignment, which the paper takes."""

import hashlib
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from mrfa.evaluation.metrics.metric import Measure, MetricUnavailableError, first_line, per_frame
from mrfa.faces.landmarks import FaceLandmarker, eye_opening, mouth_opening

# Distances are given as on a picture of this side, whatever the size of the pictures compared.
REFERENCE_SIDE = 256
REMEMBERED = 4096

# Landmarks of the generated and of the driving picture, `[478, 3]` each in pixels, and the side of the pictures, to a value.
Comparison = Callable[[np.ndarray, np.ndarray, int], float]


class FaceMesh:
    """Landmarks of pictures, remembered for the last few thousand of them: each is looked at once, whatever asks."""

    def __init__(self) -> None:
        self.landmarker = FaceLandmarker(static=True)
        self.known: dict[bytes, np.ndarray | None] = {}

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        """Landmarks `[478, 3]` of a uint8 RGB picture, in pixels (x right, y down, z away), or None without a face."""
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        if key not in self.known:
            if len(self.known) >= REMEMBERED:
                self.known.clear()
            self.known[key] = self.landmarker.in_space(picture)
        return self.known[key]


@cache
def shared_face_mesh() -> FaceMesh:
    """The one of this process."""
    return FaceMesh()


def compare_meshes(compare: Comparison, faces: FaceMesh) -> Measure:
    """A measure that compares two meshes a frame; NaN where either picture shows no face."""

    def compared(generated: np.ndarray, driving: np.ndarray) -> float:
        found, truth = faces(generated), faces(driving)
        return math.nan if found is None or truth is None else compare(found, truth, driving.shape[0])

    return per_frame(compared)


def akd(variant: str) -> Comparison:
    """Average keypoint distance over all landmarks, in pixels of a picture of 256 x 256.

    In the `paper` variant it is the mean absolute difference of the coordinates, about two thirds of the distance, as the
    field's public tool has it.
    """

    def distance(found: np.ndarray, truth: np.ndarray, side: int) -> float:
        apart = (found[:, :2] - truth[:, :2]) * REFERENCE_SIDE / side
        return float(np.abs(apart).mean() if variant == "paper" else np.linalg.norm(apart, axis=-1).mean())

    return distance


def mouth_difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
    """Difference of the mouth openings, in distances of the outer eye corners."""
    return abs(mouth_opening(found[:, :2]) - mouth_opening(truth[:, :2]))


def eye_difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
    """Difference of the eye openings, in distances of the outer eye corners."""
    return abs(eye_opening(found[:, :2]) - eye_opening(truth[:, :2]))


def lost_faces(faces: FaceMesh) -> Measure:
    """1 where the driving frame shows a face and the generated one none, 0 where both do, NaN where the first shows none."""

    def lost(generated: np.ndarray, driving: np.ndarray) -> float:
        return math.nan if faces(driving) is None else float(faces(generated) is None)

    return per_frame(lost)


def face_alignment_akd(detector: Any, variant: str) -> Measure:
    """AKD of 68 landmarks by face-alignment (Bulat and Tzimiropoulos 2017); NaN where either picture shows no face."""
    distance = akd(variant)

    def compared(generated: np.ndarray, driving: np.ndarray) -> float:
        found, truth = (detector.get_landmarks_from_image(picture) for picture in (generated, driving))
        return distance(found[0], truth[0], driving.shape[0]) if found and truth else math.nan

    return per_frame(compared)


@cache
def load_face_alignment(device: str) -> Any:
    """face-alignment's detector, which fetches its weights when it is first made.

    Raises:
        MetricUnavailableError: the package or its weights are missing.
    """
    try:
        import face_alignment
    except Exception as error:  # its own requirements fail in many ways
        raise MetricUnavailableError(f"needs face-alignment: pip install 'mrfa[paper-metrics]' ({first_line(error)})") from None
    try:
        return face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device, flip_input=False)
    except Exception as error:  # no network, or a damaged download
        raise MetricUnavailableError(f"face-alignment cannot load its weights: {first_line(error)}") from None
