"""AKD by face-alignment (Bulat and Tzimiropoulos 2017), the paper's judge of motion."""

from functools import cache
from typing import Any

import numpy as np

from mrfa.evaluation.judges.protocol import RECONSTRUCTION, Frames, JudgeUnavailableError, first_line
from mrfa.evaluation.landmark_judge import REFERENCE_SIDE, landmark_distance


class AKDJudge:
    """Average distance of 68 landmarks, in pixels of a picture of 256 x 256; NaN where either picture shows no face."""

    name = "AKD (face-alignment)"
    lower_is_better = True
    protocols = RECONSTRUCTION

    def __init__(self, detector: Any, *, variant: str = "standard") -> None:
        self.detector = detector
        self.measure = landmark_distance(variant)

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`."""
        return np.array([self._distance(made, true) for made, true in zip(frames.generated, frames.driving, strict=True)])

    def _distance(self, generated: np.ndarray, driving: np.ndarray) -> float:
        found, truth = (self.detector.get_landmarks_from_image(picture) for picture in (generated, driving))
        if not found or not truth:
            return float("nan")
        return self.measure(found[0][:, :2], truth[0][:, :2]) * REFERENCE_SIDE / driving.shape[0]


@cache
def load_detector(device: str) -> Any:
    """face-alignment's detector, which fetches its weights when it is first made.

    Raises:
        JudgeUnavailableError: the package or its weights are missing.
    """
    try:
        import face_alignment
    except Exception as error:  # its own requirements fail in many ways
        raise JudgeUnavailableError(f"needs face-alignment: pip install 'mrfa[paper-judges]' ({first_line(error)})") from None
    try:
        return face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D, device=device, flip_input=False)
    except Exception as error:  # no network, or a damaged download
        raise JudgeUnavailableError(f"face-alignment cannot load its weights: {first_line(error)}") from None
