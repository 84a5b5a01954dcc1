"""Streams begin from the best frame so far, and ease over to a better one."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from mrfa.animation import live
from mrfa.animation.live import BestSoFar
from mrfa.animation.motion import RelativeMotion
from mrfa.network.keypoints import Keypoints


def _frames(values: list[float]) -> Keypoints:
    """Frames whose keypoints lie at a value, and whose maps are as large."""
    positions = torch.tensor(values)[:, None, None].expand(-1, 3, 2)
    return Keypoints(positions, (1 + torch.tensor(values))[:, None, None, None] * torch.eye(2).expand(len(values), 3, 2, 2))


def _largest(clip: Tensor) -> int:
    return int(clip[:, 0, 0].argmax())


SOURCE = _frames([0.0, 0.5])


def test_a_better_start_is_eased_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A still driver in a second pose that suits better: at first it is a move away from the first, and then none any more."""
    monkeypatch.setattr(live, "_STRIDE", 1)
    move = BestSoFar(RelativeMotion(SOURCE, _frames([0.0])), _largest)
    moved = move(_frames([0.0] * 5 + [0.2] * 120))
    first, second = moved.positions[:, 0, 0].unflatten(0, (2, 125))
    assert first[:5].eq(0).all() and 0.18 < first[5] < 0.2
    assert all(0 <= a - b < 0.011 for a, b in pairwise(first[5:].tolist())) and first[-1] < 0.001
    torch.testing.assert_close(second - first, torch.full((125,), 0.5))
    assert moved.affine is not None
    torch.testing.assert_close(moved.affine[124], torch.eye(2).expand(3, 2, 2), atol=2e-3, rtol=0)


def test_it_does_not_matter_how_frames_are_batched() -> None:
    frames = _frames([0.1 * (number % 7) for number in range(30)])
    whole = BestSoFar(RelativeMotion(SOURCE, frames), _largest)(frames)
    move = BestSoFar(RelativeMotion(SOURCE, frames), _largest)
    parts = [move(frames.part(slice(start, start + 4))) for start in range(0, 30, 4)]
    for portrait in (0, 1):
        found = torch.cat([part.positions.unflatten(0, (2, -1))[portrait] for part in parts])
        torch.testing.assert_close(found, whole.positions.unflatten(0, (2, 30))[portrait])


def test_of_a_long_stream_few_frames_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_STRIDE", 2)
    monkeypatch.setattr(live, "_MOST", 8)
    seen: list[list[float]] = []

    def choose(clip: Tensor) -> int:
        seen.append([round(float(value)) for value in clip[:, 0, 0]])
        return 0

    BestSoFar(RelativeMotion(SOURCE, _frames([0.0])), choose)(_frames([float(number) for number in range(100)]))
    assert seen[1] == [0, 2] and max(map(len, seen)) == 8 and seen[-1] == list(range(0, 97, 16)) and len(seen) < 25
