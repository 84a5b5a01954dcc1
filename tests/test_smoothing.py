"""Smoothing takes noise away, leaves fast motion alone, and goes by time."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mrfa.animation.smoothing import OneEuro, SmoothMotion, smooth_clip
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints

RATE = 25
FACE = torch.tensor([[-0.3, -0.3], [0.3, -0.3], [0.0, 0.0], [-0.2, 0.3], [0.2, 0.3]])


def _times(frames: int) -> list[float]:
    return [number / RATE for number in range(frames)]


def _still(frames: int, noise: float = 0.0) -> Keypoints:
    torch.manual_seed(0)
    positions = FACE.expand(frames, 5, 2) + noise * torch.randn(frames, 5, 2)
    return Keypoints(positions, torch.eye(2).expand(frames, 5, 2, 2) + noise * torch.randn(frames, 5, 2, 2))


def _turned(keypoints: Keypoints, angles: Tensor) -> Keypoints:
    cosine, sine = angles.cos(), angles.sin()
    rotation = torch.stack([torch.stack([cosine, -sine], -1), torch.stack([sine, cosine], -1)], -2)
    assert keypoints.affine is not None
    places = (rotation[:, None] @ keypoints.positions[..., None])[..., 0]
    return Keypoints(places, rotation[:, None] @ keypoints.affine)


def _assert_close(one: Keypoints, other: Keypoints, within: float = 1e-5) -> None:
    torch.testing.assert_close(one.positions, other.positions, atol=within, rtol=0)
    assert one.affine is not None and other.affine is not None
    torch.testing.assert_close(one.affine, other.affine, atol=within, rtol=0)


def test_one_euro_converges_as_its_equations_say() -> None:
    """A still value of which the first was wrong by so little that its speed does not count."""
    smooth = OneEuro(strength=1.0, measured=2)
    smooth(torch.zeros(1, 2), [0.0])
    step = torch.full((1, 2), 1e-9)
    found = [float(smooth(step, [number / 100])[0, 0]) for number in range(1, 400)]
    share = 1 / (1 + 100 / (2 * math.pi * 1.0))
    assert found[0] == pytest.approx(share * 1e-9, rel=1e-3)
    assert found[1] == pytest.approx((1 - (1 - share) ** 2) * 1e-9, rel=1e-3)
    assert all(a < b for a, b in pairwise(found[:100])) and found[-1] == pytest.approx(1e-9, rel=1e-3)


def test_one_euro_goes_by_time() -> None:
    """Twice the frames come as near within the same time, and what is skipped is caught up with."""
    ends = []
    for times in ([number / 20 for number in range(11)], [number / 40 for number in range(21)], [0.0, 0.2, 0.24, 0.3, 0.5]):
        smooth = OneEuro(strength=1.0, measured=2)
        smooth(torch.zeros(1, 2), times[:1])
        ends.append(float(smooth(torch.full((len(times) - 1, 2), 1e-6), times[1:])[-1, 0]) * 1e6)
    assert ends[0] == pytest.approx(1 - math.exp(-math.pi), abs=0.03)
    assert ends[1] == pytest.approx(ends[0], abs=0.015) and ends[2] == pytest.approx(ends[0], abs=0.1)


def test_fast_values_are_followed() -> None:
    slow, fast = (
        1 - float(OneEuro(strength=1.0, measured=2)(torch.linspace(0, end, 26)[:, None].expand(-1, 2), _times(26))[-1, 0]) / end
        for end in (0.01, 5.0)
    )
    assert 0.05 < slow < 0.08 and 0 < fast < 0.01  # seconds of lag


@pytest.mark.parametrize("batch", [1, 4, 30])
def test_a_stream_may_come_in_batches_of_any_size(batch: int) -> None:
    clip, times, smooth = _still(30, 0.01), _times(30), SmoothMotion(0.5)
    parts = [smooth(clip.part(slice(n, n + batch)), times[n : n + batch]) for n in range(0, 30, batch)]
    whole = SmoothMotion(0.5)(clip, times)
    _assert_close(Keypoints(torch.cat([p.positions for p in parts]), torch.cat([p.affine for p in parts])), whole)  # type: ignore[misc]


def test_a_strength_of_nothing_changes_nothing() -> None:
    clip = _still(10, 0.1)
    _assert_close(SmoothMotion(0)(clip, _times(10)), clip, within=0)
    _assert_close(smooth_clip(clip, _times(10), 0), clip, within=0)
    assert smooth_clip(Keypoints(clip.positions, None), _times(10), 0.5).affine is None


def test_noise_falls_with_strength() -> None:
    clip, clean = _still(200, 0.002), _still(200)
    left = []
    for strength in (0.1, 0.25, 0.5, 1.0):
        positions, affine = smooth_clip(clip, _times(200), strength)
        assert affine is not None and clean.affine is not None
        left.append((float((positions - clean.positions).std()), float((affine - clean.affine).std())))
    for number in (0, 1):
        noise = [noises[number] / 0.002 for noises in left]
        assert all(a > b for a, b in pairwise([1.0, *noise])) and noise[-1] < 0.55


def test_a_clip_is_smoothed_without_lag() -> None:
    """A mouth that opens and shuts again stays open longest in the same frame, whether the clip goes by forwards or backwards."""
    clip, times = _still(41), _times(41)
    positions = clip.positions.clone()
    positions[:, 4, 1] += 0.05 * torch.exp(-(((torch.arange(41) - 20) / 3) ** 2))
    clip = Keypoints(positions, clip.affine)
    smoothed = smooth_clip(clip, times, 1.0).positions[:, 4, 1]
    torch.testing.assert_close(smoothed, smoothed.flip(0), atol=1e-4, rtol=0)
    live = SmoothMotion(1.0)(clip, times).positions[:, 4, 1]
    middles = [float((torch.arange(41) * (height - 0.3)).sum() / (height - 0.3).sum()) for height in (smoothed, live)]
    assert smoothed.argmax() == 20 and middles[0] == pytest.approx(20, abs=0.02) and 20.2 < middles[1] < 21


def test_a_clip_played_backwards_is_smoothed_alike() -> None:
    clip, times = _still(31, 0.01), [(number + number % 3 / 4) / RATE for number in range(31)]
    backwards = Keypoints(clip.positions.flip(0), None)
    again = smooth_clip(backwards, [-time for time in reversed(times)], 0.5).positions.flip(0)
    torch.testing.assert_close(again, smooth_clip(clip, times, 0.5).positions, atol=1e-6, rtol=0)


def test_a_blink_stays_deep() -> None:
    """One as fast as a blink loses little of its depth, where a mean over time would lose most of it."""
    clip = _still(41)
    positions = clip.positions.clone()
    positions[18:23, 0, 1] += torch.tensor([0.02, 0.04, 0.04, 0.03, 0.015])
    kept = (smooth_clip(Keypoints(positions, clip.affine), _times(41), 0.25).positions[19:21, 0, 1] - FACE[0, 1]).max() / 0.04
    assert kept > 0.85


def test_a_turning_head_does_not_shrink_and_takes_its_maps_along() -> None:
    """The places in the head are still, so their smoothing takes nothing away from the head's turn."""
    clip = _turned(_still(60), torch.linspace(0, 2.0, 60))
    for smoothed in (smooth_clip(clip, _times(60), 1.0), SmoothMotion(1.0)(clip, _times(60))):
        sizes = (smoothed.positions - smoothed.positions.mean(1, keepdim=True)).norm(dim=-1)
        torch.testing.assert_close(sizes, sizes[:1].expand(60, -1), atol=2e-3, rtol=0)
    _assert_close(smooth_clip(clip, _times(60), 1.0).part(slice(10, 50)), clip.part(slice(10, 50)), within=0.02)


def test_keypoints_in_one_place_are_no_error() -> None:
    nowhere = Keypoints(torch.zeros(5, 3, 2), torch.zeros(5, 3, 2, 2))
    found = smooth_clip(nowhere, _times(5), 1.0)
    assert found.affine is not None and found.positions.isfinite().all() and found.affine.isfinite().all()


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_strengths_out_of_range(strength: float) -> None:
    with pytest.raises(InputError, match="must be 0 to 1"):
        SmoothMotion(strength)
