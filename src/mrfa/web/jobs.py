"""Work that takes its time: one piece after the other, watched and stopped from elsewhere."""

import secrets
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from mrfa.animation.driver import Progress
from mrfa.animation.job import JobResult
from mrfa.errors import InputError

# Given a folder of its own, and whom to tell of every frame.
Work = Callable[[Path, Progress], JobResult]


class Course(NamedTuple):
    """How far a job is.

    Attributes:
        stage: what it does, in a few words.
        done: frames of this stage that are done.
        total: their number, where it is known.
        rate: frames a second, 0 before it is known.
    """

    stage: str
    done: int = 0
    total: int | None = None
    rate: float = 0.0


class StoppedError(Exception):
    """The job was stopped by its owner."""


class Job:
    """One piece of work.

    Args:
        owner: whose it is.
        folder: for what it writes; made when it begins.
        work: to be done.

    Attributes:
        course: how far it is.
        future: what comes of it: the result, an InputError, or a StoppedError.
    """

    def __init__(self, owner: str, folder: Path, work: Work) -> None:
        self.owner, self.folder = owner, folder
        self.course = Course("starting")
        self.future: Future[JobResult]
        self._work, self._stopped = work, threading.Event()
        self._begun, self._first = 0.0, 0

    def run(self) -> JobResult:
        """Do it."""
        self._check()
        self.folder.mkdir(mode=0o700, parents=True)
        return self._work(self.folder, self._on_progress)

    def stop(self) -> None:
        """Let it end at the next frame, or not begin."""
        self._stopped.set()

    def _check(self) -> None:
        if self._stopped.is_set():
            raise StoppedError

    def _on_progress(self, stage: str, done: int, total: int | None) -> None:
        self._check()
        now = time.monotonic()
        if stage != self.course.stage:
            self._begun, self._first = now, done
        passed = now - self._begun
        self.course = Course(stage, done, total, (done - self._first) / passed if passed > 0 else 0.0)


class Jobs:
    """The jobs of all users. One is done at a time, in the order in which they came. A context manager, which stops all.

    Args:
        folder: for what they write.
        waiting: how many may wait.
    """

    def __init__(self, folder: Path, waiting: int) -> None:
        self._folder, self._waiting = folder, waiting
        self._jobs: list[Job] = []
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, "job")

    def __enter__(self) -> "Jobs":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for job in list(self._jobs):
            job.stop()
        self._pool.shutdown()

    def start(self, owner: str, work: Work) -> Job:
        """Put a job at the end of the queue.

        Raises:
            InputError: the queue is full, or this user has a job in it.
        """
        with self._lock:
            line = [job for job in self._jobs if not job.future.done()]
            if any(job.owner == owner for job in line):
                raise InputError("your last one is not done yet: wait for it, or cancel it")
            if len(line) > self._waiting:
                raise InputError(f"the server is busy, and {self._waiting} others wait already: try again in a few minutes")
            job = Job(owner, self._folder / secrets.token_hex(16), work)
            job.future = self._pool.submit(job.run)
            self._jobs.append(job)
            return job

    def ahead_of(self, job: Job) -> int:
        """How many jobs are done before this one."""
        with self._lock:
            return sum(not other.future.done() for other in takewhile(lambda other: other is not job, self._jobs))

    def stop(self, owner: str) -> None:
        """Stop what a user has in the queue."""
        with self._lock:
            for job in self._of(owner):
                job.stop()

    def forget(self, owner: str) -> None:
        """Stop a user's jobs, and delete all that they wrote."""
        for job in self._of(owner):
            job.stop()
            job.future.add_done_callback(lambda _, job=job: self._delete(job))  # type: ignore[misc]

    def _of(self, owner: str) -> list[Job]:
        return [job for job in self._jobs if job.owner == owner]

    def _delete(self, job: Job) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)
        with self._lock:
            self._jobs = [other for other in self._jobs if other is not job]
