"""One face mesh for all judges that need landmarks: each picture is looked at once."""

import hashlib
from functools import cache

import numpy as np

from mrfa.data.landmarks import FaceLandmarker
from mrfa.errors import InputError
from mrfa.evaluation.judges.protocol import JudgeUnavailableError

KEPT = 4096


class FaceMesh:
    """Landmarks of pictures, remembered for the last few thousand of them."""

    def __init__(self) -> None:
        try:
            self.landmarker = FaceLandmarker(static=True)
        except InputError as error:
            raise JudgeUnavailableError(str(error)) from None
        self.known: dict[bytes, np.ndarray | None] = {}

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        """Landmarks `[478, 3]` of a uint8 RGB picture, in pixels (x right, y down, z away), or None without a face."""
        key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest()
        if key not in self.known:
            if len(self.known) >= KEPT:
                self.known.clear()
            self.known[key] = self.landmarker.in_space(picture)
        return self.known[key]


@cache
def shared_face_mesh() -> FaceMesh:
    """The one of this process.

    Raises:
        JudgeUnavailableError: mediapipe is absent.
    """
    return FaceMesh()
