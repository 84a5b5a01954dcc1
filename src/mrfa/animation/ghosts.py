"""Ghosts: what stays of a portrait's person where its head was, such as a second ear, after a driver moved it far aside.

There the network's flow stands still and shows the person, whom nothing tells it from the background. Where the person was is
known, as the portrait is segmented once. Seen through the flow, a ghost is a part of the person that is detached from it. It is
painted over from what lies around.
"""

from functools import cache

import cv2
import numpy as np

from mrfa.animation.portrait import grid, sample_sides
from mrfa.faces.person import PersonSegmenter

# Above this a mask, in [0, 1], shows a person.
PERSON = 0.5
# Lower for what was moved: the darkest rim of a ghost is seen, too.
RIM = 0.3
# Larger detached parts, as shares of the largest, are no ghosts: there the mask itself falls apart.
LARGEST = 0.1
# In sides of the crop: how far around a ghost is painted over, and how softly that ends.
MARGIN, SOFTNESS = 0.025, 0.006


class GhostRemover:
    """Paints over ghosts in animated crops of one portrait.

    Args:
        crop: of the portrait, uint8 RGB `[H, W, 3]`.
    """

    def __init__(self, crop: np.ndarray) -> None:
        mask = PersonSegmenter()(crop).astype(np.float32) / 255
        parts, areas = _parts(mask, PERSON)
        self._person = np.where((parts > 0) & (parts == areas.argmax()), mask, 0)

    def __call__(self, crop: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """An animated crop without ghosts.

        Args:
            crop: uint8 RGB `[size, size, 3]`.
            displacement: of `crop_displacement`, float32 `[h, w, 2]`.

        Returns:
            The same where there is none.
        """
        parts, areas = _parts(sample_sides(self._person, _centres(*displacement.shape[:2]) + displacement), RIM)
        ghosts = np.flatnonzero((areas > 0) & (areas < LARGEST * areas.max()))
        return _painted_over(crop, np.isin(parts, ghosts)) if len(ghosts) else crop


@cache
def _centres(height: int, width: int) -> np.ndarray:
    """Of the cells of a displacement, in sides of the crop, `[h, w, 2]`."""
    return grid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)


def _parts(mask: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Number of the connected part that each place of a mask belongs to, 0 for none, and the area of each; of 0 it is 0."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats((mask > threshold).astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return parts, areas


def _painted_over(crop: np.ndarray, ghosts: np.ndarray) -> np.ndarray:
    """Telea, "An Image Inpainting Technique Based on the Fast Marching Method" (2004), with a soft edge."""
    side = crop.shape[0]
    margin = 2 * round(MARGIN * side) + 1
    large = cv2.resize(ghosts.astype(np.uint8), crop.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    painted = cv2.dilate(large, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (margin, margin)))
    share = cv2.GaussianBlur(painted.astype(np.float32), (0, 0), SOFTNESS * side)
    around = cv2.dilate(painted, np.ones((3, 3), np.uint8), iterations=max(1, round(2 * SOFTNESS * side)))
    return cv2.blendLinear(cv2.inpaint(crop, around, 3, cv2.INPAINT_TELEA), crop, share, 1 - share)
