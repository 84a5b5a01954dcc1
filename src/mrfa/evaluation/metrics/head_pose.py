"""ARD (mediapipe): average rotation distance, from a rigid fit of a mean face to the mesh's landmarks in space.

The paper takes the Euler angles of py-feat instead (supplement, "ARD").
"""

import numpy as np

# A frontal mean face at landmarks that hardly move with the expression: x right, y down, z away, of unit spread. Measured as the
# Procrustes mean over 114 people, made symmetrical, its line from forehead to nose base upright.
_HALF = {
    (33, 263): (-0.773, -0.105, 0.068),
    (133, 362): (-0.307, -0.070, -0.021),
    (127, 356): (-1.217, -0.139, 0.923),
    (234, 454): (-1.207, 0.102, 1.026),
    (93, 323): (-1.191, 0.357, 1.058),
    (50, 280): (-0.840, 0.480, 0.029),
    (101, 330): (-0.593, 0.363, -0.072),
    (205, 425): (-0.691, 0.640, -0.042),
    (98, 327): (-0.302, 0.701, -0.180),
    (109, 338): (-0.323, -0.950, -0.285),
    (67, 297): (-0.599, -0.921, -0.171),
    (54, 284): (-1.027, -0.726, 0.261),
}
_MIDDLE = {
    10: (-0.953, -0.315),
    151: (-0.680, -0.351),
    9: (-0.392, -0.371),
    8: (-0.249, -0.335),
    168: (-0.118, -0.314),
    6: (0.027, -0.375),
    197: (0.161, -0.447),
    195: (0.290, -0.528),
    5: (0.426, -0.611),
    4: (0.579, -0.637),
    1: (0.688, -0.589),
    2: (0.758, -0.315),
}
MEAN_FACE: dict[int, tuple[float, float, float]] = {
    **{right: (x, y, z) for (right, _), (x, y, z) in _HALF.items()},
    **{left: (-x, y, z) for (_, left), (x, y, z) in _HALF.items()},
    **{index: (0.0, y, z) for index, (y, z) in _MIDDLE.items()},
}


def head_angles(landmarks: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll of a head in degrees, `[3]`, by the rotation that fits the mean face to it best.

    Args:
        landmarks: `[478, 3]`, x right, y down, z away, in any unit.

    Returns:
        Yaw is positive to the right of the picture, pitch nose down, roll counter-clockwise: the rotation is
        Rz(roll) Rx(pitch) Ry(yaw) in a frame with x right, y up, z towards the camera.
    """
    from scipy.spatial.transform import Rotation

    upright = np.array([1, -1, -1])
    model = np.array(list(MEAN_FACE.values())) * upright
    points = landmarks[list(MEAN_FACE)].astype(np.float64) * upright
    rotation, _ = Rotation.align_vectors(points - points.mean(0), model - model.mean(0))
    return rotation.as_euler("ZXY", degrees=True)[[2, 1, 0]]


def angle_difference(found: np.ndarray, truth: np.ndarray, side: int) -> float:
    """Mean absolute difference of yaw, pitch and roll, in degrees, of heads with landmarks `[478, 3]`."""
    return float(mean_turn(head_angles(found), head_angles(truth)))


def mean_turn(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean absolute difference of angles `[..., 3]` in degrees, the short way round: `[...]`."""
    return np.abs((found - truth + 180) % 360 - 180).mean(-1)
