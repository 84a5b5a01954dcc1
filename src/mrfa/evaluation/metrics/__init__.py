"""Metrics of generated frames, under one table of names."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from mrfa.data.images import MIDDLE_BAND, TOP_BAND
from mrfa.errors import InputError
from mrfa.evaluation.metrics import expression, following, head_pose, identity, landmarks, perceptual, pixels, py_feat
from mrfa.evaluation.metrics.landmarks import shared_face_mesh
from mrfa.evaluation.metrics.metric import (
    BOTH,
    CROSS_IDENTITY,
    RECONSTRUCTION,
    Better,
    Frames,
    Measure,
    Metric,
    MetricUnavailableError,
    Needs,
    per_frame,
)

__all__ = ["METRICS", "Frames", "Metric", "MetricUnavailableError", "Needs", "load_metrics"]


class Entry(NamedTuple):
    """What the table says of a metric; see `Metric`."""

    better: Better
    protocols: frozenset[str]
    load: Callable[[Needs], Measure]
    of_set: Callable[[np.ndarray], float] | None = None


def _mesh(compare: landmarks.Comparison) -> Callable[[Needs], Measure]:
    return lambda needs: landmarks.compare_meshes(compare, shared_face_mesh())


def _following(better: Better, compare: following.Relation, moving: tuple[following.Quantity, float]) -> Entry:
    return Entry(better, CROSS_IDENTITY, lambda needs: following.relation(compare, moving, shared_face_mesh()))


def _jitter(needs: Needs) -> Measure:
    if not needs.all_frames:
        raise MetricUnavailableError("needs frames that follow each other: --frames-per-clip 0")
    return following.jitter(shared_face_mesh())


METRICS: dict[str, Entry] = {
    "L1": Entry("lower", RECONSTRUCTION, lambda needs: per_frame(pixels.l1)),
    "PSNR": Entry("higher", RECONSTRUCTION, lambda needs: pixels.psnr(per_frame(pixels.squared_error), needs.variant)),
    "SSIM": Entry("higher", RECONSTRUCTION, lambda needs: pixels.ssim_measure()),
    "face L1": Entry("lower", RECONSTRUCTION, lambda needs: pixels.in_face(pixels.l1, shared_face_mesh())),
    "face PSNR": Entry(
        "higher",
        RECONSTRUCTION,
        lambda needs: pixels.psnr(pixels.in_face(pixels.squared_error, shared_face_mesh()), needs.variant),
    ),
    "face SSIM": Entry("higher", RECONSTRUCTION, lambda needs: pixels.ssim_measure(shared_face_mesh())),
    "sharpness": Entry("near 1", BOTH, lambda needs: pixels.band_share(MIDDLE_BAND, shared_face_mesh())),
    "artefact": Entry("near 1", BOTH, lambda needs: pixels.band_share(TOP_BAND, shared_face_mesh())),
    "LPIPS (VGG)": Entry("lower", RECONSTRUCTION, lambda needs: perceptual.load_lpips("vgg16", needs)),
    "LPIPS (AlexNet)": Entry("lower", RECONSTRUCTION, lambda needs: perceptual.load_lpips("alexnet", needs)),
    "AKD (face-alignment)": Entry(
        "lower",
        RECONSTRUCTION,
        lambda needs: landmarks.face_alignment_akd(landmarks.load_face_alignment(needs.device), needs.variant),
    ),
    "AKD (mediapipe)": Entry("lower", RECONSTRUCTION, lambda needs: _mesh(landmarks.akd(needs.variant))(needs)),
    "mouth opening (mediapipe)": Entry("lower", BOTH, _mesh(landmarks.mouth_difference)),
    "eye opening (mediapipe)": Entry("lower", BOTH, _mesh(landmarks.eye_difference)),
    "lost faces (mediapipe)": Entry("lower", BOTH, lambda needs: landmarks.lost_faces(shared_face_mesh())),
    "AED (OpenFace)": Entry(
        "lower", BOTH, lambda needs: identity.descriptor_distance(identity.load_openface(needs.weights), shared_face_mesh())
    ),
    "identity (dlib)": Entry("lower", BOTH, lambda needs: identity.descriptor_distance(identity.load_dlib(), shared_face_mesh())),
    "ARD (py-feat)": Entry("lower", BOTH, lambda needs: py_feat.angle_distance(py_feat.load_py_feat(needs.device))),
    "ARD (mediapipe)": Entry("lower", BOTH, _mesh(head_pose.angle_difference)),
    "head motion (mediapipe)": Entry("lower", CROSS_IDENTITY, lambda needs: following.head_motion(shared_face_mesh())),
    "AUH (py-feat)": Entry("lower", BOTH, lambda needs: py_feat.unit_distance(py_feat.load_py_feat(needs.device))),
    "AUH (mediapipe)": Entry("lower", BOTH, _mesh(expression.action_difference)),
    "mouth correlation (mediapipe)": _following("higher", following.correlation, following.MOUTH),
    "mouth gain (mediapipe)": _following("near 1", following.gain, following.MOUTH),
    "eye correlation (mediapipe)": _following("higher", following.correlation, following.EYE),
    "eye gain (mediapipe)": _following("near 1", following.gain, following.EYE),
    "brow correlation (mediapipe)": _following("higher", following.correlation, following.BROW),
    "brow gain (mediapipe)": _following("near 1", following.gain, following.BROW),
    "lid asymmetry (mediapipe)": Entry("lower", CROSS_IDENTITY, lambda needs: following.lid_asymmetry(shared_face_mesh())),
    "jitter (mediapipe)": Entry("near 1", CROSS_IDENTITY, _jitter),
    "FID (Inception)": Entry(
        "lower",
        BOTH,
        lambda needs: perceptual.inception_features(perceptual.load_inception(needs), needs.device),
        perceptual.frechet_distance,
    ),
}


def load_metrics(names: Sequence[str] | None, needs: Needs = Needs()) -> tuple[list[Metric], list[str]]:  # noqa: B008
    """Load metrics by name.

    Args:
        names: of `METRICS`, or None for all.
        needs: what they are built from.

    Returns:
        The metrics of the protocol that can be had, and one line for each that cannot.

    Raises:
        InputError: no metric has such a name.
    """
    unknown = [name for name in names or () if name not in METRICS]
    if unknown:
        raise InputError(f"no metric '{unknown[0]}': choose among {', '.join(METRICS)}")
    metrics, problems = [], []
    for name in METRICS if names is None else names:
        entry = METRICS[name]
        if needs.protocol not in {None, *entry.protocols}:
            continue
        try:
            metrics.append(Metric(name, entry.better, entry.protocols, entry.load(needs), entry.of_set))
        except MetricUnavailableError as error:
            problems.append(f"{name}: {error}")
    return metrics, problems
