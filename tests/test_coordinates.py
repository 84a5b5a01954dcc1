"""Half-pixel coordinates agree at every resolution: what moves in the picture moves as far in every map made of it."""

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn import functional

from mrfa.network.config import AffineDetectorConfig, GeneratorConfig
from mrfa.network.correlation import CorrelationVolume
from mrfa.network.generator import ImageEncoder
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, OFFICIAL, Conventions, invert_2x2
from mrfa.network.keypoints import AffineDetector
from mrfa.network.layers import AntiAliasDownsample
from mrfa.network.refinement import coarse_pyramid

SIDE = 256
DIVISORS = (1, 2, 4, 8, 16, 32)
EXACT = {"atol": 1e-6, "rtol": 0}


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def shift(pixels: float, divisor: int, conventions: Conventions = HALF_PIXEL) -> Tensor:
    """Normalised displacement to the right by so many pixels of the picture, at a resolution: `[1, 2, h, w]`."""
    side = SIDE // divisor
    step = torch.tensor([pixels, 0.0]).view(1, 2, 1, 1) / conventions.pixel_scale((SIDE, SIDE), torch.zeros(()))
    return step.double().expand(1, 2, side, side)


def zoom(divisor: int, factor: float = 1.1) -> Tensor:
    """Backward flow of a zoom about the picture's middle, at a resolution: `[1, h, w, 2]`."""
    side = SIDE // divisor
    return HALF_PIXEL.grid(side, side, noise(1))[None] * factor


@pytest.mark.parametrize("divisor", DIVISORS)
def test_a_shifted_picture_gives_shifted_averages_at_every_level(divisor: int) -> None:
    picture = noise(1, 1, SIDE, SIDE + 32)
    features, shifted = (functional.avg_pool2d(part, divisor) for part in (picture[..., :-32], picture[..., 32:]))
    cells = 32 // divisor
    found = HALF_PIXEL.warp(features, shift(32, divisor))
    torch.testing.assert_close(found[..., :-cells], shifted[..., :-cells], **EXACT)


