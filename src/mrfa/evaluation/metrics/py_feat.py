"""ARD and AUH by py-feat (Cheong et al. 2023), the paper's tool (supplement): head angles and action units."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mrfa.data.tensors import to_tensor
from mrfa.evaluation.metrics.head_pose import mean_turn
from mrfa.evaluation.metrics.metric import Measure, MetricUnavailableError, first_line

ANGLES = ("Yaw", "Pitch", "Roll")
BATCH = 8
# Action units come as probabilities; one is active from here on.
ACTIVE = 0.5


class Found(NamedTuple):
    """Of F frames: angles in degrees, `[F, 3]`, and which units are active, `[F, A]` of 0 and 1; NaN without a face."""

    angles: np.ndarray
    units: np.ndarray


class PyFeat:
    """py-feat's detector, asked once for both metrics: what it found last is remembered."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self.recent: list[tuple[np.ndarray, Found]] = []

    def __call__(self, pictures: np.ndarray) -> Found:
        """What is found in uint8 RGB pictures `[F, H, W, 3]`; of several faces, the surest."""
        for known, found in self.recent:
            if known is pictures:
                return found
        # It takes pictures in [0, 255], and gives angles in radians.
        table = self.detector.detect(to_tensor(pictures) * 255, data_type="tensor", batch_size=BATCH, progress_bar=False)
        units = [name for name in table.columns if name.startswith("AU")]
        rows = np.stack([np.asarray(table[name], np.float64) for name in (*ANGLES, *units)], axis=1)
        values = np.full((len(pictures), rows.shape[1]), np.nan)
        frames = np.asarray(table["frame"], int)
        for row in np.argsort(np.asarray(table["FaceScore"], np.float64)):
            values[frames[row]] = rows[row]
        angles, chances = np.degrees(values[:, :3]), values[:, 3:]
        found = Found(angles, np.where(np.isnan(chances), np.nan, chances >= ACTIVE))
        self.recent = [*self.recent[-1:], (pictures, found)]
        return found


def angle_distance(faces: PyFeat) -> Measure:
    """ARD: mean absolute difference of yaw, pitch and roll, in degrees; NaN where either picture shows no face."""
    return lambda frames: mean_turn(faces(frames.generated).angles, faces(frames.driving).angles)


def unit_distance(faces: PyFeat) -> Measure:
    """AUH: Hamming distance of the action units, how many are active in one of the two faces only; NaN likewise."""
    return lambda frames: np.abs(faces(frames.generated).units - faces(frames.driving).units).sum(axis=1)


@cache
def load_py_feat(device: str) -> PyFeat:
    """py-feat's img2pose and its gradient-boosted trees; it fetches their weights when it is first made.

    Raises:
        MetricUnavailableError: the package or its weights are missing.
    """
    try:
        from feat import Detectorv1
    except Exception as error:  # its own requirements fail in many ways
        what = "needs py-feat 2.1 or later: pip install 'mrfa[paper-metrics]'"
        raise MetricUnavailableError(f"{what} ({first_line(error)})") from None
    try:
        return PyFeat(
            Detectorv1(
                face_model="img2pose", au_model="xgb", emotion_model=None, identity_model=None, gaze_model=None, device=device
            )
        )
    except Exception as error:  # no network, or a damaged download
        raise MetricUnavailableError(
            f"py-feat cannot load its models, run it once where there is a network: {first_line(error)}"
        ) from None
