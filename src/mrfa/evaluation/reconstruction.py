"""Self-reconstruction: each clip's first frame is animated by the clip's later frames, which are also the truth.

Motion is absolute: the keypoints of the driving frame are used as they are, and the background moves as it does in the clip
where the network can follow it. All methods are judged on the same frames.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mrfa.data.clips import Clip, list_clips, read_clip
from mrfa.data.landmarks import FaceLandmarker, face_box
from mrfa.data.tensors import to_tensor
from mrfa.errors import InputError
from mrfa.evaluation import pixels
from mrfa.evaluation.animated_clip import animate_clip
from mrfa.evaluation.baselines import repeated_source, thin_plate_warp
from mrfa.evaluation.landmark_judge import judge_landmarks
from mrfa.evaluation.sharpness import laplacian_energy
from mrfa.network.model import Network

METHODS = ("source", "thin_plate", "coarse", "result")
METRICS = (
    "l1",
    "psnr",
    "ssim",
    "l1_face",
    "psnr_face",
    "ssim_face",
    "akd",
    "mouth_opening",
    "eye_opening",
    "sharpness",
)

Landmarker = Callable[[np.ndarray], np.ndarray | None]


class Pictures(NamedTuple):
    """One frame of a clip, by every method: uint8 RGB `[S, S, 3]`.

    Attributes:
        source: the clip's first frame.
        driving: the frame to reconstruct.
        methods: name of `METHODS` to its picture; None where a method could make none.
    """

    source: np.ndarray
    driving: np.ndarray
    methods: dict[str, np.ndarray | None]


class ClipScores(NamedTuple):
    """How every method did on one clip of F frames.

    Attributes:
        clip: which.
        frames: indices of the frames reconstructed, F of them.
        values: name of `METHODS` to `[F, len(METRICS)]`; NaN where a frame could not be judged.
        driving_found: `[F]`, whether a face was found in the driving frame.
        found: name of `METHODS` to `[F]`, whether a face was found in its picture.
        pictures: the frame that differs most from the source, for the contact sheet.
    """

    clip: Clip
    frames: list[int]
    values: dict[str, np.ndarray]
    driving_found: np.ndarray
    found: dict[str, np.ndarray]
    pictures: Pictures


class Evaluation(NamedTuple):
    """Scores of all clips, and one line for each clip that could not be used."""

    clips: list[ClipScores]
    problems: list[str]


def evaluate_reconstruction(
    network: Network,
    data: Path,
    *,
    frames_per_clip: int | None = 6,
    clips: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Reconstruct the clips of a folder by the network and by the baselines, and judge every picture.

    Args:
        network: in evaluation mode, on any device.
        data: folder of clips (see `mrfa.data.clips`).
        frames_per_clip: how many evenly spaced frames after the first, or None for all.
        clips: how many evenly spaced clips of the folder, or None for all.
        progress: called with (done, total) clips.

    Raises:
        InputError: no usable clip in the folder, or mediapipe is absent.
    """
    chosen = list_clips(data)
    if clips is not None and clips < len(chosen):
        chosen = [chosen[i] for i in evenly_spaced(len(chosen), clips)]
    scores: list[ClipScores] = []
    problems: list[str] = []
    with FaceLandmarker(static=True) as landmarker:
        for done, clip in enumerate(chosen, start=1):
            try:
                scores.append(evaluate_clip(network, clip, landmarker, frames_per_clip=frames_per_clip))
            except InputError as error:
                problems.append(str(error) if str(clip.path) in str(error) else f"{clip.path}: {error}")
            if progress:
                progress(done, len(chosen))
    if not scores:
        raise InputError(f"no usable clip in {data}: {problems[0]}")
    return Evaluation(scores, problems)


