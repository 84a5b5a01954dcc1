"""L1, PSNR and SSIM of generated against true frames, over the whole picture or in the face, and the face's sharpness."""

import math
from collections.abc import Callable

import numpy as np

from mrfa.data.images import band_energy
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.evaluation.metrics.metric import Frames, Measure, MetricUnavailableError, per_frame
from mrfa.faces.landmarks import face_box

Box = tuple[slice, slice]
# Equal pictures would have an infinite PSNR, which no mean survives: 100 dB is the most that is given.
LEAST_SQUARED_ERROR = 1e-10
# Side of the window of SSIM: smaller faces have none of these metrics.
SMALLEST_BOX = 11


def find_face(picture: np.ndarray, faces: FaceMesh) -> Box | None:
    """Rows and columns of the pixels that the box around a face touches, of a uint8 RGB picture `[H, W, 3]`.

    None where there is no face, or less of it in the picture than 11 x 11 pixels.
    """
    landmarks = faces(picture)
    if landmarks is None:
        return None
    x0, y0, x1, y1 = (math.floor(edge + 0.5) for edge in face_box(landmarks))
    height, width = picture.shape[:2]
    rows, columns = slice(max(y0, 0), min(y1 + 1, height)), slice(max(x0, 0), min(x1 + 1, width))
    return None if min(rows.stop - rows.start, columns.stop - columns.start) < SMALLEST_BOX else (rows, columns)


def l1(picture: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference of uint8 pictures, as of values in [0, 1]."""
    return float(np.abs(picture.astype(np.int16) - truth).mean()) / 255


def squared_error(picture: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared difference of uint8 pictures, as of values in [0, 1]."""
    return float(np.square(picture.astype(np.int32) - truth).mean()) / 255**2


def ssim(picture: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004): 11 x 11 Gaussian window of sigma 1.5, mean over the colour channels."""
    from skimage.metrics import structural_similarity

    options = {"channel_axis": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(structural_similarity(picture, truth, data_range=255, **options))


def ssim_measure(faces: FaceMesh | None = None) -> Measure:
    """SSIM of whole pictures, or in the true picture's face box.

    Raises:
        MetricUnavailableError: scikit-image is absent.
    """
    try:
        import skimage.metrics  # noqa: F401
    except ImportError:
        raise MetricUnavailableError("needs scikit-image: pip install 'mrfa[evaluate]'") from None
    return per_frame(ssim) if faces is None else in_face(ssim, faces)


def psnr(errors: Measure, variant: str) -> Measure:
    """PSNR in dB from mean squared errors a frame.

    Of a clip's mean error, so that one bad frame counts as what it is and equal frames are no infinity. The paper's figures
    average the PSNR of single frames instead, which is never less and rewards what is nearly still.
    """

    def decibels(frames: Frames) -> np.ndarray:
        found = errors(frames)
        if variant != "paper" and np.isfinite(found).any():
            found = np.where(np.isfinite(found), np.nanmean(found), math.nan)
        return -10 * np.log10(np.maximum(found, LEAST_SQUARED_ERROR))

    return decibels


def in_face(compare: Callable[[np.ndarray, np.ndarray], float], faces: FaceMesh) -> Measure:
    """A comparison of pictures in the true picture's face box; NaN where that shows no face."""

    def compared(picture: np.ndarray, truth: np.ndarray) -> float:
        box = find_face(truth, faces)
        return math.nan if box is None else compare(picture[box], truth[box])

    return per_frame(compared)


def band_share(band: tuple[float, float], faces: FaceMesh) -> Measure:
    """A band's energy in the generated face as a share of the true face's, or cross-identity of the portrait's; 1 is like it.

    The share is of the mean over the clip's true frames: a single frame blurred by motion has next to no energy and would make
    any share of it meaningless. The face box is the true picture's; cross-identity each picture has its own.
    """

    def energy(picture: np.ndarray, shown: np.ndarray) -> float:
        box = find_face(shown, faces)
        return math.nan if box is None else band_energy(picture[box], band)

    def share(frames: Frames) -> np.ndarray:
        if frames.cross_identity:
            reference = energy(frames.source, frames.source)
            found = [energy(picture, picture) for picture in frames.generated]
        else:
            known = [value for frame in frames.driving if math.isfinite(value := energy(frame, frame))]
            reference = float(np.mean(known)) if known else math.nan
            found = [energy(picture, frame) for picture, frame in zip(frames.generated, frames.driving, strict=True)]
        return np.array(found) / max(reference, 1e-12)

    return share
