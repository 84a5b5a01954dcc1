"""L1, PSNR, SSIM and sharpness: known differences, boxes, and what blur and a saw-tooth do."""

import math

import cv2
import numpy as np
import pytest

from mrfa.data.images import MIDDLE_BAND, TOP_BAND, band_energy
from mrfa.evaluation.metrics import Frames, Needs, load_metrics, pixels
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.evaluation.metrics.metric import per_frame


class Square(FaceMesh):
    """A face from (20, 24) to (90, 100) on every picture that is not black."""

    def __init__(self) -> None:
        pass

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        if not picture.any():
            return None
        mesh = np.full((478, 3), 50.0)
        mesh[0], mesh[1] = (20, 24, 0), (90, 100, 0)
        return mesh


def _portrait(side: int = 128) -> np.ndarray:
    """Smooth noise with fine detail and next to nothing near the Nyquist frequency, uint8 `[side, side, 3]`."""
    rng = np.random.default_rng(0)
    detail = cv2.GaussianBlur(rng.normal(0, 160, (side, side)), (0, 0), 1.2)
    return np.clip(128 + detail, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


def test_known_differences() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(60, 190, (3, 64, 64, 3)).astype(np.uint8)
    noisy = np.clip(true + rng.normal(0, 10, true.shape).round(), 0, 255).astype(np.uint8)
    metrics, problems = load_metrics(["L1", "PSNR", "SSIM"])
    l1, psnr, ssim = (metric.measure(Frames(true[0], true, noisy)) for metric in metrics)
    assert not problems
    assert l1.mean() == pytest.approx(10 * np.sqrt(2 / np.pi) / 255, rel=0.02)
    assert psnr.mean() == pytest.approx(20 * np.log10(255 / 10), abs=0.1)
    assert 0 < ssim.mean() < 1
    for metric, perfect in zip(metrics, (0, 100, 1), strict=True):
        assert np.allclose(metric.measure(Frames(true[0], true, true)), perfect)


def test_values_are_those_of_independent_code() -> None:
    y, x = np.mgrid[:48, :37]
    waves = [120 + 60 * np.sin(x / 5) + 40 * np.cos(y / 7 + channel) for channel in range(3)]
    truth = np.stack(waves, axis=-1).round().astype(np.uint8)
    made = np.roll(truth, 2, axis=1) // 2 + 40
    # By convolutions in PyTorch, with whole windows only.
    assert pixels.ssim(made, truth) == pytest.approx(0.750188, abs=2e-5)
    assert pixels.l1(made, truth) == pytest.approx(0.116632, rel=1e-5)
    frames = Frames(truth, truth[None], made[None])
    assert pixels.psnr(per_frame(pixels.squared_error), "paper")(frames)[0] == pytest.approx(16.988733, rel=1e-5)


def test_clip_psnr_is_never_more_than_the_mean_of_frames() -> None:
    true = np.full((2, 16, 16, 3), 100, np.uint8)
    made = true + np.array([1, 20], np.uint8).reshape(2, 1, 1, 1)
    (clip,), (frames,) = load_metrics(["PSNR"])[0], load_metrics(["PSNR"], Needs("paper"))[0]
    given = Frames(true[0], true, made)
    assert clip.measure(given).tolist() == pytest.approx([10 * np.log10(255**2 / 200.5)] * 2)
    assert frames.measure(given).mean() > clip.measure(given).mean()


def test_in_the_face_nothing_outside_it_counts() -> None:
    truth = np.full((3, 128, 128, 3), 100, np.uint8)
    made = truth.copy()
    made[0, :20] = 255
    made[1, 50, 60] = 151
    truth[2] = 0  # no face
    frames = Frames(truth[0], truth, made)
    area = (91 - 20) * (101 - 24)
    assert pixels.in_face(pixels.l1, Square())(frames).tolist() == pytest.approx([0, 51 / 255 / area, math.nan], nan_ok=True)
    errors = pixels.in_face(pixels.squared_error, Square())
    decibels = pixels.psnr(errors, "standard")(frames)
    assert decibels[:2].tolist() == pytest.approx([-10 * math.log10(0.04 / area / 2)] * 2) and math.isnan(decibels[2])


def test_boxes_are_cut_at_the_border_and_slivers_refused() -> None:
    class Face(FaceMesh):
        def __init__(self, *corners: tuple[float, float, float]) -> None:
            self.mesh = np.resize(np.array(corners), (478, 3))

        def __call__(self, picture: np.ndarray) -> np.ndarray | None:
            return self.mesh

    picture = np.zeros((64, 40, 3), np.uint8)
    assert pixels.find_face(picture, Face((15.2, 15.4, 0), (29, 34.4, 0))) == (slice(15, 35), slice(15, 30))
    assert pixels.find_face(picture, Face((-7, 3.4, 0), (50, 60.6, 0))) == (slice(3, 62), slice(0, 40))
    assert pixels.find_face(picture, Face((36, 0, 0), (80, 60, 0))) is None


def _shares(generated: np.ndarray, truth: np.ndarray, *, cross_identity: bool = False) -> tuple[float, float]:
    frames = Frames(truth, truth[None], generated[None], cross_identity=cross_identity)
    bands = (MIDDLE_BAND, TOP_BAND)
    sharpness, artefact = (float(pixels.band_share(band, Square())(frames)[0]) for band in bands)
    return sharpness, artefact


def test_blur_lowers_sharpness_and_is_no_artefact() -> None:
    true = _portrait()
    assert _shares(true, true) == (1, 1)
    sharpness, artefact = _shares(cv2.GaussianBlur(true, (0, 0), 1), true)
    assert sharpness < 0.5 and artefact <= 1


@pytest.mark.parametrize("texture", ["checkerboard", "columns", "rows"])
def test_a_saw_tooth_is_an_artefact_and_not_sharpness(texture: str) -> None:
    true = _portrait()
    y, x = np.mgrid[:128, :128]
    sign = (-1.0) ** {"checkerboard": x + y, "columns": x, "rows": y}[texture]
    toothed = np.clip(true + 3 * sign[..., None], 0, 255).astype(np.uint8)
    sharpness, artefact = _shares(toothed, true)
    assert sharpness == pytest.approx(1, abs=0.02) and artefact > 3
    # Outside the face it is nobody's business, and it does not make up for blur.
    outside = true.copy()
    outside[:20, :] = toothed[:20, :]
    assert _shares(outside, true) == (1, 1)
    sharpness, artefact = _shares(np.clip(cv2.GaussianBlur(true, (0, 0), 1) + 3 * sign[..., None], 0, 255).astype(np.uint8), true)
    assert sharpness < 0.5 and artefact > 3


def test_bands_are_in_cycles_a_pixel_whatever_the_size() -> None:
    def stripes(frequency: float, side: int) -> np.ndarray:
        wave = 100 + 20 * np.sin(2 * np.pi * frequency * np.arange(side))
        return np.broadcast_to(wave.round().astype(np.uint8)[:, None, None], (side, side, 3))

    for side in (96, 160):
        energy = [band_energy(stripes(frequency, side), MIDDLE_BAND) for frequency in (0.05, 0.2, 0.46)]
        assert energy[1] == pytest.approx((20 / 255) ** 2 / 2, rel=0.03) and max(energy[0], energy[2]) < 0.01 * energy[1]
        assert band_energy(stripes(0.46, side), TOP_BAND) == pytest.approx(energy[1], rel=0.03)


def test_shares_are_of_the_clips_mean_and_cross_identity_of_the_portrait() -> None:
    true = _portrait()
    still = np.full_like(true, 90)
    frames = Frames(true, np.stack([true, still]), np.stack([true, true]))
    assert pixels.band_share(MIDDLE_BAND, Square())(frames).tolist() == pytest.approx([2, 2], rel=1e-6)
    assert _shares(true, still, cross_identity=True)[0] > 1e6  # of a portrait without any detail
    assert pixels.band_share(MIDDLE_BAND, Square())(frames._replace(cross_identity=True)).tolist() == [1, 1]
    dark = Frames(true, true[None] * 0, true[None])
    assert np.isnan(pixels.band_share(TOP_BAND, Square())(dark)).all()
