"""Train and measure every run of a study that is not finished yet, and rewrite its tables after each."""

import fcntl
import gc
import logging
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.study.measure import measure, unavailable
from benchmarks.study.plan import Run, Study
from benchmarks.study.report import finished_runs, write_reports
from benchmarks.study.results import RESULT, Result, budget, write_result
from mrfa.data.packed import unpack_clips
from mrfa.data.prepared import PreparedClip, prepare_clips
from mrfa.errors import InputError
from mrfa.evaluation.tables.table import METHOD
from mrfa.processes import Processes
from mrfa.training.config import Config, load_config
from mrfa.training.run import STORED_SIZE, train

EXAMPLES_FILE = "examples.png"
# Cores that are left to a training's loader while a model is measured; the rest measures.
LEFT_CORES = 4


def run_study(
    study: Study,
    runs: Sequence[Run],
    *,
    data: Sequence[Path],
    test: Path,
    output: Path,
    cache: Path | None = None,
    weights: Path | None = None,
    device: str | None = None,
    checkpoint_every: int = 500,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Train and measure runs of a study, and go on where an earlier call stopped.

    A run is finished when its `result.json` exists; one that was interrupted goes on from its last checkpoint. Several processes
    may share an output folder, one a GPU: each takes the next run that none is at.

    Args:
        study: what the runs are of.
        runs: to make, in this order.
        data: folders of training clips, or packed files.
        test: folder of clips of other people, or packed file, on which the models are measured.
        output: holds a folder a run, `<variant>-seed<k>`, with `model`, `result.json` and pictures of some clips, and the tables.
        cache: folder for prepared clips, shared by all runs; `output/cache` by default.
        weights: folder of the metrics' weights.
        device: to train and measure on; None: what there is.
        checkpoint_every: steps between checkpoints.
        report: called with a line for each run.

    Raises:
        InputError: unusable data or settings, or a run in `output` that was trained with other settings.
    """
    if Processes.started():
        raise InputError("a study uses all devices of this machine by itself: call it without torchrun")
    for run in runs:
        _check_same_settings(output / run.name, run)
    for problem in unavailable(study.evaluation, weights):
        report(f"not measured: {problem}")
    # The trainer's lines on hardware and layers would drown the study's.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    cache = cache or output / "cache"
    clips = _test_clips(test, cache, runs)
    with _spare_processes() as processes:
        for number, run in enumerate(runs, start=1):
            folder = output / run.name
            with alone(folder) as mine:
                if not mine:
                    said = "another process is at it"
                elif (folder / RESULT).is_file():
                    said = "finished before"
                else:
                    start = time.monotonic()
                    model, trained = _trained(run, folder, data, cache, device, checkpoint_every)
                    found = measure(
                        model,
                        clips,
                        study.evaluation,
                        device=device,
                        examples=folder / EXAMPLES_FILE,
                        weights=weights,
                        processes=processes,
                    )
                    result = Result(run.variant, run.seed, budget(run), trained, found)
                    _finish(folder, result)
                    said = f"{_means(result)} ({trained:.0f} s of training, {time.monotonic() - start:.0f} s in all)"
            report(f"{number}/{len(runs)} {run.name}: {said}")
            if any(output.glob(f"*/{RESULT}")):
                write_reports(study, finished_runs(output), output)


def _trained(run: Run, folder: Path, data: Sequence[Path], cache: Path, device: str | None, every: int) -> tuple[Path, float]:
    """The model of a run, new or gone on with, and the seconds that it took."""
    start = time.monotonic()
    resume = (folder / "checkpoints" / "last.ckpt").is_file()
    model = train(run.config, data=data, output=folder, cache=cache, device=device, resume=resume, checkpoint_every=every)
    _free_memory()
    return model, time.monotonic() - start


def _finish(folder: Path, result: Result) -> None:
    """Write what was found; the checkpoint is large, and of no more use."""
    write_result(folder / RESULT, result)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    _free_memory()


def _test_clips(test: Path, cache: Path, runs: Sequence[Run]) -> list[PreparedClip]:
    if test.is_file():
        return unpack_clips(test, cache)
    size = max(STORED_SIZE, *(run.config.network.image_size for run in runs))
    return prepare_clips(test, cache, size=size, landmarks=False)[0]


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this process is the only one at a run; the operating system forgets a process that dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


@contextmanager
def _spare_processes() -> Iterator[ProcessPoolExecutor | None]:
    """Processes that measure where there are cores for them: landmarks of all pictures take one core longer than a GPU draws."""
    cores = len(os.sched_getaffinity(0)) - LEFT_CORES
    if cores < 1:
        yield None
        return
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(cores, 8), mp_context=fresh, initializer=_one_thread) as processes:
        yield processes


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _check_same_settings(folder: Path, run: Run) -> None:
    """Figures of another network or of a shorter training are not mixed in."""
    model = folder / "model"
    if (model / "config.yaml").is_file() and _what_is_trained(load_config(model)) != _what_is_trained(run.config):
        raise InputError(f"{folder} was trained with other settings: give another --output, or delete that folder")


def _what_is_trained(config: Config) -> Config:
    """A configuration without what makes it faster alone."""
    same = {"workers": 0, "resident": False, "compile": False, "cuda_graph": False}
    return config.model_copy(update={"training": config.training.model_copy(update=same)})


def _means(result: Result) -> str:
    """Means over clips, for the eye."""
    figures = [clip.figures[METHOD] for clip in result.clips.values()]
    names = dict.fromkeys(metric for figure in figures for metric in figure)
    known = {name: [figure[name] for figure in figures if name in figure] for name in names}
    return ", ".join(f"{name} {sum(values) / len(values):.4g}" for name, values in known.items())
