"""Identity: distance of face descriptors, by OpenFace as in the paper (AED) or by dlib, which works offline.

The person wanted is the driving frame's in self-reconstruction and the portrait's cross-identity. Faces are found by mediapipe's
landmarks: values are NaN where either picture shows no face.
"""

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from mrfa.backbones import find_weights
from mrfa.errors import InputError
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.evaluation.metrics.metric import Frames, Measure, MetricUnavailableError

OPENFACE_URL = "https://storage.cmusatyalab.org/openface-models/nn4.small2.v1.t7"
OPENFACE_SIDE = 96
# Where outer eye corners and nose tip come to lie in OpenFace's aligned crop, as shares of its side.
OPENFACE_ALIGNED = {33: (0.195, 0.166), 263: (0.806, 0.160), 1: (0.499, 0.527)}
BROWS = (70, 105, 107, 336, 334, 300)

# A uint8 RGB picture `[H, W, 3]` with its landmarks `[478, 3]` in pixels to a descriptor, `[128]`.
Descriptor = Callable[[np.ndarray, np.ndarray], np.ndarray]


def descriptor_distance(describe: Descriptor, faces: FaceMesh) -> Measure:
    """Euclidean distance of the descriptors of each generated face and of the person wanted."""

    def described(picture: np.ndarray) -> np.ndarray | None:
        landmarks = faces(picture)
        return None if landmarks is None else describe(picture, landmarks)

    def measure(frames: Frames) -> np.ndarray:
        wanted = [frames.source] if frames.cross_identity else list(frames.driving)
        people = [described(picture) for picture in wanted] * (len(frames.driving) if frames.cross_identity else 1)
        pairs = zip((described(picture) for picture in frames.generated), people, strict=True)
        return np.array([math.nan if a is None or b is None else float(np.linalg.norm(a - b)) for a, b in pairs])

    return measure


def load_openface(weights: Path | None) -> Descriptor:
    """OpenFace's network (Amos et al. 2016), with descriptors of unit length; OpenCV reads its file without running code from it.

    It aligns faces by mediapipe's face mesh, where OpenFace takes dlib's.

    Raises:
        MetricUnavailableError: the file is missing or is another, or OpenCV is 5, which reads none of Torch's files.
    """
    try:
        path = find_weights(OPENFACE_URL, weights)
    except InputError as error:
        raise MetricUnavailableError(str(error)) from None
    if not hasattr(cv2.dnn, "readNetFromTorch"):
        raise MetricUnavailableError(f"OpenCV {cv2.__version__} cannot read {path}: pip install 'opencv-python-headless<5'")
    try:
        return openface_descriptor(cv2.dnn.readNetFromTorch(str(path)))
    except cv2.error:
        raise MetricUnavailableError(f"{path} is not OpenFace's network: get {OPENFACE_URL}") from None


def openface_descriptor(network: "cv2.dnn.Net") -> Descriptor:
    """See `load_openface`."""

    def describe(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        source = landmarks[list(OPENFACE_ALIGNED), :2].astype(np.float32)
        target = np.array(list(OPENFACE_ALIGNED.values()), np.float32) * OPENFACE_SIDE
        crop = cv2.warpAffine(picture, cv2.getAffineTransform(source, target), (OPENFACE_SIDE, OPENFACE_SIDE))
        network.setInput(cv2.dnn.blobFromImage(crop, 1 / 255))
        vector = network.forward().ravel()
        return vector / max(float(np.linalg.norm(vector)), 1e-12)

    return describe


@cache
def load_dlib() -> Descriptor:
    """dlib's face descriptor (King 2017): people count as the same below about 0.6. Its wheels bring all weights along.

    Raises:
        MetricUnavailableError: a package is absent.
    """
    models = find_spec("face_recognition_models")  # only its files are wanted: importing it needs an old setuptools
    try:
        import dlib
    except ImportError:
        models = None
    if models is None or models.origin is None:
        raise MetricUnavailableError("needs dlib and its models: pip install 'mrfa[identity]'")
    folder = Path(models.origin).parent / "models"
    align = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))

    def describe(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        box = dlib.rectangle(*(int(value) for value in detector_box(landmarks)))
        return np.array(network.compute_face_descriptor(np.ascontiguousarray(picture), align(picture, box)))

    return describe


def detector_box(landmarks: np.ndarray) -> np.ndarray:
    """The box that dlib's face detector would give, brows to chin: (x0, y0, x1, y1) in pixels, `[4]`."""
    low, high = landmarks[:468, :2].min(0), landmarks[:468, :2].max(0)
    return np.array([low[0], landmarks[list(BROWS), 1].min(), high[0], high[1]])
