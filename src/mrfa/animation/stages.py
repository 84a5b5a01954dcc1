"""Work that goes on at once: each stage of a job, such as decoding or compositing, in a thread of its own.

Almost all of their time stages spend outside of Python (FFmpeg, OpenCV, torch), which then lets other threads run.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar, cast

T = TypeVar("T")

_END = object()


@contextmanager
def in_thread(items: Iterable[T], ahead: int = 2) -> Iterator[Iterator[T]]:
    """Make items in a thread of their own, in order, a few before they are asked for.

    An exception that making an item raises is raised where that item would have come. When the context ends, for whatever
    reason, so does the thread, after the item that is in the making; and `items` is closed, if it is a generator, so that stages
    upon stages all end.

    Example:
        with in_thread(reader) as frames, in_thread(map(find, frames)) as faces:
            for face in faces: ...

    Args:
        items: what to go through.
        ahead: how many are made, or in the making, and not yet taken, at most.
    """
    source = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix="mrfa-stage")
    make = partial(thread.submit, next, source, cast(T, _END))
    try:
        yield _taken(deque(make() for _ in range(ahead)), make)
    finally:
        thread.shutdown(cancel_futures=True)
        if close := getattr(source, "close", None):
            close()


def _taken(waiting: deque[Future[T]], make: Callable[[], Future[T]]) -> Iterator[T]:
    """The items that wait, and another in the making for each that is taken."""
    while (item := waiting.popleft().result()) is not _END:
        waiting.append(make())
        yield item
