"""One job in a process that does many: what each worker does, on this machine or on another one."""

import time
from functools import lru_cache
from typing import Literal, NamedTuple

from mrfa.animation.animator import Animator
from mrfa.batch.jobs import Job
from mrfa.data.origin import read_origin
from mrfa.errors import InputError


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        state: `skipped`: its output was there already, made from the same.
        notes: why it failed, or what the user should know.
        seconds: the work took, the model's loading included.
        frames: of the output; 0 where none was written.
    """

    state: Literal["done", "skipped", "failed"]
    notes: str = ""
    seconds: float = 0.0
    frames: int = 0


def do(job: Job, device: str | None = None) -> Outcome:
    """Do a job unless it is done. Whatever happens to it is told, not raised.

    Args:
        job: what to do.
        device: where to compute, where the job does not say so itself.
    """
    begin = time.perf_counter()
    try:
        made_from = job.fingerprint()
        if is_done(job, made_from):
            return Outcome("skipped")
        animator = _animator(job.model, job.device or device, job.precision, job.backend, job.batch_size)
        result = job.animate(job.source, job.driving, job.output, animator, job=made_from)
        return Outcome("done", "; ".join(result.warnings), time.perf_counter() - begin, result.frames)
    except InputError as error:
        return Outcome("failed", str(error), time.perf_counter() - begin)
    except Exception as error:  # a mistake of ours, or memory that is full: the other jobs go on
        notes = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Outcome("failed", notes, time.perf_counter() - begin)


def is_done(job: Job, made_from: str) -> bool:
    """Whether the output is there and says that it was made from the same."""
    try:
        origin = read_origin(job.output)
    except InputError:
        return False
    return origin is not None and origin.job == made_from


@lru_cache(maxsize=1)
def _animator(model: str, device: str | None, precision: str | None, backend: str, batch_size: int | None) -> Animator:
    """Loaded once for all jobs in a row that compute the same way."""
    return Animator.from_pretrained(model, device=device, dtype=precision, backend=backend, batch_size=batch_size)
