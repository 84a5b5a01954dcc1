"""Stages in threads: the same as one after the other, in order, a few items ahead, and ended with whoever asked for them."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from mrfa.animation import crop, driver, job, sources
from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas
from mrfa.animation.face_motion import FaceMotion
from mrfa.animation.job import animate_file
from mrfa.animation.stages import in_thread
from mrfa.animation.tracking import FaceWatch
from mrfa.data.images import read_image
from mrfa.data.video import VideoReader, VideoWriter
from mrfa.network.model import Network
from mrfa.training.config import Config

T = TypeVar("T")
ASTRONAUT = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"


class Broken(BaseException):
    """Not even an exception that code might answer by going on."""


@pytest.fixture(scope="module")
def animator(tiny_config: Config) -> Animator:
    torch.manual_seed(0)
    return Animator(Network(tiny_config.network).eval())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut's head, moving."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    head = read_image(ASTRONAUT)[20:260, 90:410]
    with VideoWriter(path, width=320, height=240, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(12):
            writer.write(np.roll(head, 3 * number, axis=1), number, 1)
    return path


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def test_items_come_in_order() -> None:
    with in_thread(range(50)) as numbers, in_thread((number**2 for number in numbers), ahead=5) as squares:
        assert list(squares) == [number**2 for number in range(50)]


def test_stages_work_at_once() -> None:
    """An item is made while this one waits for it."""
    here = threading.Barrier(2, timeout=5)
    with in_thread(here.wait() for _ in range(2)) as items:
        here.wait()
        here.wait()
        assert len(list(items)) == 2


def test_no_more_than_so_many_are_made_ahead() -> None:
    made, most = 0, 0

    def items() -> Iterator[int]:
        nonlocal made
        while made < 30:
            made += 1
            yield made

    with in_thread(items(), ahead=3) as numbers:
        for taken in numbers:
            time.sleep(0.001)
            most = max(most, made - taken)
    assert made == 30 and most == 3


def test_an_exception_comes_in_its_items_place() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise Broken("of the first stage")

    seen = []
    with pytest.raises(Broken, match="first"), in_thread(items()) as first, in_thread(-item for item in first) as second:
        for item in second:
            seen.append(item)
    assert seen == [-1, -2]


def test_all_stages_end_when_the_last_is_left() -> None:
    ended = []

    def endless(name: str, source: Iterable[int] | None = None) -> Iterator[int]:
        try:
            if source is None:
                while True:
                    yield 0
            with in_thread(source) as items:
                yield from items
        finally:
            ended.append(name)

    with pytest.raises(KeyboardInterrupt), in_thread(endless("last", endless("first"))) as items:
        next(items)
        raise KeyboardInterrupt
    assert ended == ["first", "last"]


@contextmanager
def one_after_the_other(items: Iterable[T], ahead: int = 2) -> Iterator[Iterator[T]]:
    yield iter(items)


@pytest.mark.parametrize("source", ["portrait", "video"])
def test_the_same_file_as_one_after_the_other(
    source: str, animator: Animator, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def animated(name: str) -> bytes:
        path = tmp_path / name
        animate_file(ASTRONAUT if source == "portrait" else clip, clip, path, model=animator, compare=True)
        return path.read_bytes()

    threaded = animated("threaded.mp4")
    for module in (crop, driver, sources, job):
        monkeypatch.setattr(module, "in_thread", one_after_the_other)
    assert threaded == animated("plain.mp4")


def test_motion_is_transferred_in_parts(animator: Animator, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    transfer = FaceMotion.__call__
    monkeypatch.setattr(FaceMotion, "__call__", lambda *arguments: calls.append(arguments) or transfer(*arguments))

    def animated() -> tuple[bytes, int]:
        calls.clear()
        result = animate_file(ASTRONAUT, clip, tmp_path / "out.mp4", model=animator)
        assert result.frames == 12
        return (tmp_path / "out.mp4").read_bytes(), len(calls)

    at_once, once = animated()
    monkeypatch.setattr(sources, "MOVED_TOGETHER", 8)
    in_parts, twice = animated()
    assert (once, twice) == (1, 2) and at_once == in_parts


STAGES = {
    "decode": (VideoReader, "_upright"),
    "find": (FaceWatch, "__call__"),
    "crop": (driver, "crop_image"),
    "detect": (Animator, "detect"),
    "network": (Animator, "step"),
    "composite": (Canvas, "draw"),
    "encode": (VideoWriter, "write"),
}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("stage", STAGES)
def test_an_exception_of_any_stage_ends_the_job(
    stage: str, error: type[BaseException], animator: Animator, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = STAGES[stage]
    monkeypatch.setattr(place, name, failing(getattr(place, name), error(f"while we {stage}")))
    with pytest.raises(error, match=f"while we {stage}"):
        animate_file(ASTRONAUT, clip, tmp_path / "out.mp4", model=animator, compare=True)
    assert not list(tmp_path.iterdir())


def failing(function: Callable[..., Any], error: BaseException) -> Callable[..., Any]:
    """The function, which fails at its third call."""
    calls = 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return function(*arguments, **options)

    return call
