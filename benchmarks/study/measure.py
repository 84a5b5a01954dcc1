"""What a trained model draws of people that it has never seen, measured clip by clip."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.study.plan import Measuring
from benchmarks.study.results import ClipFigures, Figures
from mrfa.animation.animator import Animator
from mrfa.data.clips import square
from mrfa.data.guidance import normalised_groups
from mrfa.data.images import write_image
from mrfa.data.origin import Origin
from mrfa.data.prepared import PreparedClip
from mrfa.evaluation.evaluate import measured_frames
from mrfa.evaluation.figures.grid import resize_square
from mrfa.evaluation.methods import NetworkMethod
from mrfa.evaluation.metrics import Frames, Metric, Needs, load_metrics
from mrfa.evaluation.metrics.identity import Descriptor, descriptor_distance
from mrfa.evaluation.metrics.landmarks import shared_face_mesh
from mrfa.evaluation.metrics.metric import RECONSTRUCTION
from mrfa.evaluation.trials import Trial, most_different
from mrfa.identity import IdentityNetwork, face_crops, load_identity

IDENTITY_FILE = "identity.safetensors"
# Clips of which pictures are kept, if there are as many, and the side of these.
EXAMPLES, SHOWN = 4, 128


def measure(
    model: Path,
    clips: Sequence[PreparedClip],
    measuring: Measuring,
    *,
    device: str | None,
    examples: Path,
    weights: Path | None = None,
    processes: Executor | None = None,
) -> dict[str, ClipFigures]:
    """Drive every clip's first frame by others of it, and measure the pictures against the true ones.

    Args:
        model: model folder.
        clips: of the test people.
        measuring: what is measured.
        device: where the network runs; None: where it can.
        examples: PNG file to write, a row a clip: portrait, driving frame, the picture of the coarse motion alone, result.
        weights: folder of the metrics' weights.
        processes: measure beside the network; None: in this process.

    Returns:
        A clip's name to its figures.
    """
    method = NetworkMethod(Animator.from_pretrained(model, device=device, dtype="fp32"))
    shown = {int((row + 0.5) * len(clips) / EXAMPLES) for row in range(EXAMPLES)}
    waiting: list[Callable[[], Figures]] = []
    rows = []
    for number, clip in enumerate(clips):
        frames = measured_frames(clip.frames, measuring.frames_per_clip, include_first=False)
        source, *others = (square(image, method.size) for image in clip.read([0, *frames]).images)
        driving = np.stack(others)
        made = method.pictures(Trial(clip.name, clip.path, clip.path), source, driving, list(range(len(driving))))
        if number in shown:
            most = most_different(source, driving)
            cells = (source, driving[most], made["coarse"][most], made["result"][most])
            rows.append(np.hstack([resize_square(cell, SHOWN) for cell in cells]))
        arguments = (measuring.metrics, weights, source, driving, {"source": np.broadcast_to(source, driving.shape), **made})
        waiting.append(processes.submit(_figures, *arguments).result if processes else partial(_figures, *arguments))
    write_image(examples, np.vstack(rows), origin=Origin.now(composite=True))
    return {clip.name: ClipFigures(clip.identity, figures()) for clip, figures in zip(clips, waiting, strict=True)}


def unavailable(measuring: Measuring, weights: Path | None) -> list[str]:
    """A line for each metric that cannot be had.

    Raises:
        InputError: no metric has such a name.
    """
    return _metrics(measuring.metrics, weights)[1]


def _figures(
    names: tuple[str, ...], weights: Path | None, source: np.ndarray, driving: np.ndarray, pictures: dict[str, np.ndarray]
) -> Figures:
    """The mean over a clip's frames; what could not be measured in any of them is absent."""
    found: Figures = {}
    for name, generated in pictures.items():
        seen = Frames(source, driving, generated)
        values = {metric.name: metric.measure(seen) for metric in _metrics(names, weights)[0]}
        found[name] = {metric: float(np.nanmean(each)) for metric, each in values.items() if np.isfinite(each).any()}
    return found


@cache
def _metrics(names: tuple[str, ...], weights: Path | None) -> tuple[list[Metric], list[str]]:
    """Once a process; with the identity of `mrfa.identity` where the folder holds its weights."""
    metrics, problems = load_metrics(names, Needs(weights=weights, protocol="reconstruction", all_frames=False))
    if weights is not None and (weights / IDENTITY_FILE).is_file():
        measure = descriptor_distance(_descriptor(load_identity(weights / IDENTITY_FILE)), shared_face_mesh())
        metrics.append(Metric("identity (EfficientNet)", "lower", RECONSTRUCTION, measure))
    return metrics, problems


def _descriptor(network: IdentityNetwork) -> Descriptor:
    """As dlib's, which the network learned from, but where dlib cannot be had."""

    def describe(picture: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        places = normalised_groups(landmarks[:, :2], picture.shape[:2])
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            crops = face_crops(image, torch.from_numpy(places.astype(np.float32))[None])
            return network(crops)[0].numpy()

    return describe
