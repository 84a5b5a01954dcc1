"""How a result follows the driver over a clip, whoever they are: mouth, eyes and brows, lids that stay alike, head, and jitter.

All by mediapipe's face mesh. Openings and brows are those of faces turned to the front, in units of the face's own, see
`mrfa.animation.expression`: closed is closed and open is open on every face.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from mrfa.animation.expression import EYES, eye_distance, eye_openings, mouth_opening, take_apart
from mrfa.data.guidance import GROUP_INDEX
from mrfa.evaluation.metrics.head_pose import head_angles, mean_turn
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.evaluation.metrics.metric import Frames, Measure
from mrfa.faces.landmarks import LANDMARK_GROUPS, group_means

# A quantity of faces turned to the front, `[F, G, 2]`, to `[F]`.
Quantity = Callable[[torch.Tensor], torch.Tensor]
# Of a clip's values in the result and in the driver, `[F]` each.
Relation = Callable[[np.ndarray, np.ndarray], float]

LEAST_FRAMES = 5
# Driver's landmarks that jump by less, in distances of the outer eye corners, are those of a picture that stands still.
STANDS_STILL = 1e-4


def mean_eye_opening(front: torch.Tensor) -> torch.Tensor:
    """Of both eyes, in widths of an eye."""
    return eye_openings(front).mean(-1)


def brow_height(front: torch.Tensor) -> torch.Tensor:
    """Of both brows above the eyes' corners, in distances of the outer eye corners."""

    def level(*ends: str) -> torch.Tensor:
        return front[..., [GROUP_INDEX[f"{side}_{end}"] for side in EYES for end in ends], 1].mean(-1)

    return (level("eye_inner", "eye_outer") - level("brow_inner", "brow_outer")) / eye_distance(front)


# Each with the least deviation over a clip that shows that the driver moves it: three times the noise of the mesh on real clips.
# Of less, relations would be those of noise.
MOUTH, EYE, BROW = (mouth_opening, 0.015), (mean_eye_opening, 0.02), (brow_height, 0.005)


def correlation(made: np.ndarray, true: np.ndarray) -> float:
    """Pearson's, 0 where the result stands still."""
    return float(np.corrcoef(made, true)[0, 1]) if made.std() > 1e-9 else 0.0


def gain(made: np.ndarray, true: np.ndarray) -> float:
    """How much the result moves for what the driver moves: the slope of the regression line."""
    return float(np.cov(made, true, bias=True)[0, 1] / true.var())


def relation(compare: Relation, moving: tuple[Quantity, float], faces: FaceMesh) -> Measure:
    """A relation of a quantity over the clip; NaN where the driver hardly moves it, or where too few faces are found."""
    quantity, least = moving

    def measure(frames: Frames) -> np.ndarray:
        made, true = (quantity(_fronts(pictures, faces)).numpy() for pictures in (frames.generated, frames.driving))
        known = np.isfinite(made) & np.isfinite(true)
        moves = known.sum() >= LEAST_FRAMES and true[known].std() >= least
        return np.full(len(made), compare(made[known], true[known]) if moves else math.nan)

    return measure


def lid_asymmetry(faces: FaceMesh) -> Measure:
    """By how much both eyes' openings differ beyond the driver's, in widths of an eye; at least 0."""

    def apart(pictures: np.ndarray) -> np.ndarray:
        right, left = eye_openings(_fronts(pictures, faces)).numpy().T
        return np.abs(right - left)

    return lambda frames: np.maximum(apart(frames.generated) - apart(frames.driving), 0)


def head_motion(faces: FaceMesh) -> Measure:
    """Mean absolute difference of yaw, pitch and roll in degrees, each less its median over the clip.

    A portrait that keeps its own pose and adds the driver's motion is not blamed for the pose, as it is by ARD.
    """

    def angles(pictures: np.ndarray) -> np.ndarray:
        meshes = (faces(picture) for picture in pictures)
        return np.array([np.full(3, math.nan) if mesh is None else head_angles(mesh) for mesh in meshes])

    def measure(frames: Frames) -> np.ndarray:
        apart = angles(frames.generated) - angles(frames.driving)
        apart = (apart + 180) % 360 - 180
        known = np.isfinite(apart).all(1)
        return mean_turn(apart, np.median(apart[known], axis=0)) if known.any() else np.full(len(apart), math.nan)

    return measure


def jitter(faces: FaceMesh) -> Measure:
    """How much the landmarks jump from frame to frame, as a share of the driver's: the second differences of their places.

    Of frames that follow each other. In distances of the outer eye corners; the median over the clip of the root mean square
    over `LANDMARK_GROUPS`. NaN where the driver is a still.
    """

    def jumps(pictures: np.ndarray) -> float:
        places = _places(pictures, faces)
        found = places[np.isfinite(places).all((1, 2))]
        if len(found) < 3:
            return math.nan
        size = take_apart(torch.from_numpy(found)).pose.scale.median().item()
        jumped = np.sqrt(np.square(np.diff(places, 2, axis=0)).sum(-1).mean(-1)) / size
        return float(np.nanmedian(jumped)) if np.isfinite(jumped).any() else math.nan

    def measure(frames: Frames) -> np.ndarray:
        made, true = jumps(frames.generated), jumps(frames.driving)
        return np.full(len(frames.driving), made / true if true > STANDS_STILL else math.nan)

    return measure


def _places(pictures: np.ndarray, faces: FaceMesh) -> np.ndarray:
    """Means of `LANDMARK_GROUPS` in pixels, float64 `[F, G, 2]`, NaN where there is no face."""
    unknown = np.full((len(LANDMARK_GROUPS), 2), math.nan)
    meshes = (faces(picture) for picture in pictures)
    return np.stack([unknown if mesh is None else group_means(mesh[:, :2]).astype(np.float64) for mesh in meshes])


def _fronts(pictures: np.ndarray, faces: FaceMesh) -> torch.Tensor:
    """One person's faces, turned to the front: `[F, G, 2]`, NaN where there is no face."""
    places = torch.from_numpy(_places(pictures, faces))
    known = places.isfinite().all(-1).all(-1)
    if known.any():
        places[known] = take_apart(places[known]).front
    return places
