"""Pictures made worse: what source, driving picture and target have in common, and how strong each damage is."""

import cv2
import numpy as np
import pytest
import torch
from conftest import pair_batch
from torch import Tensor

from mrfa.data.guidance import GROUPS
from mrfa.training import degradation
from mrfa.training.augmentation import Pair, augment
from mrfa.training.config import AugmentationConfig, DegradationConfig
from mrfa.training.degradation import Look, damage, jpeg


@pytest.fixture(autouse=True)
def _visible_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    """As strong on small pictures as on large ones."""
    monkeypatch.setattr(degradation, "BLUR", 8.0)


def _picture(size: int = 64) -> Tensor:
    """Edges, slopes and texture in colour, `[3, size, size]` in [0, 1]."""
    rng = np.random.default_rng(0)
    picture = np.stack(np.meshgrid(np.linspace(0.2, 0.8, size), np.linspace(0.7, 0.3, size)), -1)
    picture = np.concatenate([picture, np.full((size, size, 1), 0.5)], -1).astype(np.float32)
    picture += cv2.GaussianBlur(rng.normal(0, 0.5, (size, size, 3)).astype(np.float32), (0, 0), 1.5)
    cv2.circle(picture, (size // 2, size // 3), size // 5, (0.9, 0.3, 0.2), -1, cv2.LINE_AA)
    return torch.from_numpy(picture.clip(0, 1)).permute(2, 0, 1)


def _pair(count: int, shares: dict[str, float]) -> tuple[Pair, Tensor]:
    """A pair of two equal pictures, and these."""
    torch.manual_seed(0)
    pictures = (_picture() * 255).round().to(torch.uint8).expand(count, -1, -1, -1)
    groups = torch.zeros(count, GROUPS, 2)
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0, degradation=DegradationConfig(**shares))
    pair = augment(pair_batch((pictures, pictures), (groups, groups)), config)
    return pair, pictures.float() / 255


def _differ(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((1, 2, 3)) > 1e-3


@pytest.mark.parametrize("damaged", ["noise", "banding", "compression"])
def test_damage_is_not_in_the_target(damaged: str) -> None:
    pair, clean = _pair(12, {damaged: 1.0})
    torch.testing.assert_close(pair.target, clean, atol=1e-5, rtol=0)
    for picture in (pair.source, pair.driving):
        assert _differ(picture, clean).float().mean() > 0.9
    assert _differ(pair.source, pair.driving).float().mean() > 0.9


@pytest.mark.parametrize("look", ["blur", "resolution", "light"])
def test_look_of_the_source_is_that_of_the_target(look: str) -> None:
    pair, clean = _pair(12, {look: 1.0})
    torch.testing.assert_close(pair.source, pair.target)
    assert _differ(pair.source, clean).float().mean() > 0.8
    if look != "resolution":  # which all low pictures of a draw have in common
        assert _differ(pair.source, pair.driving).float().mean() > 0.8


@pytest.mark.parametrize("name", list(DegradationConfig.model_fields))
def test_a_share_of_the_pictures_is_made_worse(name: str) -> None:
    pair, clean = _pair(100, {name: 0.3})
    for picture in (pair.source, pair.driving):
        assert 0.12 < _differ(picture, clean).float().mean() < 0.4


def test_nothing_is_made_worse_unless_asked() -> None:
    pair, clean = _pair(2, {})
    for picture in (pair.source, pair.driving, pair.target):
        torch.testing.assert_close(picture, clean, atol=1e-6, rtol=0)


@pytest.mark.parametrize("quality", [10, 30, 75])
def test_jpeg_is_that_of_the_standard(quality: int) -> None:
    """Against libjpeg, with colours at half the size: the difference is small beside what either loses."""
    picture = _picture()
    pixels = (picture.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    true = torch.from_numpy(decoded[..., ::-1].copy()).permute(2, 0, 1) / 255
    start = torch.from_numpy(pixels).permute(2, 0, 1) / 255
    got = jpeg(start[None], torch.tensor([float(quality)]))[0]
    lost = (true - start).square().mean()
    assert (got - true).square().mean() < 0.1 * lost and (got - start).square().mean() / lost == pytest.approx(1, abs=0.15)


def test_sides_that_are_no_multiple_of_a_block() -> None:
    picture = _picture()[None, :, :50, :37]
    got = jpeg(picture, torch.tensor([90.0]))
    assert got.shape == picture.shape and (got - picture).abs().mean() < 0.03


def test_strengths_are_bounded() -> None:
    torch.manual_seed(0)
    grey = torch.full((300, 3, 32, 32), 0.5)
    noise = (damage(grey, DegradationConfig(noise=1)) - grey).flatten(1).std(1)
    assert 0.8 * degradation.NOISE < noise.max() < 1.2 * degradation.NOISE and noise.min() < 0.02
    slope = torch.linspace(0, 1, 256).expand(100, 3, 16, 256)
    levels = [len(picture.unique()) for picture in damage(slope, DegradationConfig(banding=1))]
    assert min(levels) >= degradation.LEVELS[0] and max(levels) <= degradation.LEVELS[1] + 1
    lit = Look.draw(grey, DegradationConfig(light=1)).apply(grey)
    change = (lit / 0.5 - 1).abs().flatten(1).amax(1)
    assert change.max() < (1 + degradation.TINT) * (1 + degradation.GRADIENT * 2**0.5) - 1 and change.mean() > 0.1


def test_blur_has_the_deviation_that_was_drawn() -> None:
    point = torch.zeros(1, 3, 65, 65)
    point[..., 32, 32] = 1
    for deviation in (0.0, 1.2):
        look = Look(torch.tensor([deviation]), 0.5, torch.tensor([False]), torch.ones(1, 3), torch.zeros(1, 2))
        spread = look.apply(point)[0, 1]
        assert spread.sum() == pytest.approx(1, abs=1e-3)
        for side in (0, 1):
            variance = (spread.sum(side) * (torch.arange(65) - 32.0) ** 2).sum()
            assert float(variance) ** 0.5 == pytest.approx(deviation, abs=0.05)


def test_costly_changes_are_made_of_some_pictures_in_their_places() -> None:
    torch.manual_seed(0)
    images = torch.arange(10.0).view(10, 1, 1, 1)
    changed = [(degradation._some(images, 0.25, lambda some: some + 100) - images).flatten() / 100 for _ in range(40)]
    assert {value for each in changed for value in each.tolist()} == {0.0, 1.0}
    assert {int(each.sum()) for each in changed} == {2, 3}
    assert (torch.stack(changed).sum(0) > 0).all()
