"""Metrics that need weights: known answers with small made-up ones, and one clear line where they are missing."""

import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mrfa import backbones
from mrfa.evaluation.metrics import Frames, Needs, load_metrics, py_feat
from mrfa.evaluation.metrics.identity import descriptor_distance, detector_box, load_openface, openface_descriptor
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.evaluation.metrics.metric import MetricUnavailableError
from mrfa.evaluation.metrics.perceptual import PerceptualDistance, frechet_distance, inception_features, load_lpips


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no cache, no folder of weights."""

    def refuse(*unused: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv("MRFA_WEIGHTS", raising=False)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3)).astype(np.uint8)


def _weights(folder: Path, backbone: str, heads: str) -> list[torch.Tensor]:
    torch.manual_seed(1)
    layers = backbones.feature_layers(backbone)
    name = backbones.BACKBONES[backbone].url.rpartition("/")[2]
    torch.save({f"features.{key}": value for key, value in layers.state_dict().items()}, folder / name)
    widths = [layers[number - 1].out_channels for number in backbones.BACKBONES[backbone].taken]
    weights = [torch.rand(1, width, 1, 1) for width in widths]  # type: ignore[arg-type]
    torch.save({f"lin{level}.model.1.weight": weight for level, weight in enumerate(weights)}, folder / heads)
    return weights


@pytest.mark.parametrize(("backbone", "heads"), [("vgg16", "vgg.pth"), ("alexnet", "alex.pth")])
def test_lpips_is_the_weighted_distance_of_unit_features(
    backbone: str, heads: str, tmp_path: Path, offline: None, pictures: np.ndarray
) -> None:
    weights = _weights(tmp_path, backbone, heads)
    measure = load_lpips(backbone, Needs(weights=tmp_path))
    assert np.allclose(measure(Frames(pictures[0], pictures, pictures)), 0)
    made = pictures[::-1].copy()
    got = measure(Frames(pictures[0], pictures, made))
    layers = backbones.load_backbone(backbone, tmp_path)
    expected = 0.0
    mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    a, b = ((torch.tensor((x / 127.5 - 1 - mean) / deviation).float().permute(2, 0, 1)[None]) for x in (pictures[0], made[0]))
    for first, second, weight in zip(layers(a), layers(b), weights, strict=True):
        units = [x / x.norm(dim=1, keepdim=True) for x in (first, second)]
        expected += float(((units[0] - units[1]) ** 2 * weight).sum(1).mean())
    assert got[0] == pytest.approx(expected, rel=1e-3)
    paper = load_lpips(backbone, Needs("paper", tmp_path))
    assert paper(Frames(pictures[0], pictures, made))[0] != pytest.approx(expected, rel=1e-3)


def test_lpips_is_that_of_torchmetrics() -> None:
    """As recorded from torchmetrics 1.9.0 on torchvision's AlexNet, with these made-up weights."""
    layers = backbones.feature_layers("alexnet")
    state = {f"features.{key}": _wave(value.shape, 0.05) for key, value in layers.state_dict().items()}
    widths = (64, 192, 384, 256, 256)
    distance = PerceptualDistance(
        backbones.FeatureLayers("alexnet", state), [_wave((1, width, 1, 1), 1).abs() for width in widths]
    )
    a, b = _wave((1, 3, 64, 64), 1), _wave((1, 3, 64, 64), 1).flip(3)
    assert float(distance(a, b)) == pytest.approx(1.563388, rel=1e-4)


def _wave(shape: tuple[int, ...], scale: float) -> torch.Tensor:
    count = int(np.prod(shape))
    return (torch.sin(torch.arange(count, dtype=torch.float64) * 1.7) * scale).float().view(shape)


def test_missing_weights_are_one_line_each_and_stop_no_other(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("feat", "face_alignment", "dlib", "torch_fidelity.feature_extractor_inceptionv3"):
        monkeypatch.setitem(sys.modules, package, None)
    names = ["L1", "LPIPS (VGG)", "AKD (face-alignment)", "AED (OpenFace)", "identity (dlib)", "ARD (py-feat)", "FID (Inception)"]
    metrics, problems = load_metrics(names)
    assert [metric.name for metric in metrics] == ["L1"]
    assert [problem.split(":")[0] for problem in problems] == names[1:]
    hints = ("vgg16-397923af", "paper-metrics", "nn4.small2", "mrfa[identity]", "paper-metrics", "paper-metrics")
    for problem, wanted in zip(problems, hints, strict=True):
        assert wanted in problem and "\n" not in problem


def test_damaged_weights_are_refused(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "torch_fidelity.feature_extractor_inceptionv3", SimpleNamespace(FeatureExtractorInceptionV3=None)
    )
    for name in ("vgg16-397923af.pth", "weights-inception-2015-12-05-6726825d.pth", "nn4.small2.v1.t7"):
        (tmp_path / name).write_bytes(b"nothing")
    metrics, problems = load_metrics(["LPIPS (VGG)", "AED (OpenFace)", "FID (Inception)"], Needs(weights=tmp_path))
    assert not metrics and len(problems) == 3 and all(str(tmp_path) in problem for problem in problems)


def test_openface_needs_an_opencv_that_reads_its_file(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nn4.small2.v1.t7").write_bytes(b"nothing")
    monkeypatch.delattr(cv2.dnn, "readNetFromTorch", raising=False)
    with pytest.raises(MetricUnavailableError, match=r"OpenCV \d.* cannot read .*nn4.* pip install 'opencv-python-headless<5'"):
        load_openface(tmp_path)


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20000, 3))
    assert frechet_distance(np.hstack([a, a])) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(np.hstack([a, a + np.array([1, 2, 2])])) == pytest.approx(9, rel=1e-6)
    # Means equal, standard deviations 1 and 3 in one direction: (3 - 1)^2.
    assert frechet_distance(np.hstack([a, a * [1, 1, 3]])) == pytest.approx(4, rel=0.05)
    assert np.isnan(frechet_distance(np.ones((1, 4))))


