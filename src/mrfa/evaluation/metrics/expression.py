"""AUH (mediapipe): how many facial actions differ, each present or absent by a threshold on landmark distances.

The paper takes the action units of py-feat instead (supplement, "AUH"). These actions are coarser and their thresholds
our own: figures of the two must not be compared.
"""

import numpy as np

ACTIONS = (
    "right eye closed",
    "left eye closed",
    "right eye wide",
    "left eye wide",
    "mouth open",
    "mouth wide open",
    "mouth stretched",
    "mouth puckered",
    "lip corners raised",
    "lip corners lowered",
    "brows raised",
    "brows lowered",
)


def actions(landmarks: np.ndarray) -> np.ndarray:
    """Which of `ACTIONS` a face shows: bool `[12]`.

    The thresholds lie near the tenth part of the frames of talking people that show each action most.

    Args:
        landmarks: `[478, 2]` or `[478, 3]`, of which x and y count, in any unit.
    """
    points = landmarks[:, :2].astype(np.float64)

    def distance(a: int, b: int) -> float:
        return float(np.linalg.norm(points[a] - points[b]))

    eyes = max(distance(33, 263), 1e-6)
    right = distance(159, 145) / max(distance(33, 133), 1e-6)
    left = distance(386, 374) / max(distance(362, 263), 1e-6)
    opening = distance(13, 14) / max(distance(78, 308), 1e-6)
    width = distance(61, 291) / eyes
    up = points[10] - points[152]
    up = up / max(float(np.linalg.norm(up)), 1e-6)
    corners = float(((points[61] + points[291]) - (points[13] + points[14])) @ up) / 2 / eyes
    brows = (distance(105, 159) + distance(334, 386)) / 2 / eyes
    return np.array(
        [
            right < 0.14,
            left < 0.14,
            right > 0.41,
            left > 0.41,
            opening > 0.1,
            opening > 0.4,
            width > 0.69,
            width < 0.48,
            corners > 0.06,
            corners < -0.03,
            brows > 0.31,
            brows < 0.2,
        ]
    )


def action_difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
    """Hamming distance of the actions of faces with landmarks `[478, 3]`: how many differ, 0 to 12."""
    return float((actions(found) != actions(truth)).sum())
