"""Landmarks of the most prominent face, and what is measured on them.

Used to crop faces, to guide keypoints while training, and to measure results. The network itself never sees a landmark.
"""

import numpy as np

from mrfa.faces.detector import SHORT_RANGE, FaceDetector
from mrfa.faces.mesh import PRESENT, FaceMesh, region_of_detection, region_of_mesh

Box = tuple[float, float, float, float]

# Indices of the 478-point mesh for each named group, left and right as the person on the picture has them.
LANDMARK_GROUPS: dict[str, tuple[int, ...]] = {
    "right_eye_outer": (33,),
    "right_eye_inner": (133,),
    "right_upper_lid": (160, 159, 158),
    "right_lower_lid": (144, 145, 153),
    "left_eye_outer": (263,),
    "left_eye_inner": (362,),
    "left_upper_lid": (387, 386, 385),
    "left_lower_lid": (373, 374, 380),
    "right_brow_inner": (107, 55),
    "right_brow_outer": (70, 46),
    "left_brow_inner": (336, 285),
    "left_brow_outer": (300, 276),
    "nose_tip": (1, 4),
    "nose_bridge": (6, 168),
    "right_mouth_corner": (61, 78),
    "left_mouth_corner": (291, 308),
    "upper_lip_outer": (37, 0, 267),
    "upper_lip_inner": (82, 13, 312),
    "lower_lip_inner": (87, 14, 317),
    "lower_lip_outer": (84, 17, 314),
    "chin": (152, 148, 377),
    "right_jaw": (172, 136),
    "left_jaw": (397, 365),
    "forehead": (10, 109, 338),
    "right_iris": (468,),
    "left_iris": (473,),
}


class FaceLandmarker:
    """Finds the 478 landmarks of the most prominent face.

    Args:
        static: each picture stands alone, and threads may share the object; otherwise the face is followed from picture to
            picture, which is faster.
    """

    def __init__(self, static: bool = True) -> None:
        self._detector, self._mesh = FaceDetector(SHORT_RANGE), FaceMesh()
        self._static = static
        self._last: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks of a uint8 RGB picture `[H, W, 3]`: float32 `[478, 2]` in pixels (x, y), or None without a face."""
        points = self.in_space(image)
        return None if points is None else np.ascontiguousarray(points[:, :2])

    def in_space(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks with their depth: float32 `[478, 3]` in pixels (x right, y down, z away), or None without a face.

        Depth is estimated, with its zero near the head's middle and about the scale of x.
        """
        if self._static:
            return self._found(image)
        followed = None if self._last is None else self._mesh(image, region_of_mesh(self._last))
        self._last = followed.points if followed and followed.presence >= PRESENT else self._found(image)
        return self._last

    def _found(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks of the surest face whose mesh confirms it."""
        for detection in self._detector(image):
            mesh = self._mesh(image, region_of_detection(detection))
            if mesh.presence >= PRESENT:
                return mesh.points
        return None


def group_means(landmarks: np.ndarray) -> np.ndarray:
    """Mean position of each group of `LANDMARK_GROUPS`: `[478, 2]` to `[26, 2]`."""
    return np.stack([landmarks[list(indices)].mean(0) for indices in LANDMARK_GROUPS.values()])


def eye_opening(landmarks: np.ndarray) -> float:
    """Distance of the lids, both eyes averaged, over the distance of the outer eye corners."""
    right = np.linalg.norm(landmarks[159] - landmarks[145])
    left = np.linalg.norm(landmarks[386] - landmarks[374])
    return float((right + left) / 2 / _eye_distance(landmarks))


def mouth_opening(landmarks: np.ndarray) -> float:
    """Distance of the inner lips over the distance of the outer eye corners."""
    return float(np.linalg.norm(landmarks[13] - landmarks[14]) / _eye_distance(landmarks))


def face_box(landmarks: np.ndarray) -> Box:
    """(x0, y0, x1, y1) in pixels around all landmarks `[478, 2 or 3]`, forehead to chin."""
    low, high = landmarks[:468].min(0), landmarks[:468].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _eye_distance(landmarks: np.ndarray) -> float:
    return max(float(np.linalg.norm(landmarks[33] - landmarks[263])), 1e-6)
