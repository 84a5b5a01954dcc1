"""Judges that compare the face meshes of generated and driving frames, by mediapipe: they work offline."""

from collections.abc import Callable, Set

import numpy as np

from mrfa.data.landmarks import eye_opening, mouth_opening
from mrfa.evaluation.judges.face_mesh import FaceMesh
from mrfa.evaluation.judges.protocol import BOTH, RECONSTRUCTION, Frames
from mrfa.evaluation.landmark_judge import REFERENCE_SIDE, landmark_distance

# Landmarks of the generated and of the driving picture, `[478, 3]` each, and the side of the pictures, to a value.
Comparison = Callable[[np.ndarray, np.ndarray, int], float]


class MeshJudge:
    """Compares two meshes a frame; NaN where either picture shows no face."""

    lower_is_better = True

    def __init__(self, name: str, compare: Comparison, faces: FaceMesh, *, protocols: Set[str]) -> None:
        self.name = name
        self.compare = compare
        self.faces = faces
        self.protocols = protocols

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`."""
        return np.array([self._frame(made, true) for made, true in zip(frames.generated, frames.driving, strict=True)])

    def _frame(self, generated: np.ndarray, driving: np.ndarray) -> float:
        found, truth = self.faces(generated), self.faces(driving)
        if found is None or truth is None:
            return float("nan")
        return self.compare(found, truth, driving.shape[0])


def akd_judge(faces: FaceMesh, *, variant: str = "standard") -> MeshJudge:
    """Average keypoint distance over all landmarks, in pixels of a picture of 256 x 256; see `landmark_distance`."""
    measure = landmark_distance(variant)

    def distance(found: np.ndarray, truth: np.ndarray, side: int) -> float:
        return measure(found[:, :2], truth[:, :2]) * REFERENCE_SIDE / side

    return MeshJudge("AKD (mediapipe)", distance, faces, protocols=RECONSTRUCTION)


def mouth_judge(faces: FaceMesh) -> MeshJudge:
    """Difference of the mouth openings, in distances of the outer eye corners."""

    def difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
        return abs(mouth_opening(found[:, :2]) - mouth_opening(truth[:, :2]))

    return MeshJudge("mouth opening (mediapipe)", difference, faces, protocols=BOTH)


def eye_judge(faces: FaceMesh) -> MeshJudge:
    """Difference of the eye openings, in distances of the outer eye corners."""

    def difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
        return abs(eye_opening(found[:, :2]) - eye_opening(truth[:, :2]))

    return MeshJudge("eye opening (mediapipe)", difference, faces, protocols=BOTH)
