"""Judges that need weights: known answers with small made-up ones, and one clear line where they are missing."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mrfa import backbones
from mrfa.evaluation.judges import Frames, load_judges, py_feat
from mrfa.evaluation.judges.face_alignment_judge import AKDJudge
from mrfa.evaluation.judges.face_mesh import FaceMesh
from mrfa.evaluation.judges.fid import FIDJudge, frechet_distance
from mrfa.evaluation.judges.identity import AEDJudge
from mrfa.evaluation.judges.inception import InceptionFeatures
from mrfa.evaluation.judges.lpips import lpips_judge


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
    judge = lpips_judge(backbone, variant="standard", weights=tmp_path, device="cpu")
    assert np.allclose(judge(Frames(pictures[0], pictures, pictures)), 0)
    made = pictures[::-1].copy()
    got = judge(Frames(pictures[0], pictures, made))
    layers = backbones.load_backbone(backbone, tmp_path)
    expected = 0.0
    mean, deviation = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    a, b = ((torch.tensor((x / 127.5 - 1 - mean) / deviation).float().permute(2, 0, 1)[None]) for x in (pictures[0], made[0]))
    for first, second, weight in zip(layers(a), layers(b), weights, strict=True):
        units = [x / x.norm(dim=1, keepdim=True) for x in (first, second)]
        expected += float(((units[0] - units[1]) ** 2 * weight).sum(1).mean())
    assert got[0] == pytest.approx(expected, rel=1e-3)
    paper = lpips_judge(backbone, variant="paper", weights=tmp_path, device="cpu")
    assert paper(Frames(pictures[0], pictures, made))[0] != pytest.approx(expected, rel=1e-3)


def test_missing_weights_are_one_line_each_and_stop_no_other(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("feat", "face_alignment"):
        monkeypatch.setitem(sys.modules, package, None)
    names = ["L1", "LPIPS (VGG)", "AKD (face-alignment)", "AED (OpenFace)", "ARD (py-feat)", "FID (Inception)"]
    if sys.version_info >= (3, 13):
        pytest.skip("mediapipe has no wheel here")
    judges, problems = load_judges(names)
    assert [judge.name for judge in judges] == ["L1"]
    assert [problem.split(":")[0] for problem in problems] == names[1:]
    hints = ("vgg16-397923af", "pip install", "nn4.small2", "pip install", "pt_inception")
    for problem, wanted in zip(problems, hints, strict=True):
        assert wanted in problem and "\n" not in problem


def test_damaged_weights_are_refused(tmp_path: Path, offline: None) -> None:
    for name in ("vgg16-397923af.pth", "pt_inception-2015-12-05-6726825d.pth", "nn4.small2.v1.t7"):
        (tmp_path / name).write_bytes(b"nothing")
    judges, problems = load_judges(["LPIPS (VGG)", "AED (OpenFace)", "FID (Inception)"], weights=tmp_path)
    assert not judges and len(problems) == 3 and all(str(tmp_path) in problem for problem in problems)


def test_frechet_distance_of_known_gaussians() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20000, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + np.array([1, 2, 2])) == pytest.approx(9, rel=1e-6)
    # Means equal, standard deviations 1 and 3 in one direction: (3 - 1)^2.
    assert frechet_distance(a, a * [1, 1, 3]) == pytest.approx(4, rel=0.05)


def test_fid_of_features(pictures: np.ndarray) -> None:
    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :, 0, :4].flatten(1)

    judge = FIDJudge(Corner(), "cpu")
    features = np.concatenate([judge.features(Frames(pictures[0], pictures, pictures)) for _ in range(3)])
    assert features.shape == (6, 24) and judge.result(features) == pytest.approx(0, abs=1e-6)


def test_inception_has_the_published_size() -> None:
    network = InceptionFeatures().eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 21_785_568
    assert network.state_dict()["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    with torch.no_grad():
        assert network(torch.rand(1, 3, 64, 64)).shape == (1, 2048)


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
    judge = AEDJudge(_Mean(), _Faces())  # type: ignore[arg-type]
    assert judge(Frames(red[0], green, green))[0] == pytest.approx(0)
    assert judge(Frames(red[0], green, green, cross_identity=True))[0] == pytest.approx(np.sqrt(2))
    assert judge(Frames(red[0], green, red, cross_identity=True))[0] == pytest.approx(0)
    assert np.isnan(judge(Frames(red[0], green, green * 0))[0])


def test_face_alignment_distance() -> None:
    def landmarks(picture: np.ndarray) -> list[np.ndarray] | None:
        return [np.full((68, 2), float(picture[0, 0, 0]))] if picture.any() else None

    judge = AKDJudge(SimpleNamespace(get_landmarks_from_image=landmarks))
    true, made = (np.full((2, 128, 128, 3), value, np.uint8) for value in (10, 13))
    made[1] = 0
    values = judge(Frames(true[0], true, made))
    assert values[0] == pytest.approx(3 * np.sqrt(2) * 2) and np.isnan(values[1])


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
    angles, units = py_feat.ARDJudge(faces)(frames), py_feat.AUHJudge(faces)(frames)
    assert detector.asked == 2
    assert angles[0] == pytest.approx((12 + 6 + 0) / 3) and angles[1] == pytest.approx(0) and np.isnan(angles[2])
    assert units[0] == 1 and units[1] == 0 and np.isnan(units[2])
