from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mrfa.animation.template import FORMAT, MotionTemplate
from mrfa.errors import InputError
from mrfa.network.keypoints import stack_keypoints


@pytest.fixture
def template() -> MotionTemplate:
    return MotionTemplate(
        positions=torch.rand(4, 5, 2),
        affine=torch.rand(4, 5, 2, 2),
        pts=[512, 1024, 1100, 2048],
        durations=[512, 76, None, 512],
        time_base=Fraction(1, 12800),
        rate=Fraction(30000, 1001),
        fingerprint="0123456789abcdef",
    )


def assert_equal(one: MotionTemplate, other: MotionTemplate) -> None:
    torch.testing.assert_close(one.positions, other.positions, rtol=0, atol=0)
    if one.affine is None or other.affine is None:
        assert one.affine is other.affine
    else:
        torch.testing.assert_close(one.affine, other.affine, rtol=0, atol=0)
    for name in ("pts", "durations", "time_base", "rate", "fingerprint"):
        assert getattr(one, name) == getattr(other, name), name


@pytest.mark.parametrize("with_affine", [True, False])
def test_round_trip(template: MotionTemplate, tmp_path: Path, with_affine: bool) -> None:
    if not with_affine:
        template = replace(template, affine=None)
    path = tmp_path / "motion.safetensors"
    template.save(path)
    assert_equal(MotionTemplate.load(path), template)
    assert [p.name for p in tmp_path.iterdir()] == ["motion.safetensors"]


def test_iterates_frame_by_frame(template: MotionTemplate) -> None:
    frames = list(template)
    assert len(frames) == len(template) == 4
    assert frames[0].positions.shape == (1, 5, 2)
    stacked = stack_keypoints(frames)
    torch.testing.assert_close(stacked.positions, template.positions)
    torch.testing.assert_close(stacked.affine, template.affine)


def test_other_detectors_are_refused(template: MotionTemplate) -> None:
    template.check_detector("0123456789abcdef", "motion.safetensors")
    with pytest.raises(InputError, match=r"motion\.safetensors was made with another model's keypoints"):
        template.check_detector("f" * 16, "motion.safetensors")


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pts": torch.tensor([0, 1, 1, 2])}, "damaged"),
        ({"pts": torch.tensor([0, 1])}, "damaged"),
        ({"durations": torch.tensor([1])}, "damaged"),
        ({"positions": torch.full((4, 5, 2), torch.nan)}, "damaged"),
        ({"positions": torch.zeros(4, 5, 3)}, "damaged"),
        ({"affine": torch.zeros(4, 5, 2)}, "damaged"),
        ({"positions": None}, "damaged"),
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
        ({"version": "99"}, "another version"),
        ({"pts": torch.tensor(3)}, "damaged"),
        ({"pts": torch.full((4,), torch.inf)}, "damaged"),
        ({"durations": torch.ones(2, 2, dtype=torch.int64)}, "damaged"),
        ({"positions": torch.full((4, 5, 2), 6e29)}, "damaged"),
        ({"affine": torch.full((4, 5, 2, 2), 1e20)}, "damaged"),
        ({"affine": torch.zeros(4, 5, 2, 2)}, "damaged"),
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
    metadata = {"format": FORMAT, "version": "1", "time_base": "1/12800", "rate": "25", "detector": "0"}
    for key, value in change.items():
        if value is None:
            del tensors[key]
        elif isinstance(value, str):
            metadata[key] = value
        else:
            tensors[key] = value
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=message):
        MotionTemplate.load(path)