def evaluate_clip(network: Network, clip: Clip, landmarker: Landmarker, *, frames_per_clip: int | None = 6) -> ClipScores:
    """Reconstruct one clip and judge every picture.

    Raises:
        InputError: the clip cannot be read or has a single frame.
    """
    frames = read_clip(clip.path, network.config.image_size)
    if len(frames) < 2:
        raise InputError(f"{clip.path} has only one frame")
    indices = later_frames(len(frames), frames_per_clip)
    source, driving = frames[0], frames[indices]
    source_landmarks = landmarker(source)
    driving_landmarks = [landmarker(frame) for frame in driving]
    pictures: dict[str, list[np.ndarray | None]] = {
        "source": list(repeated_source(source, len(driving))),
        "thin_plate": [
            None if source_landmarks is None or found is None else thin_plate_warp(source, source_landmarks, found)
            for found in driving_landmarks
        ],
        **{name: list(made) for name, made in animate_clip(network, source, driving, one_video=True).items()},
    }
    landmarks: dict[str, list[np.ndarray | None]] = {
        name: [None if picture is None else landmarker(picture) for picture in pictures[name]] for name in METHODS[1:]
    }
    landmarks["source"] = [source_landmarks] * len(driving)
    values = {
        name: np.array(
            [
                judge_picture(picture, truth, found, true_landmarks)
                for picture, truth, found, true_landmarks in zip(
                    pictures[name], driving, landmarks[name], driving_landmarks, strict=True
                )
            ]
        )
        for name in METHODS
    }
    _share_sharpness(values, driving, driving_landmarks)
    most_motion = int(values["source"][:, METRICS.index("l1")].argmax())
    return ClipScores(
        clip=clip,
        frames=indices,
        values=values,
        driving_found=np.array([found is not None for found in driving_landmarks]),
        found={name: np.array([found is not None for found in landmarks[name]]) for name in METHODS},
        pictures=Pictures(source, driving[most_motion], {name: pictures[name][most_motion] for name in METHODS}),
    )


def judge_picture(
    picture: np.ndarray | None,
    truth: np.ndarray,
    landmarks: np.ndarray | None,
    true_landmarks: np.ndarray | None,
) -> np.ndarray:
    """All metrics of one uint8 picture `[S, S, 3]`: `[len(METRICS)]`, NaN where one cannot be had.

    In the place of the sharpness stands the Laplacian energy in the face box, not yet a share of the true picture's.
    The face box is the true picture's.
    """
    if picture is None:
        return np.full(len(METRICS), np.nan)
    image, target = to_tensor(picture[None]), to_tensor(truth[None])
    box = None if true_landmarks is None else pixels.pixel_box(face_box(true_landmarks), *truth.shape[:2])
    whole = [pixels.l1(image, target), pixels.psnr(image, target), pixels.ssim(image, target)]
    face = [torch.tensor([math.nan])] * 3
    energy = torch.tensor([math.nan])
    if box is not None:
        image, target = pixels.crop(image, box), pixels.crop(target, box)
        face = [pixels.l1(image, target), pixels.psnr(image, target), pixels.ssim(image, target)]
        energy = laplacian_energy(image)
    motion = judge_landmarks(landmarks, true_landmarks, truth.shape[0])
    return np.array([*(float(value) for value in [*whole, *face]), *motion, float(energy)])


def later_frames(count: int, chosen: int | None) -> list[int]:
    """Indices of evenly spaced frames after the first of `count`, the second and the last among them; None for all."""
    if chosen is None or chosen >= count - 1:
        return list(range(1, count))
    return [int(index) for index in np.linspace(1, count - 1, chosen).round()]


def evenly_spaced(count: int, chosen: int) -> list[int]:
    """`chosen` of `count` indices, from the middles of equal stretches."""
    return [int((index + 0.5) * count / chosen) for index in range(chosen)]


def _share_sharpness(values: dict[str, np.ndarray], driving: np.ndarray, driving_landmarks: list[np.ndarray | None]) -> None:
    """Make energies shares of the mean energy of the clip's driving frames, in place.

    The mean, since a single frame blurred by motion has next to none and would make any share of it meaningless.
    """
    column = METRICS.index("sharpness")
    true = [judge_picture(frame, frame, None, found)[column] for frame, found in zip(driving, driving_landmarks, strict=True)]
    energies = [energy for energy in true if not math.isnan(energy)]
    mean = float(np.mean(energies)) if energies else math.nan
    for scores in values.values():
        scores[:, column] /= max(mean, 1e-12) if energies else math.nan
