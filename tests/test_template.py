import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mrfa.animation import template as template_module
from mrfa.animation.head import face_statistics, project
from mrfa.animation.template import FORMAT, LAYOUT, PLACES, VERSION, DetectorTrack, FaceTrack, MotionTemplate
from mrfa.data.guidance import GROUPS
from mrfa.errors import InputError
from mrfa.network.geometry import CORNER_ALIGNED
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import detector_fingerprint

FRAMES, FREE = 4, 2
FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def template() -> MotionTemplate:
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    mean = face_statistics().mean[:, :2].float()
    return MotionTemplate(
        pts=[512, 1024, 1100, 2048],
        durations=[512, 76, None, 512],
        time_base=Fraction(1, 12800),
        rate=Fraction(30000, 1001),
        face=FaceTrack(mean / 2 + 0.05 * noise(FRAMES, GROUPS, 2), mean + 0.05 * noise(GROUPS, 2)),
        detected=DetectorTrack(noise(FRAMES, FREE, 2), torch.eye(2) + 0.1 * noise(FRAMES, GROUPS + FREE, 2, 2), FINGERPRINT),
    )


def assert_equal(one: MotionTemplate, other: MotionTemplate) -> None:
    for name in ("pts", "durations", "time_base", "rate"):
        assert getattr(one, name) == getattr(other, name), name
    for first, second in ((one.face, other.face), (one.detected, other.detected)):
        assert (first is None) == (second is None)
        for value, same in zip(first or (), second or (), strict=True):
            if isinstance(value, torch.Tensor):
                torch.testing.assert_close(value, same, rtol=0, atol=0)
            else:
                assert value == same


@pytest.mark.parametrize(
    "change",
    [
        lambda template: template,
        lambda template: replace(template, face=None, detected=template.detected._replace(affine=None)),
        lambda template: replace(template, detected=template.detected._replace(affine=None)),
        lambda template: replace(template, detected=None),
    ],
)
def test_round_trip(template: MotionTemplate, tmp_path: Path, change: Callable[[MotionTemplate], MotionTemplate]) -> None:
    template = change(template)
    path = tmp_path / "motion.safetensors"
    template.save(path)
    assert_equal(MotionTemplate.load(path), template)
    assert [p.name for p in tmp_path.iterdir()] == ["motion.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode, "readable by whom the user's mask says"


def test_pose_shape_and_expression_give_the_places_back(template: MotionTemplate, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = template.frames()
    assert template.face is not None
    again = project(frames.front, frames.pose, face_statistics().mean[:, 2])
    torch.testing.assert_close(again.float(), template.face.places, rtol=0, atol=1e-7)
    torch.testing.assert_close(frames.shape.float(), template.face.shape, rtol=0, atol=0)
    monkeypatch.setattr(template_module, "_TOGETHER", 3)
    for part, whole in zip(template.frames().pose, frames.pose, strict=True):
        torch.testing.assert_close(part, whole)


def test_a_layout_is_its_places() -> None:
    """Who changes the places makes a new name for them, or older templates would be read wrongly."""
    assert LAYOUT == "mrfa-landmarks-26"
    assert hashlib.sha256(PLACES.encode()).hexdigest().startswith("d0e332917a815a15")


@pytest.mark.parametrize("conventions", [None, CORNER_ALIGNED])
def test_its_own_detector_gets_all_keypoints(template: MotionTemplate, tiny_config: Config, conventions: object) -> None:
    network = Network(tiny_config.network).eval()
    if conventions is not None:
        network.conventions = conventions
    detected = template.detected
    assert template.face is not None and detected is not None and detected.affine is not None
    fits = replace(template, detected=detected._replace(fingerprint=detector_fingerprint(network)))
    positions, affine = fits.keypoints(network, "motion.safetensors")
    sides = (network.config.image_size,) * 2
    named = network.conventions.to_half_pixel(positions[:, :GROUPS].double(), sides)
    torch.testing.assert_close(named.float(), template.face.places, rtol=0, atol=1e-7)
    torch.testing.assert_close(positions[:, GROUPS:], detected.positions, rtol=0, atol=0)
    torch.testing.assert_close(affine, detected.affine, rtol=0, atol=0)
    for other in (template, replace(template, detected=None)):
        named_alone = other.keypoints(network, "motion.safetensors")
        assert isinstance(named_alone, Keypoints) and named_alone.affine is None
        torch.testing.assert_close(named_alone.positions, positions[:, :GROUPS], rtol=0, atol=0)


def test_templates_and_models_without_names_fit_one_detector(template: MotionTemplate, tiny_config: Config) -> None:
    detector = tiny_config.network.detector.model_copy(update={"layout": "free"})
    free = Network(tiny_config.network.model_copy(update={"detector": detector})).eval()
    message = rf"motion\.safetensors, made with the detector {FINGERPRINT}, does not fit this model's detector"
    with pytest.raises(InputError, match=message):
        template.keypoints(free, "motion.safetensors")
    with pytest.raises(InputError, match=r"motion\.safetensors does not fit this model's detector"):
        replace(template, detected=None).keypoints(free, "motion.safetensors")
    nameless = replace(template, face=None)
    with pytest.raises(InputError, match=message):
        nameless.keypoints(Network(tiny_config.network).eval(), "motion.safetensors")
    with pytest.raises(InputError, match="keypoints have no names"):
        nameless.frames()


def test_what_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no motion template at"):
        MotionTemplate.load(tmp_path / "absent.safetensors")
    garbage = tmp_path / "garbage.safetensors"
    for content in (b"", b"not safetensors at all", b"\x80\x04."):
        garbage.write_bytes(content)
        with pytest.raises(InputError, match=r"garbage\.safetensors is not a motion template"):
            MotionTemplate.load(garbage)
    weights = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(3)}, weights)
    with pytest.raises(InputError, match=r"model\.safetensors is not a motion template: make one with"):
        MotionTemplate.load(weights)


