"""The table of metrics: under each name the measure that it names, with its direction and where it means something."""

import numpy as np
import pytest

from mrfa.evaluation import metrics as table
from mrfa.evaluation.metrics import (
    METRICS,
    Frames,
    Metric,
    Needs,
    expression,
    following,
    head_pose,
    landmarks,
    load_metrics,
    pixels,
)
from mrfa.evaluation.metrics.landmarks import FaceMesh


class Marked(FaceMesh):
    """A face on every picture, in a place and of a shape that its first pixel says."""

    def __init__(self) -> None:
        pass

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        rng = np.random.default_rng(int(picture[0, 0, 0]))
        return rng.uniform(20, 44, (478, 3)) + rng.uniform(-4, 4, 3)


@pytest.fixture
def faces(monkeypatch: pytest.MonkeyPatch) -> Marked:
    marked = Marked()
    monkeypatch.setattr(table, "shared_face_mesh", lambda: marked)
    return marked


@pytest.fixture
def frames() -> Frames:
    pictures = np.random.default_rng(0).integers(1, 255, (5, 64, 64, 3)).astype(np.uint8)
    return Frames(pictures[0], pictures[1:3], pictures[3:])


def _loaded(*names: str, variant: str = "standard") -> list[Metric]:
    metrics, problems = load_metrics(names, Needs(variant))
    assert not problems and [metric.name for metric in metrics] == list(names)
    return metrics


@pytest.mark.parametrize(
    ("name", "compare"),
    [
        ("AKD (mediapipe)", landmarks.akd("standard")),
        ("mouth opening (mediapipe)", landmarks.mouth_difference),
        ("eye opening (mediapipe)", landmarks.eye_difference),
        ("ARD (mediapipe)", head_pose.angle_difference),
        ("AUH (mediapipe)", expression.action_difference),
    ],
)
def test_metrics_of_meshes(name: str, compare: landmarks.Comparison, faces: Marked, frames: Frames) -> None:
    (metric,) = _loaded(name)
    expected = [compare(faces(made), faces(true), 64) for made, true in zip(frames.generated, frames.driving, strict=True)]  # type: ignore[arg-type]
    assert metric.measure(frames).tolist() == expected and expected[0] != expected[1]


@pytest.mark.parametrize("compare", [following.correlation, following.gain])
@pytest.mark.parametrize(("name", "quantity"), [("mouth", following.MOUTH), ("eye", following.EYE), ("brow", following.BROW)])
def test_metrics_of_following(
    compare: following.Relation, name: str, quantity: tuple[following.Quantity, float], faces: Marked
) -> None:
    pictures = np.arange(12, dtype=np.uint8).repeat(48).reshape(12, 4, 4, 3)
    frames = Frames(pictures[0], pictures[:6], pictures[6:], cross_identity=True)
    (metric,) = _loaded(f"{name} {compare.__name__} (mediapipe)")
    expected = following.relation(compare, quantity, faces)(frames)
    assert np.isfinite(expected).all() and metric.measure(frames).tolist() == expected.tolist()


def test_metrics_of_pictures(faces: Marked, frames: Frames) -> None:
    names = ("face L1", "face SSIM", "sharpness", "artefact")
    found = [metric.measure(frames).tolist() for metric in _loaded(*names)]
    direct = (
        pixels.in_face(pixels.l1, faces),
        pixels.in_face(pixels.ssim, faces),
        pixels.band_share((0.12, 0.3), faces),
        pixels.band_share((0.42, 0.5), faces),
    )
    assert found == [measure(frames).tolist() for measure in direct]
    whole, face = _loaded("PSNR", "face PSNR", variant="paper")
    assert whole.measure(frames)[0] == pytest.approx(-10 * np.log10(pixels.squared_error(frames.generated[0], frames.driving[0])))
    rows, columns = pixels.find_face(frames.driving[0], faces) or (slice(0), slice(0))
    in_face = pixels.squared_error(frames.generated[0][rows, columns], frames.driving[0][rows, columns])
    assert face.measure(frames)[0] == pytest.approx(-10 * np.log10(in_face))


def test_the_paper_variant_reaches_the_landmarks(faces: Marked, frames: Frames) -> None:
    (standard,), (paper,) = _loaded("AKD (mediapipe)"), _loaded("AKD (mediapipe)", variant="paper")
    assert (paper.measure(frames) < standard.measure(frames)).all()


def test_directions_and_protocols() -> None:
    higher = {name for name, entry in METRICS.items() if entry.better == "higher"}
    assert {name.split(" (")[0].split()[-1] for name in higher} == {"PSNR", "SSIM", "correlation"}
    near = {name for name, entry in METRICS.items() if entry.better == "near 1"}
    assert {name.split(" (")[0].split()[-1] for name in near} == {"sharpness", "artefact", "gain", "jitter"}
    across = {name for name, entry in METRICS.items() if entry.protocols == {"cross-identity"}}
    assert across == {name for name in higher | near if name.endswith(("correlation (mediapipe)", "gain (mediapipe)"))} | {
        "head motion (mediapipe)",
        "lid asymmetry (mediapipe)",
        "jitter (mediapipe)",
    }
    # What compares pixel by pixel needs the true picture; so do the landmarks' places, which are a person's own.
    alone = {name for name, entry in METRICS.items() if entry.protocols == {"reconstruction"}}
    assert alone == {name for name in METRICS if name.split(" (")[0].split()[-1] in {"L1", "PSNR", "SSIM", "LPIPS", "AKD"}}
