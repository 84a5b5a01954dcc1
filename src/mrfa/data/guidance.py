"""Landmark groups of training frames, found once beforehand."""

from collections.abc import Sequence

import numpy as np

from mrfa.faces.landmarks import LANDMARK_GROUPS, FaceLandmarker, group_means

GROUP_INDEX = {name: index for index, name in enumerate(LANDMARK_GROUPS)}
GROUPS = len(GROUP_INDEX)


def _mirrored(name: str) -> str:
    side, _, rest = name.partition("_")
    other = {"right": "left", "left": "right"}.get(side)
    return f"{other}_{rest}" if other else name


# For each group the group that it becomes when the picture is flipped.
MIRRORED_GROUPS = tuple(GROUP_INDEX[_mirrored(name)] for name in LANDMARK_GROUPS)


def normalised_groups(landmarks: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Landmark groups `[G, 2]`, half-pixel normalised, of landmarks `[478, 2]` in pixels of a picture of size (h, w)."""
    return (group_means(landmarks) + 0.5) * 2 / np.array(size[::-1], np.float32) - 1


def annotate_clip(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Landmark groups of each frame of a clip.

    Args:
        frames: uint8 RGB `[T, H, W, 3]`.

    Returns:
        float32 `[T, G, 2]`, half-pixel normalised: -1 and 1 are the picture's outer edges (zeros without a face), and bool `[T]`.
    """
    groups = np.zeros((len(frames), GROUPS, 2), np.float32)
    found = np.zeros(len(frames), bool)
    landmarker = FaceLandmarker()
    for index, frame in enumerate(frames):
        landmarks = landmarker(frame)
        if landmarks is not None:
            groups[index] = normalised_groups(landmarks, frames.shape[1:3])
            found[index] = True
    return groups, found
