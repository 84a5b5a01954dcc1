import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SHARED

from mrfa.network.config import TransformerDetectorConfig
from mrfa.network.geometry import HALF_PIXEL, OFFICIAL
from mrfa.network.high_resolution import HighResolutionTrunk
from mrfa.network.transformer import TransformerDetector, patches, sine_code

RENAMES = [
    (r"encoder\.pre_feature\.", "trunk."),
    (r"encoder\.transformer\.keypoint_token$", "motion_tokens"),
    (r"encoder\.transformer\.patch_to_embedding\.", "patch_embedding."),
    (r"encoder\.transformer\.mlp_head\.", "position_head."),
    (r"encoder\.transformer\.mlp_head_jacobian\.", "affine_head."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.0\.fn\.norm\.", r"layers.\1.attention.norm."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.0\.fn\.fn\.to_qkv\.", r"layers.\1.attention.query_key_value."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.0\.fn\.fn\.to_out\.0\.", r"layers.\1.attention.output."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.1\.fn\.norm\.", r"layers.\1.perceptron.0."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.1\.fn\.fn\.net\.0\.", r"layers.\1.perceptron.1."),
    (r"encoder\.transformer\.transformer\.layers\.(\d+)\.1\.fn\.fn\.net\.3\.", r"layers.\1.perceptron.3."),
]


def tiny() -> TransformerDetector:
    torch.manual_seed(0)
    config = TransformerDetectorConfig(
        keypoints=3, width=16, layers=2, heads=4, hidden=8, trunk_widths=(4, 4, 4), trunk_stem_width=4
    )
    return TransformerDetector(config, HALF_PIXEL).eval()


def renamed(name: str) -> str:
    for pattern, replacement in RENAMES:
        if match := re.match(pattern, name.removeprefix("module.")):
            return match.expand(replacement) + match.string[match.end() :]
    raise AssertionError(f"no rule for {name}")


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_detector_sees_each_picture_alone_at_other_sizes(size: tuple[int, int]) -> None:
    detector = tiny()
    torch.nn.init.normal_(detector.affine_head[1].weight)
    images = torch.rand(2, 3, *size)
    keypoints = detector(images)
    assert keypoints.positions.shape == (2, 3, 2)
    assert keypoints.affine is not None and keypoints.affine.shape == (2, 3, 2, 2)
    alone = detector(images[1:])
    assert torch.allclose(alone.positions, keypoints.positions[1:], atol=1e-5)
    assert torch.allclose(alone.affine, keypoints.affine[1:], atol=1e-5)
    assert not torch.allclose(keypoints.positions[0], keypoints.positions[1], atol=1e-6)


def test_affine_maps_start_at_the_identity() -> None:
    keypoints = tiny()(torch.rand(2, 3, 64, 64))
    assert keypoints.affine is not None
    assert torch.equal(keypoints.affine, torch.eye(2).expand(2, 3, 2, 2))


def test_position_and_affine_tokens_are_not_mixed_up() -> None:
    detector = tiny()
    detector.layers = torch.nn.ModuleList()
    torch.nn.init.normal_(detector.affine_head[1].weight)
    image = torch.rand(1, 3, 64, 64)
    before = detector(image)
    with torch.no_grad():
        detector.motion_tokens[0, 4, :8] += 1
    after = detector(image)
    assert torch.equal(before.positions, after.positions)
    assert before.affine is not None and after.affine is not None
    changed = (before.affine != after.affine).flatten(2).any(2)
    assert changed.tolist() == [[False, True, False]]


def test_every_parameter_learns() -> None:
    detector = tiny().train()
    torch.nn.init.normal_(detector.affine_head[1].weight)
    keypoints = detector(torch.rand(2, 3, 64, 64))
    assert keypoints.affine is not None
    (keypoints.positions.square().sum() + keypoints.affine.square().sum()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_keypoints_are_single_precision_in_mixed_precision() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        keypoints = tiny()(torch.rand(1, 3, 64, 64))
    assert keypoints.positions.dtype == torch.float32
    assert keypoints.affine is not None and keypoints.affine.dtype == torch.float32


def test_trunk_keeps_a_quarter_of_the_size() -> None:
    trunk = HighResolutionTrunk(widths=(4, 6, 8), stem_width=4).eval()
    assert trunk(torch.rand(1, 3, 64, 96)).shape == (1, trunk.out_channels, 16, 24)
    assert trunk.out_channels == 4


def test_patches_run_over_rows_columns_and_channels() -> None:
    features = torch.arange(2 * 4 * 6).view(1, 2, 4, 6)
    cut = patches(features, 2)
    assert cut.shape == (1, 6, 8)
    # The patch in the second row of patches and their third column.
    expected = [features[0, channel, row, column] for row in (2, 3) for column in (4, 5) for channel in (0, 1)]
    assert cut[0, 5].tolist() == [int(value) for value in expected]


def test_sine_code_holds_row_then_column() -> None:
    code = sine_code(4, 6, 16, torch.zeros(1)).view(4, 6, 16)
    assert torch.equal(code[2, 0, :8], code[2, 5, :8])
    assert torch.equal(code[0, 3, 8:], code[3, 3, 8:])
    # The first of four rows is a quarter of the circle.
    assert torch.allclose(code[0, 0, :2], torch.tensor([1.0, 0.0]), atol=1e-5)
    # Its second frequency is ten times lower: 10000^(2/8).
    assert code[0, 0, 2].item() == pytest.approx(np.sin(np.pi / 20), abs=1e-5)


@pytest.fixture(scope="module")
def reference() -> Path:
    folder = SHARED / "reference"
    if not folder.is_dir():
        pytest.skip("the numerical reference does not lie beside this checkout")
    return folder


def test_sine_code_is_the_published_one(reference: Path) -> None:
    expected = np.load(reference / "constants.npz")["module.encoder.transformer.pos_embedding"]
    assert np.abs(sine_code(16, 16, 192, torch.zeros(1)).numpy() - expected[0]).max() <= 1e-6


def test_keypoints_are_the_published_networks(reference: Path) -> None:
    fill = runpy.run_path(str(reference / "fill.py"))
    expected = np.load(reference / "expected_mtia.npz")
    manifest = json.loads((reference / "manifest_mtia.json").read_text())
    detector = TransformerDetector(TransformerDetectorConfig(), OFFICIAL).eval()
    shapes = {
        renamed(entry["name"]): tuple(entry["shape"])
        for entry in manifest["entries"]
        if entry["group"] == "encoder" and not entry["name"].endswith("pos_embedding")
    }
    assert shapes == {name: tuple(value.shape) for name, value in detector.state_dict().items()}
    filled = fill["fill_manifest"](manifest, "public-A2", groups=("encoder",))
    rest = detector.load_state_dict({renamed(name): torch.from_numpy(value) for name, value in filled.items()}, strict=False)
    assert not rest.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in rest.missing_keys)

    source, driving, initial = fill["images"](1)
    images = {
        "syn": {"source": source, "driving": driving},
        "prior": {"source": source, "driving": driving},
        "rel": {"source": source, "initial": initial},
        "real": {"source": expected["face_source"], "driving": expected["face_driving"]},
    }
    for case, roles in images.items():
        batch = np.concatenate([fill["to_tensor_array"](image) for image in roles.values()])
        with torch.no_grad():
            keypoints = detector(torch.from_numpy(batch))
        assert keypoints.affine is not None
        for index, role in enumerate(roles):
            assert np.abs(keypoints.positions[index].numpy() - expected[f"{case}/kp_{role}"]).max() <= 1e-5
            assert np.abs(keypoints.affine[index].numpy() - expected[f"{case}/jac_{role}"]).max() <= 1e-5
