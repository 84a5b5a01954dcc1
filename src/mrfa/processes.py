"""Several processes that do one job: how they are started, which one this is, and what they tell each other.

`torchrun` starts them from outside, on one or several machines; `launch` starts one for each device of this machine. Torch is
imported where it is needed, as the processes that prepare clips do without it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from multiprocessing import active_children, get_context
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from mrfa.errors import InputError

J = TypeVar("J")
T = TypeVar("T")

# One process may prepare clips for hours while others wait for it; each of them notices at once when another one ends.
LONGEST_WAIT = timedelta(days=10)
# Compilation included.
SLOWEST_STEP = timedelta(minutes=30)

_RESTARTS = "TORCHELASTIC_RESTART_COUNT"
_SHARED_STORE = "TORCHELASTIC_USE_AGENT_STORE"


@dataclass(frozen=True)
class Processes:
    """This process among those that do the same job.

    Attributes:
        rank: its number, from 0.
        count: how many there are.
        local_count: how many of them run on this machine.
    """

    rank: int = 0
    count: int = 1
    local_count: int = 1

    @staticmethod
    def started() -> bool:
        """Whether torchrun or `launch` started this process."""
        import torch.distributed as dist

        return dist.is_available() and dist.is_torchelastic_launched()

    @staticmethod
    def restarted() -> bool:
        """Whether this run was started again after a process or a machine had failed, by torchrun or SLURM."""
        return any(os.environ.get(name, "0") != "0" for name in (_RESTARTS, "SLURM_RESTART_COUNT"))

    @classmethod
    def join(cls) -> "Processes":
        """Connect with the other processes that torchrun or `launch` started, each on a device of its own; else be alone.

        Raises:
            InputError: this machine has fewer devices than processes.
        """
        import torch
        import torch.distributed as dist

        if not cls.started():
            return cls()
        processes = cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))
        if torch.cuda.is_available():
            if torch.cuda.device_count() < processes.local_count:
                devices = torch.cuda.device_count()
                raise InputError(f"{processes.local_count} processes need as many devices, but this machine has {devices}")
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            store, rank, count = next(dist.rendezvous("env://"))
            if os.environ.get(_SHARED_STORE) == "True":
                # What processes told each other before a restart is still there, and no longer true. Between machines, which
                # count restarts each for itself, torchrun is told to make a new store for each start.
                store = dist.PrefixStore(os.environ.get(_RESTARTS, "0"), store)
            backend = "nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=SLOWEST_STEP)
        return processes

    def share(self, items: Sequence[T]) -> list[T]:
        """The items that this process takes on."""
        return list(items[self.rank :: self.count])

    def gather(self, values: list[T]) -> list[T]:
        """The values of all processes, in the same order everywhere; each process waits for all others."""
        if self.count == 1:
            return values
        import torch.distributed as dist

        gathered: list[list[T]] = [[] for _ in range(self.count)]
        dist.all_gather_object(gathered, values, group=dist.new_group(backend="gloo", timeout=LONGEST_WAIT))
        return [value for part in gathered for value in part]

    def any(self, decision: bool) -> bool:
        """Whether any process decided so; each waits for all others, but none for its GPU."""
        if self.count == 1:
            return decision
        import torch
        import torch.distributed as dist

        votes = torch.tensor(int(decision))
        dist.all_reduce(votes, group=_deciding_group())
        return bool(votes)

    def wait(self) -> None:
        """Until all other processes are here, too."""
        self.gather([])


ALONE = Processes()


def run_apart(function: Callable[[J], T], jobs: Sequence[J], workers: int, report: Callable[[J, T | None], None]) -> None:
    """Call a function once for each job, in other processes.

    Each worker is a pool of one process, so that a process that dies takes one job with it, of which nothing comes, and no other.
    When this process is stopped, they are ended.

    Args:
        function: importable by name.
        jobs: can be pickled.
        workers: processes at a time.
        report: called here with each job and what came of it, in the order in which they end; None where the process died.
    """
    pools: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()

    def isolated(job: J) -> T | None:
        pool = pools.get()
        try:
            return pool.submit(function, job).result()
        except BrokenProcessPool:
            pool.shutdown()
            pool = _new_pool()
            return None
        finally:
            pools.put(pool)

    others = set(active_children())
    workers = min(workers, len(jobs))
    for _ in range(workers):
        pools.put(_new_pool())
    with ThreadPoolExecutor(max(1, workers)) as threads:
        try:
            running = {threads.submit(isolated, job): job for job in jobs}
            for future in as_completed(running):
                report(running[future], future.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for child in set(active_children()) - others:
                child.terminate()
            raise
    for _ in range(workers):
        pools.get().shutdown()


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@cache
def _deciding_group() -> Any:
    """For what processes decide on their CPUs while they train: made when all first decide something."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=SLOWEST_STEP)


def launch(count: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in `count` processes of this machine, which `Processes.join` connects.

    When one of them fails, the others are ended.

    Args:
        count: of processes.
        function: importable by name.
        arguments: can be pickled.

    Returns:
        What the first process returns.

    Raises:
        InputError: of the first process that raised one.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    settings = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"mrfa-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method="forkserver",
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            results: dict[int, T] = elastic_launch(settings, _call)(Path(folder), function, arguments)
        except ChildFailedError:
            messages = [path.read_text() for path in sorted(Path(folder).iterdir())]
            if not messages:
                raise
            raise InputError(messages[0]) from None
        except SignalException:
            raise KeyboardInterrupt from None
    return results[0]


def _call(folder: Path, function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """In a process of `launch`: an InputError travels back as text and without a traceback."""
    try:
        return function(*arguments)
    except InputError as error:
        (folder / os.environ["RANK"]).write_text(str(error))
        sys.exit(2)
