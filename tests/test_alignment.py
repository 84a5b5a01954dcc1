import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mrfa.network.alignment import align_background, away_from_face
from mrfa.network.background import background_flow
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.model import Network
from mrfa.training.config import Config


@pytest.fixture
def picture() -> Tensor:
    torch.manual_seed(0)
    return functional.interpolate(torch.rand(1, 3, 24, 24), size=(128, 128), mode="bicubic").clamp(0, 1)


@pytest.fixture
def affine() -> Tensor:
    return torch.tensor([[[1.03, -0.02, 0.06], [0.02, 0.98, -0.05], [0, 0, 1]]])


@pytest.fixture
def face() -> Tensor:
    """Keypoints spread over the middle of the picture."""
    torch.manual_seed(1)
    return torch.rand(1, 20, 2) * 0.5 - 0.25


def _moved(picture: Tensor, affine: Tensor, conventions: Conventions) -> Tensor:
    return conventions.sample(picture, background_flow(affine, (128, 128), conventions), padding="border")


@pytest.mark.parametrize("conventions", [CORNER_ALIGNED, HALF_PIXEL])
def test_finds_the_motion_of_the_background(picture: Tensor, affine: Tensor, face: Tensor, conventions: Conventions) -> None:
    found = align_background(picture, _moved(picture, affine, conventions), face, face, conventions)
    # A hundredth is half a pixel of 128.
    assert torch.allclose(found, affine, atol=4e-3)


def test_does_not_follow_the_face(picture: Tensor, affine: Tensor, face: Tensor) -> None:
    driving = _moved(picture, affine, HALF_PIXEL)
    driving[..., 40:88, 40:88] = torch.roll(picture, 6, dims=3)[..., 40:88, 40:88]
    assert torch.allclose(align_background(picture, driving, face, face, HALF_PIXEL), affine, atol=6e-3)


def test_nothing_to_see_is_no_motion(face: Tensor) -> None:
    plain = torch.full((1, 3, 128, 128), 0.5)
    assert torch.allclose(align_background(plain, plain, face, face, HALF_PIXEL), torch.eye(3)[None])
    strange = torch.full_like(plain, torch.nan)
    assert torch.equal(align_background(strange, plain, face, face, HALF_PIXEL), torch.eye(3)[None])


def test_weight_is_low_among_the_keypoints(face: Tensor) -> None:
    weight = away_from_face(face, 64, HALF_PIXEL)
    assert weight.shape == (1, 1, 64, 64)
    assert weight[0, 0, 32, 32] < 0.01 and weight[0, 0, 0, 0] > 0.99


def test_network_follows_within_a_video_and_stands_still_when_animating(tiny_config: Config, picture: Tensor) -> None:
    config = tiny_config.network.model_copy(update={"background": "aligned"})
    torch.manual_seed(0)
    network = Network(config).eval()
    source = functional.interpolate(picture, size=64)
    driving = torch.roll(source, 3, dims=3)
    with torch.no_grad():
        within, encoded = network(source, driving), network.encode_source(source)
        assert within.background is not None and within.background.shape == (1, 3, 3)
        assert network.animate(encoded, network.detect(driving)).background is None
        # One source, several driving frames.
        both = torch.cat([driving, source])
        several = network.follow_background(encoded, both, network.detect(both))
    assert several is not None and torch.allclose(several[:1], within.background, atol=1e-5)
