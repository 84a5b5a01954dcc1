"""Cameras: pictures as they come, on a thread of their own. Whoever is slower gets the newest and never an old one."""

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.data.video import open_frames
from mrfa.errors import InputError

# Seconds for which the thread may be busy with a last picture when it is told to stop.
_PATIENCE = 2.0


class Shot(NamedTuple):
    """A picture that a camera took.

    Attributes:
        image: uint8 RGB `[H, W, 3]`.
        taken: when, in seconds of `time.monotonic`.
    """

    image: np.ndarray
    taken: float


class Camera:
    """The newest picture of a stream, each at most once. A context manager: the stream is read inside it.

    Iterating waits for the next picture, and ends when the stream does.

    Args:
        pictures: uint8 RGB `[H, W, 3]`, as fast as they come.

    Attributes:
        count: pictures that came so far.
    """

    def __init__(self, pictures: Iterable[np.ndarray]) -> None:
        self.count = 0
        self._pictures = pictures
        self._news = threading.Condition()
        self._newest: Shot | None = None
        self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> "Camera":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._news:
            self._ended = True
        self._thread.join(_PATIENCE)

    def __iter__(self) -> Iterator[Shot]:
        while (shot := self._next()) is not None:
            yield shot

    def _next(self) -> Shot | None:
        with self._news:
            self._news.wait_for(lambda: self._newest is not None or self._ended)
            shot, self._newest = self._newest, None
            if shot is None and self._error is not None:
                raise self._error
            return shot

    def _read(self) -> None:
        error: Exception | None = None
        try:
            for image in self._pictures:
                with self._news:
                    if self._ended:
                        return
                    self._newest = Shot(image, time.monotonic())
                    self.count += 1
                    self._news.notify()
        except Exception as caught:  # it is raised where the pictures are used
            error = caught
        finally:
            with self._news:
                self._ended, self._error = True, error
                self._news.notify()


def device_pictures(number: int) -> Iterator[np.ndarray]:
    """What a camera of this machine sees, uint8 RGB `[H, W, 3]`.

    Args:
        number: of the camera, from 0.

    Raises:
        InputError: there is no such camera, or it is in use.
    """
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise InputError(f"there is no camera {number}, or another program uses it: give --camera N, or a video by --input FILE")
    # One picture waits at most, where the driver can do that: a queue would only add to the delay.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return _captured(capture, number)


def file_pictures(path: Path, *, repeat: bool = False) -> Iterator[np.ndarray]:
    """The frames of a video, each at its time, as if a camera saw them.

    Args:
        path: of a video or a folder of pictures.
        repeat: begin again at the end.

    Raises:
        InputError: it cannot be read.
    """
    reader = open_frames(path)

    def pictures() -> Iterator[np.ndarray]:
        while True:
            begun, first = time.monotonic(), None
            for frame in reader:
                seconds = float(frame.pts * reader.time_base)
                first = seconds if first is None else first
                time.sleep(max(0.0, begun + seconds - first - time.monotonic()))
                yield frame.image
            if first is None:
                raise InputError(f"{path} holds no frames that can be read")
            if not repeat:
                return

    return pictures()


def _captured(capture: cv2.VideoCapture, number: int) -> Iterator[np.ndarray]:
    try:
        while True:
            there, image = capture.read()
            if not there:
                raise InputError(f"camera {number} gives no more pictures: is it still plugged in?")
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
