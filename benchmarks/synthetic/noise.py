"""Random detail of given fineness."""

import cv2
import numpy as np


def noise(shape: tuple[int, int], grain: float, random: np.random.Generator) -> np.ndarray:
    """Smooth noise, mean 0.5 and mostly within [0, 1], `shape`; `grain` is the size of a blob in texels."""
    return _stretched(shape, grain, grain, random)


def strands(shape: tuple[int, int], random: np.random.Generator) -> np.ndarray:
    """Noise drawn out along the rows of a chart, as hair combed downwards: `shape`, mostly within [0, 1]."""
    fine, coarse = _stretched(shape, 60, 2.5, random), _stretched(shape, 90, 9, random)
    return 0.5 * fine + 0.5 * coarse


def _stretched(shape: tuple[int, int], tall: float, wide: float, random: np.random.Generator) -> np.ndarray:
    cells = random.random((max(2, round(shape[0] / tall) + 1), max(2, round(shape[1] / wide) + 1))).astype(np.float32)
    return cv2.resize(cells, shape[::-1], interpolation=cv2.INTER_CUBIC)
