"""ARD and AUH by py-feat (Cheong et al. 2023), the paper's judges (supplement)."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrfa.evaluation.judges.protocol import BOTH, Frames, JudgeUnavailableError, first_line

ANGLES = ("Pitch", "Roll", "Yaw")
PRESENT = 0.5


class PyFeatJudge:
    """Compares what py-feat's detector finds in generated and in driving frames."""

    lower_is_better = True
    protocols = BOTH

    def __init__(self, name: str, detector: Any) -> None:
        self.name = name
        self.detector = detector

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`; NaN where a face was not found."""
        made, true = (find(self.detector, pictures) for pictures in (frames.generated, frames.driving))
        if self.name.startswith("ARD"):
            difference = np.abs((made[:, :3] - true[:, :3] + 180) % 360 - 180)
            return difference.mean(axis=1)
        known = np.isfinite(made).all(1) & np.isfinite(true).all(1)
        differing = ((made[:, 3:] >= PRESENT) != (true[:, 3:] >= PRESENT)).sum(1)
        return np.where(known, differing, np.nan)


def find(detector: Any, pictures: np.ndarray) -> np.ndarray:
    """Head angles in degrees, then the probability of each action unit, of the first face of each picture: `[F, 3 + A]`.

    Rows are NaN where there is no face. py-feat reads files, so the pictures go through a temporary folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number:06d}.png") for number in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path)
        table = detector.detect_image(paths)
    units = [name for name in table.columns if name.startswith("AU")]
    found = np.full((len(pictures), 3 + len(units)), np.nan)
    for path, values in zip(table["input"], table[[*ANGLES, *units]].to_numpy(float), strict=True):
        row = paths.index(str(path))
        if np.isnan(found[row]).all():
            found[row] = values
    return found


@cache
def load_detector(device: str) -> Any:
    """py-feat's detector, which fetches its weights when it is first made.

    Raises:
        JudgeUnavailableError: the package or its weights are missing.
    """
    try:
        from feat import Detector
    except Exception as error:  # its own requirements fail in many ways
        raise JudgeUnavailableError(f"needs py-feat: pip install py-feat ({first_line(error)})") from None
    try:
        return Detector(device=device)
    except Exception as error:  # no network, or a damaged download
        raise JudgeUnavailableError(f"py-feat cannot load its weights: {first_line(error)}") from None
