"""AED: average Euclidean distance of OpenFace's face embeddings (Amos et al. 2016)."""

from pathlib import Path

import cv2
import numpy as np

from mrfa.backbones import find_weights
from mrfa.errors import InputError
from mrfa.evaluation.judges.face_mesh import FaceMesh
from mrfa.evaluation.judges.protocol import BOTH, Frames, JudgeUnavailableError

URL = "https://storage.cmusatyalab.org/openface-models/nn4.small2.v1.t7"
SIDE = 96
# Where outer eye corners and nose tip come to lie in the aligned crop, as shares of its side.
ALIGNED = {33: (0.195, 0.166), 263: (0.806, 0.160), 1: (0.499, 0.527)}


class AEDJudge:
    """Distance of the identities of generated frames and of the true ones; of the portrait, cross-identity.

    Faces are aligned by mediapipe's landmarks, where OpenFace takes dlib's: NaN where either picture shows no face.
    """

    name = "AED (OpenFace)"
    lower_is_better = True
    protocols = BOTH

    def __init__(self, network: "cv2.dnn.Net", faces: FaceMesh) -> None:
        self.network = network
        self.faces = faces

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`."""
        wanted = [frames.source] * len(frames.driving) if frames.cross_identity else list(frames.driving)
        return np.array([self._distance(made, person) for made, person in zip(frames.generated, wanted, strict=True)])

    def _distance(self, generated: np.ndarray, wanted: np.ndarray) -> float:
        found, person = self.embedding(generated), self.embedding(wanted)
        if found is None or person is None:
            return float("nan")
        return float(np.linalg.norm(found - person))

    def embedding(self, picture: np.ndarray) -> np.ndarray | None:
        """Embedding of unit length, `[128]`, of a uint8 RGB picture, or None without a face."""
        landmarks = self.faces(picture)
        if landmarks is None:
            return None
        crop = aligned_face(picture, landmarks)
        self.network.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        vector = self.network.forward().ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)


def aligned_face(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The face turned and scaled to a crop of 96 x 96."""
    source = landmarks[list(ALIGNED), :2].astype(np.float32)
    target = np.array(list(ALIGNED.values()), np.float32) * SIDE
    return cv2.warpAffine(picture, cv2.getAffineTransform(source, target), (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def aed_judge(faces: FaceMesh, *, weights: Path | None) -> AEDJudge:
    """Load OpenFace's network; OpenCV reads its published file without running code from it.

    Raises:
        JudgeUnavailableError: the file is missing or is another.
    """
    try:
        path = find_weights(URL, weights)
    except InputError as error:
        raise JudgeUnavailableError(str(error)) from None
    try:
        return AEDJudge(cv2.dnn.readNetFromTorch(str(path)), faces)
    except cv2.error:
        raise JudgeUnavailableError(f"{path} is not OpenFace's network: get {URL}") from None
