"""Who does the jobs: processes of this machine, or of a Ray cluster; either way they call `mrfa.batch.work.do`."""

import multiprocessing
import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection, wait
from typing import cast
from urllib.parse import urlsplit

import cv2
import torch

from mrfa.batch.jobs import Job
from mrfa.batch.work import Outcome, do
from mrfa.cli_stop import Stopped, stoppable
from mrfa.errors import InputError
from mrfa.extras import require

# How often a job is tried whose process dies: it may have been another one's fault, such as memory that was full.
TRIES = 2
LONGEST_CONNECT = 10  # seconds
# A fork of a process that has imported everything and computed nothing, where there are forks.
START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def default_workers() -> int:
    """One for each GPU; else one, which takes all cores."""
    return max(1, torch.cuda.device_count())


def work_here(jobs: Sequence[Job], count: int) -> Iterator[tuple[int, Outcome]]:
    """Do jobs in processes of this machine, which share its devices and cores.

    A process that dies takes no more than its job with it, which is tried again.

    Args:
        jobs: what to do.
        count: of processes.

    Yields:
        The number of a job and what became of it, in the order of their ends.
    """
    if START_METHOD == "forkserver":
        multiprocessing.set_forkserver_preload([__name__])
    waiting, tries = deque(range(len(jobs))), Counter[int]()
    busy: dict[Connection, _Worker] = {}
    with ExitStack() as stack:
        idle = [stack.enter_context(_Worker(place, count)) for place in range(min(count, len(jobs)))]
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop()
                worker.begin(index := waiting.popleft(), jobs[index])
                tries[index] += 1
                busy[worker.connection] = worker
            for ready in wait(busy):
                worker = busy.pop(cast(Connection, ready))
                idle.append(worker)
                outcome = worker.end()
                if outcome is None and tries[worker.job] < TRIES:
                    waiting.appendleft(worker.job)
                else:
                    yield worker.job, outcome or Outcome("failed", f"its process died, {TRIES} times")


def work_on_ray(jobs: Sequence[Job], address: str) -> Iterator[tuple[int, Outcome]]:
    """Do jobs on the machines of a Ray cluster: a core and, where it has GPUs, a GPU each.

    All machines have this package and see the same files under the same names. What a process or machine that dies was doing is
    tried again elsewhere.

    Args:
        jobs: what to do.
        address: `auto` on a machine of the cluster, or `HOST:PORT`, or `ray://HOST:PORT`.

    Yields:
        As `work_here`.

    Raises:
        InputError: Ray is not installed, or there is no cluster.
    """
    require("ray", extra="ray")
    import ray

    try:
        place = urlsplit(address if "//" in address else f"//{address}")
        if place.hostname and place.port:  # Ray would wait for minutes
            socket.create_connection((place.hostname, place.port), timeout=LONGEST_CONNECT).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"there is no Ray cluster at {address}: {' '.join(str(error).split())}") from None
    try:
        gpus = 1 if ray.cluster_resources().get("GPU") else 0
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(do)
        numbers = {task.remote(job): number for number, job in enumerate(jobs)}
        while numbers:
            (ready,), _ = ray.wait(list(numbers))
            try:
                outcome: Outcome = ray.get(ready)
            except ray.exceptions.RayError as error:
                outcome = Outcome("failed", f"its process died: {str(error).splitlines()[0]}")
            yield numbers.pop(ready), outcome
    finally:
        ray.shutdown()


class _Worker:
    """A process that does one job after another, and is started anew where it died. A context manager that ends it.

    Args:
        place: its number.
        count: how many there are.

    Attributes:
        job: number of its job.
        connection: can be read from when the job has ended, one way or the other.
    """

    def __init__(self, place: int, count: int) -> None:
        devices = torch.cuda.device_count()
        self._settings = f"cuda:{place % devices}" if devices else None, max(1, torch.get_num_threads() // count)
        self._context = multiprocessing.get_context(START_METHOD)
        self._start()

    def _start(self) -> None:
        self.connection, other = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(other, *self._settings), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        other.close()  # so that the end of the process ends the connection

    def begin(self, number: int, job: Job) -> None:
        if not self._process.is_alive():
            self._start()
        self.job = number
        with suppress(OSError):  # it died this moment: `end` will say so
            self.connection.send(job)

    def end(self) -> Outcome | None:
        """What became of its job; None where the process died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
            return None

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, device: str | None, threads: int) -> None:
    """In a process of `work_here`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    with suppress(Stopped, EOFError), stoppable():
        while True:
            connection.send(do(connection.recv(), device))


def _end_with_parent() -> None:
    """Whoever killed the parent wants no more work to be done, and another run may already begin."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
