"""What a model has to beat: a warp of the source frame through facial landmarks."""

import cv2
import numpy as np

from mrfa.evaluation.metrics.landmarks import FaceMesh

# Every fourth of the mesh's 468 points (without the irises) spreads 117 over the whole face.
WARP_LANDMARKS = list(range(0, 468, 4))
BORDER_POINTS_A_SIDE = 4
# Landmarks of closed lips all but coincide: without some smoothing they would tear the warp.
SMOOTHING = 5e-6


def warped_source(source: np.ndarray, driving: np.ndarray, faces: FaceMesh) -> np.ndarray:
    """The source picture, warped by the landmarks of each driving frame `[F, H, W, 3]`; as it is where either shows no face."""
    landmarks = faces(source)
    found = [faces(frame) for frame in driving]
    if landmarks is None:
        return np.broadcast_to(source, driving.shape)
    return np.stack([source if own is None else thin_plate_warp(source, landmarks, own) for own in found])


def thin_plate_warp(source: np.ndarray, source_landmarks: np.ndarray, driving_landmarks: np.ndarray) -> np.ndarray:
    """The source picture, warped so that its landmarks come to lie where the driving frame's are; the border stays.

    Args:
        source: uint8 RGB `[H, W, 3]`.
        source_landmarks, driving_landmarks: `[478, 2]` or `[478, 3]`, of which x and y count, in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.
    """
    border = _border_points(*source.shape[:2])
    targets, points = (
        np.concatenate([landmarks[WARP_LANDMARKS, :2], border]) for landmarks in (source_landmarks, driving_landmarks)
    )
    backward = thin_plate_map(points, targets, *source.shape[:2])
    return cv2.remap(source, backward[..., 0], backward[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def thin_plate_map(points: np.ndarray, targets: np.ndarray, height: int, width: int) -> np.ndarray:
    """The smoothest map of the plane that takes `points` to `targets` `[P, 2]`, at every pixel: float32 `[height, width, 2]`.

    All positions are (x, y) in pixels.
    """
    from scipy.interpolate import RBFInterpolator

    # In units of half the picture the smoothing means the same at every size, and the system is well scaled.
    unit = max(height, width) / 2
    spline = RBFInterpolator(points / unit, (targets - points) / unit, kernel="thin_plate_spline", smoothing=SMOOTHING)
    pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    moved = spline(pixels.reshape(-1, 2) / unit).reshape(pixels.shape) * unit
    return (pixels + moved).astype(np.float32)


def _border_points(height: int, width: int) -> np.ndarray:
    """Evenly spaced pixels along the border: `[16, 2]`."""
    steps = np.linspace(0, 1, BORDER_POINTS_A_SIDE + 1)
    around = [(x, y) for x in steps for y in steps if x in (0, 1) or y in (0, 1)]
    return np.array(around) * (width - 1, height - 1)
