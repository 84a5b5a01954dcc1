"""Runs that are stopped from outside: by Ctrl-C, by `kill`, or because the terminal is gone.

Each of these raises an exception where the run is, so that temporary files are deleted on its way out.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stopped(BaseException):
    """The run was asked to end.

    No KeyboardInterrupt, which typer and Lightning answer in words of their own.

    Attributes:
        number: of the signal.
        kept: what of the work is there, in words for the user; empty where nothing is.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.kept = ""


@contextmanager
def stoppable() -> Iterator[None]:
    """Let signals raise `Stopped`; a second one ends the process at once. What the caller ignores (`nohup`) stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker process, which has inherited this handler and ends as if it had not
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        raise Stopped(number)

    before = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keeps(kept: str) -> Iterator[None]:
    """Say of a run that is stopped in this context what is kept of it."""
    try:
        yield
    except Stopped as stop:
        stop.kept = stop.kept or kept
        raise