def test_fid_of_features(pictures: np.ndarray) -> None:
    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
            assert x.dtype == torch.uint8
            return (x[:, :, 0, :4].flatten(1).float(),)

    made = pictures[::-1].copy()
    features = inception_features(Corner(), "cpu")(Frames(pictures[0], pictures, made))
    assert features.shape == (2, 24)
    expected = made[:, 0, :4].transpose(0, 2, 1).reshape(2, 12), pictures[:, 0, :4].transpose(0, 2, 1).reshape(2, 12)
    assert np.array_equal(features, np.hstack(expected))


class _Faces(FaceMesh):
    def __init__(self) -> None:
        pass

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        if not picture.any():
            return None
        mesh = np.zeros((478, 3))
        mesh[[33, 263, 1]] = [[15, 15, 0], [48, 15, 0], [32, 40, 0]]
        return mesh


class _Mean:
    """Stands for OpenFace: the mean colour as embedding."""

    def setInput(self, blob: np.ndarray) -> None:  # noqa: N802
        self.blob = blob

    def forward(self) -> np.ndarray:
        return self.blob.mean(axis=(2, 3))


def test_identity_is_that_of_the_driver_or_of_the_portrait() -> None:
    red, green = (np.full((1, 64, 64, 3), colour, np.uint8) for colour in ([200, 0, 0], [0, 200, 0]))
    measure = descriptor_distance(openface_descriptor(_Mean()), _Faces())  # type: ignore[arg-type]
    assert measure(Frames(red[0], green, green))[0] == pytest.approx(0)
    assert measure(Frames(red[0], green, green, cross_identity=True))[0] == pytest.approx(np.sqrt(2))
    assert measure(Frames(red[0], green, red, cross_identity=True))[0] == pytest.approx(0)
    assert np.isnan(measure(Frames(red[0], green, green * 0))[0])


def test_dlib_tells_people_apart(faces: Path) -> None:
    pytest.importorskip("dlib")
    from mrfa.data.clips import list_clips, read_clip

    people = {clip.identity: clip.path for clip in list_clips(faces / "test")}
    first, second = (read_clip(path, 256) for path in list(people.values())[:2])
    metrics, problems = load_metrics(["identity (dlib)"])
    if problems:
        pytest.skip(problems[0])
    (metric,) = metrics
    same = metric.measure(Frames(first[0], first[[0, 10]], first[[0, 20]]))
    assert same[0] == 0 and 0 < same[1] < 0.4
    other = metric.measure(Frames(first[0], second[[10]], second[[10]], cross_identity=True))
    assert other[0] > 0.5


def test_dlib_gets_the_box_that_its_detector_would_give() -> None:
    mesh = np.full((478, 3), 50.0)
    mesh[10], mesh[152], mesh[234], mesh[454] = (50, 10, 0), (50, 90, 0), (20, 50, 0), (80, 50, 0)
    mesh[[70, 105, 107, 336, 334, 300], 1] = (32, 30, 34, 34, 31, 33)
    assert detector_box(mesh).tolist() == [20, 30, 80, 90]


class _Table(dict[str, list[float]]):
    """As much of py-feat's data frame as is read."""

    @property
    def columns(self) -> list[str]:
        return list(self)


class _Detector:
    """Finds two faces on every picture that is not black; the surer one tells the picture's value. Counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def detect(self, pictures: torch.Tensor, **options: object) -> _Table:
        self.asked += 1
        names = ("frame", "Yaw", "Pitch", "Roll", "AU01", "AU02", "FaceScore")
        rows = []
        for frame, picture in enumerate(pictures):
            value = float(picture[0, 0, 0])
            if value:
                angle = float(np.radians(value))
                rows.append((frame, 2 * angle, angle, 0.0, value / 20, 0.9, 0.99))
                rows.append((frame, 9.0, 9.0, 9.0, 0.0, 0.0, 0.2))
        return _Table({name: [row[column] for row in rows] for column, name in enumerate(names)})


def test_py_feat_angles_and_action_units() -> None:
    detector = _Detector()
    faces = py_feat.PyFeat(detector)
    true, made = (np.full((3, 8, 8, 3), value, np.uint8) for value in (6, 12))
    made[1], made[2] = 6, 0
    frames = Frames(true[0], true, made)
    angles, units = py_feat.angle_distance(faces)(frames), py_feat.unit_distance(faces)(frames)
    assert detector.asked == 2
    assert angles[0] == pytest.approx((12 + 6 + 0) / 3) and angles[1] == pytest.approx(0) and np.isnan(angles[2])
    assert units[0] == 1 and units[1] == 0 and np.isnan(units[2])
