"""Facial landmarks by mediapipe's face mesh, and what is measured on them.

Used to crop faces, to guide keypoints while training, and to measure results. The network itself never sees a landmark.
"""

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

from mrfa.errors import InputError

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


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mediapipe's start-up notes, which its C++ code writes to the process's stderr, off the terminal.

    Only where no other thread could lose what it writes meanwhile, or redirect and restore the same stream.
    """
    if threading.active_count() > 1:
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class FaceLandmarker:
    """Finds the 478 landmarks of the most prominent face.

    Args:
        static: each picture stands alone; otherwise the face is tracked from picture to picture, which is faster.

    Raises:
        InputError: mediapipe is absent.
    """

    def __init__(self, static: bool = True) -> None:
        os.environ.setdefault("GLOG_minloglevel", "2")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            with _quiet():
                from mediapipe.python.solutions.face_mesh import FaceMesh
        except ImportError:
            raise InputError("landmarks need mediapipe 0.10.14 (Python 3.11 or 3.12): pip install mediapipe==0.10.14") from None
        warnings.filterwarnings("ignore", message="SymbolDatabase.GetPrototype")
        with _quiet():
            self._mesh: Any = FaceMesh(static_image_mode=static, max_num_faces=1, refine_landmarks=True)
            # The models are loaded with the first picture.
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks of a uint8 RGB picture `[H, W, 3]`: float32 `[478, 2]` in pixels (x, y), or None without a face."""
        points = self.in_space(image)
        return None if points is None else np.ascontiguousarray(points[:, :2])

    def in_space(self, image: np.ndarray) -> np.ndarray | None:
        """Landmarks with their depth: float32 `[478, 3]` in pixels (x right, y down, z away), or None without a face.

        Depth is estimated, with its zero near the head's middle and about the scale of x.
        """
        found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
        if not found:
            return None
        height, width = image.shape[:2]
        points = [(point.x * width - 0.5, point.y * height - 0.5, point.z * width) for point in found[0].landmark]
        return np.asarray(points, np.float32)

    def close(self) -> None:
        """Free the detector."""
        self._mesh.close()

    def __enter__(self) -> "FaceLandmarker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


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


def face_box(landmarks: np.ndarray) -> tuple[float, float, float, float]:
    """(x0, y0, x1, y1) in pixels around all landmarks, forehead to chin."""
    low, high = landmarks[:468].min(0), landmarks[:468].max(0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _eye_distance(landmarks: np.ndarray) -> float:
    return max(float(np.linalg.norm(landmarks[33] - landmarks[263])), 1e-6)