def test_version_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    tensors = {"positions": torch.rand(2, 34, 2), "pts": torch.arange(2), "durations": torch.ones(2, dtype=torch.int64)}
    metadata = {"format": FORMAT, "version": "1", "time_base": "1/25", "rate": "25", "detector": FINGERPRINT}
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    with pytest.raises(InputError, match=r"old\.safetensors is a motion template of version 1, .*with  mrfa motion extract"):
        MotionTemplate.load(tmp_path / "old.safetensors")


FLAT = torch.zeros(FRAMES, GROUPS, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pts": torch.tensor([0, 1, 1, 2])}, "damaged"),
        ({"pts": torch.tensor([0, 1])}, "damaged"),
        ({"durations": torch.tensor([1])}, "damaged"),
        ({"positions": torch.full((4, FREE, 2), torch.nan)}, "damaged"),
        ({"positions": torch.zeros(4, FREE, 3)}, "damaged"),
        ({"positions": torch.zeros(3, FREE, 2)}, "damaged"),
        ({"affine": torch.zeros(4, GROUPS + FREE, 2)}, "damaged"),
        ({"affine": torch.eye(2).expand(4, FREE, 2, 2)}, "damaged"),
        ({"positions": None}, "damaged"),
        ({"places": None}, "damaged"),
        ({"shape": None}, "damaged"),
        ({"places": FLAT[:, :5]}, "damaged"),
        ({"places": FLAT[:3]}, "damaged"),
        ({"places": FLAT}, "damaged"),
        ({"places": torch.full((4, GROUPS, 2), torch.nan)}, "damaged"),
        ({"places": torch.linspace(0, 20, 4 * GROUPS * 2).reshape(4, GROUPS, 2)}, "damaged"),
        ({"shape": FLAT[0, :5]}, "damaged"),
        ({"shape": FLAT[0] + 17}, "damaged"),
        ({"shape": FLAT[0] + torch.nan}, "damaged"),
        ({"shape": FLAT[0].double()}, "damaged"),
        ({"pts": torch.zeros(0, dtype=torch.int64)}, "holds no frames"),
        ({"time_base": "0"}, "damaged"),
        ({"time_base": "1/0"}, "damaged"),
        ({"rate": "fast"}, "damaged"),
        ({"time_base": "1e999999999"}, "damaged"),
        ({"rate": "-25"}, "damaged"),
        ({"time_base": f"1/{2**31}"}, "damaged"),
        ({"pts": torch.tensor([0, 1, 2, 2**31 + 3])}, "damaged"),
        ({"pts": torch.arange(4) + 2**60}, "damaged"),
        ({"durations": torch.tensor([1, 1, 1, 2**40])}, "damaged"),
        ({"version": "99"}, "of version 99, and not of 2"),
        ({"layout": "mrfa-landmarks-27"}, r"another layout \(mrfa-landmarks-27\)"),
        ({"layout_places": PLACES.replace("chin", "beard")}, "another layout"),
        ({"detector": "../../etc"}, "damaged"),
        ({"pts": torch.tensor(3)}, "damaged"),
        ({"pts": torch.full((4,), torch.inf)}, "damaged"),
        ({"durations": torch.ones(2, 2, dtype=torch.int64)}, "damaged"),
        ({"positions": torch.full((4, FREE, 2), 6e29)}, "damaged"),
        ({"affine": torch.full((4, GROUPS + FREE, 2, 2), 1e20)}, "damaged"),
        ({"affine": torch.zeros(4, GROUPS + FREE, 2, 2)}, "damaged"),
        ({"rate": "9" * 60}, "damaged"),
        ({"time_base": "1/3000000000"}, "damaged"),
        ({"time_base": "1e-99999999"}, "damaged"),
    ],
)
def test_damaged_templates(
    template: MotionTemplate, tmp_path: Path, change: dict[str, torch.Tensor | str | None], message: str
) -> None:
    path = tmp_path / "motion.safetensors"
    template.save(path)
    tensors: dict[str, torch.Tensor] = load_file(path)
    metadata = {"format": FORMAT, "version": VERSION, "time_base": "1/12800", "rate": "25", "detector": "0"}
    metadata |= {"layout": LAYOUT, "places": PLACES}
    for key, value in change.items():
        if value is None:
            del tensors[key]
        elif isinstance(value, str):
            metadata["places" if key == "layout_places" else key] = value
        else:
            tensors[key] = value.contiguous()
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=message):
        MotionTemplate.load(path)


def test_a_template_of_nothing_is_damaged(template: MotionTemplate, tmp_path: Path) -> None:
    replace(template, face=None, detected=None).save(tmp_path / "motion.safetensors")
    with pytest.raises(InputError, match="damaged"):
        MotionTemplate.load(tmp_path / "motion.safetensors")
