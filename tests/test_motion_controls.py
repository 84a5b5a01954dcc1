"""The pictures of docs/transfer.md show what they say."""

import numpy as np
import pytest

from benchmarks.motion_controls import LAUGHING, LEANING, Demo, open_demo, smoothed
from mrfa.animation.face_motion import Strengths
from mrfa.animation.settings import MotionSettings


@pytest.fixture(scope="module")
def demo() -> Demo:
    return open_demo()


def change(demo: Demo, number: int, strengths: Strengths) -> float:
    """How much a frame differs from the portrait, of 255."""
    drawn = demo.frame(number, MotionSettings(strengths=strengths))
    return float(np.abs(drawn.astype(int) - demo.picture).mean())


def test_strengths_are_seen(demo: Demo) -> None:
    none = change(demo, LEANING, Strengths(0, 0, 0, 0))
    kept = change(demo, LAUGHING, Strengths(head=0))
    assert none < 2 < change(demo, LEANING, Strengths(0, 0.5, 0, 0)) < change(demo, LEANING, Strengths(0, 1, 0, 0))
    assert none < kept < change(demo, LAUGHING, Strengths())


def test_smoothing_is_plotted(demo: Demo) -> None:
    plot = smoothed(demo)
    assert plot.shape == (200, 900, 3)
    assert len(np.unique(plot[~(plot == plot[..., :1]).all(-1)], axis=0)) > 20, "lines in several colours"