@pytest.mark.parametrize("level", range(6))
def test_a_shifted_picture_gives_shifted_features_of_the_encoder(level: int) -> None:
    torch.manual_seed(0)
    encoder = ImageEncoder(GeneratorConfig(widths=(4, 4, 4, 4, 4, 4), outer_kernel=3)).double().eval()
    picture = noise(1, 3, 32, 512 + 32)
    with torch.no_grad():
        features, shifted = (encoder(part)[level] for part in (picture[..., :-32], picture[..., 32:]))
    width = features.shape[3]
    displacement = torch.tensor([2 * 32 / 512, 0.0]).view(1, 2, 1, 1).double().expand(1, 2, *features.shape[2:])
    inside = slice(width * 3 // 8, width * 5 // 8)
    torch.testing.assert_close(HALF_PIXEL.warp(features, displacement)[..., inside], shifted[..., inside], **EXACT)


@pytest.mark.parametrize("divisor", DIVISORS[1:])
def test_a_zoom_survives_every_resolution(divisor: int) -> None:
    """Averaged down and brought back up, a zoom of 10 % is the same zoom."""
    displacement = HALF_PIXEL.to_displacement(zoom(1))
    low = HALF_PIXEL.resize_displacement(displacement, (SIDE // divisor, SIDE // divisor))
    torch.testing.assert_close(HALF_PIXEL.to_flow(low), zoom(divisor), **EXACT)
    back = HALF_PIXEL.to_flow(HALF_PIXEL.resize_displacement(low, (SIDE, SIDE)))
    inside = slice(divisor, -divisor)
    torch.testing.assert_close(back[:, inside, inside], zoom(1)[:, inside, inside], **EXACT)


def test_the_coarse_motion_of_a_zoom_is_that_zoom_at_every_iteration() -> None:
    sizes = [(SIDE // divisor, SIDE // divisor) for divisor in reversed(DIVISORS)]
    motion = coarse_pyramid(zoom(4), torch.zeros(1, 1, 64, 64, dtype=torch.float64), sizes, HALF_PIXEL)
    for divisor, flow in zip(reversed(DIVISORS), motion.flows, strict=True):
        inside = slice(4 // divisor or 1, -(4 // divisor or 1))
        torch.testing.assert_close(flow[:, inside, inside], zoom(divisor)[:, inside, inside], **EXACT)


@pytest.mark.parametrize("divisor", DIVISORS)
@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED])
def test_displacements_in_pixels_grow_with_the_resolution(divisor: int, conventions: Conventions) -> None:
    side = SIDE // divisor
    pixels = shift(32, divisor, conventions) * conventions.pixel_scale((side, side), torch.zeros(()))
    expected = 32 / divisor if conventions is HALF_PIXEL else 32 * (side - 1) / (SIDE - 1)
    torch.testing.assert_close(pixels[:, 0], torch.full_like(pixels[:, 0], expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("conventions", "expected"), [(HALF_PIXEL, "8k + 3.5"), (CORNER_ALIGNED, "9k"), (OFFICIAL, "8k")])
def test_a_lookup_from_a_lower_resolution_is_centred_on_its_cell(conventions: Conventions, expected: str) -> None:
    """The volume holds each source position's column, so a patch's middle tells where the lookup looked."""
    source = torch.arange(64.0).expand(1, 1, 64, 64)
    volume = CorrelationVolume(torch.ones(1, 1, 64, 64), source, radius=0, pyramid_levels=1, conventions=conventions)
    columns, pooled = volume.lookup(conventions.grid(8, 8, source)[None])[0, :, 4]
    k = torch.arange(8.0)
    wanted = {"8k + 3.5": 8 * k + 3.5, "9k": 9 * k, "8k": 8 * k}[expected]
    torch.testing.assert_close(columns[1:-1], wanted[1:-1], atol=1e-4, rtol=0)
    if conventions is HALF_PIXEL:
        # Each cell of the second level holds the mean of two columns.
        torch.testing.assert_close(pooled[1:-1], wanted[1:-1], atol=1e-4, rtol=0)


@pytest.mark.parametrize("divisor", [2, 4, 8])
def test_downsampling_takes_the_middle_of_each_cell(divisor: int) -> None:
    ramp = torch.arange(128.0, dtype=torch.float64).expand(1, 1, 128, 128)
    k = torch.arange(128 // divisor, dtype=torch.float64)
    for cell_centred, offset in ((True, (divisor - 1) / 2), (False, 0.0)):
        found = AntiAliasDownsample(divisor, cell_centred=cell_centred)(ramp)[0, 0, len(k) // 2]
        inside = slice(len(k) // 4, -len(k) // 4)
        torch.testing.assert_close(found[inside], (divisor * k + offset)[inside], atol=1e-4, rtol=0)


def test_heatmaps_without_padding_lie_where_their_features_do() -> None:
    config = AffineDetectorConfig(keypoints=1, width=4, max_width=8, blocks=2, head_kernel=7, head_padding=0)
    detector = AffineDetector(config, HALF_PIXEL, affine=False)
    heatmaps = torch.zeros(1, 1, 10, 14)
    assert torch.equal(detector._heatmap_grid(heatmaps), HALF_PIXEL.grid(16, 20, heatmaps)[3:-3, 3:-3].reshape(-1, 2))
    padded = AffineDetector(config.model_copy(update={"head_padding": 3}), HALF_PIXEL, affine=False)
    assert torch.equal(padded._heatmap_grid(heatmaps), HALF_PIXEL.grid(10, 14, heatmaps).view(-1, 2))


@pytest.mark.parametrize("size", [(48, 40), (12, 10)])
def test_sampling_at_another_grid_is_what_opencv_does(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).random((24, 20), dtype=np.float32)
    sampled = HALF_PIXEL.sample(torch.from_numpy(picture)[None, None], HALF_PIXEL.grid(*size, torch.zeros(()))[None], "border")
    expected = torch.from_numpy(cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR))
    torch.testing.assert_close(sampled[0, 0], expected, atol=1e-5, rtol=0)
    resized = HALF_PIXEL.resize(torch.from_numpy(picture)[None, None], size)[0, 0]
    interpolation = cv2.INTER_LINEAR if size[0] > 24 else cv2.INTER_AREA
    expected = torch.from_numpy(cv2.resize(picture, size[::-1], interpolation=interpolation))
    torch.testing.assert_close(resized, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED, OFFICIAL])
def test_positions_are_carried_from_and_to_half_pixel(conventions: Conventions) -> None:
    """A pixel's centre is the same place by any name."""
    size = (6, 9)
    centres = HALF_PIXEL.grid(*size, noise(1))
    there = conventions.from_half_pixel(centres, size)
    torch.testing.assert_close(there, conventions.grid(*size, noise(1)), **EXACT)
    torch.testing.assert_close(conventions.to_half_pixel(there, size), centres, **EXACT)


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED, OFFICIAL])
def test_what_is_differentiable_has_the_right_gradients(conventions: Conventions) -> None:
    def leaf(*shape: int) -> Tensor:
        return (noise(*shape) * 0.3).requires_grad_()

    def look_up(driving: Tensor, source: Tensor, flow: Tensor) -> Tensor:
        volume = CorrelationVolume(driving, source, radius=1, pyramid_levels=1, conventions=conventions)
        return volume.lookup(flow)

    assert gradcheck(conventions.sample, (leaf(1, 2, 5, 4), leaf(1, 3, 2, 2)))
    assert gradcheck(conventions.sample_coarsely, (leaf(1, 2, 5, 4), leaf(1, 3, 2, 2)))
    assert gradcheck(conventions.warp, (leaf(1, 2, 4, 4), leaf(1, 2, 4, 4)))
    assert gradcheck(lambda x: conventions.resize_displacement(x, (6, 8)), (leaf(1, 2, 3, 4),))
    assert gradcheck(lambda x: conventions.resize(x, (2, 2)), (leaf(1, 1, 4, 4),))
    assert gradcheck(lambda x: conventions.heatmaps(x, (4, 5), 0.1), (leaf(1, 2, 2),))
    assert gradcheck(lambda x: conventions.to_displacement(conventions.to_flow(x)), (leaf(1, 2, 3, 3),))
    assert gradcheck(invert_2x2, ((noise(3, 2, 2) * 0.2 + torch.eye(2)).requires_grad_(),))
    assert gradcheck(look_up, (leaf(1, 2, 4, 4), leaf(1, 2, 4, 4), leaf(1, 2, 2, 2)))
