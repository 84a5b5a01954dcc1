"""Pixel metrics and sharpness against their definitions and scikit-image."""

import numpy as np
import pytest
import torch

from mrfa.evaluation import pixels
from mrfa.evaluation.sharpness import laplacian_energy


def _pair(height: int = 48, width: int = 37) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first = torch.rand(2, 3, height, width, generator=generator)
    # One pair is noisy, the other smooth and nearly equal: there variances are small.
    first[1] = torch.linspace(0.2, 0.8, width).expand(3, height, width)
    noise = torch.randn(2, 3, height, width, generator=generator)
    return first, (first + noise * torch.tensor([0.2, 0.003]).view(2, 1, 1, 1)).clamp(0, 1)


def test_ssim_equals_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = _pair()
    expected = [
        metrics.structural_similarity(
            a.numpy().transpose(1, 2, 0).astype(np.float64),
            b.numpy().transpose(1, 2, 0).astype(np.float64),
            channel_axis=2,
            gaussian_weights=True,
            use_sample_covariance=False,
            data_range=1,
        )
        for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(pixels.ssim(first, second).numpy(), expected, atol=2e-5)


def test_ssim_of_equal_pictures_is_one_and_small_ones_are_refused() -> None:
    first, _ = _pair()
    torch.testing.assert_close(pixels.ssim(first, first), torch.ones(2))
    with pytest.raises(ValueError, match="11 x 11"):
        pixels.ssim(first[..., :10, :], first[..., :10, :])


def test_psnr_equals_scikit_image_and_stays_finite() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    first, second = _pair()
    expected = [metrics.peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(pixels.psnr(first, second).numpy(), expected, rtol=1e-4)
    assert pixels.psnr(first, first).tolist() == [100.0, 100.0]


def test_l1_inside_a_box_sees_nothing_outside_it() -> None:
    truth = torch.zeros(1, 3, 40, 40)
    image = truth.clone()
    image[..., :12, :] = 1
    image[..., 20, 20] = 0.5
    box = pixels.pixel_box((15.0, 15.0, 29.0, 34.0), 40, 40)
    assert box == (15, 15, 30, 35)
    assert box is not None
    inside = pixels.l1(pixels.crop(image, box), pixels.crop(truth, box))
    assert inside.item() == pytest.approx(0.5 / (15 * 20))
    assert pixels.l1(image, truth).item() == pytest.approx((12 * 40 + 0.5) / 1600)


def test_boxes_are_cut_at_the_border_and_slivers_refused() -> None:
    assert pixels.pixel_box((-7.0, 3.4, 50.0, 60.6), 64, 40) == (0, 3, 40, 62)
    assert pixels.pixel_box((36.0, 0.0, 80.0, 60.0), 64, 40) is None


def test_blur_lowers_the_laplacian_energy() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(image, 3, stride=1)
    assert laplacian_energy(blurred) < 0.2 * laplacian_energy(image)
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    assert laplacian_energy(ramp).item() < 1e-12


def test_laplacian_energy_of_a_dot() -> None:
    image = torch.zeros(1, 3, 12, 12)
    image[..., 6, 6] = 0.5
    assert laplacian_energy(image).item() == pytest.approx((4**2 + 4) * 0.25 / 100, rel=1e-5)
