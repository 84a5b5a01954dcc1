"""Clips are cut out of their source videos: one video is read for all of its clips, several videos at a time."""

import os
import shlex
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import cv2
import numpy as np

from mrfa.data.clips import VIDEO_SUFFIXES
from mrfa.data.video import VideoReader, VideoWriter
from mrfa.datasets.cuts import Cut, Rectangle, Rules, rectangle
from mrfa.datasets.manifest import Row, append_rows, clip_name, cut_key, read_manifest, write_manifest
from mrfa.errors import InputError
from mrfa.processes import run_apart

# By how many seconds a video may end before a clip does.
TOLERANCE = Fraction(1, 2)
SUFFIX = ".mp4"
DIED = "the process that read the video died"
ProgressFunction = Callable[[int, int], None]


class HasRows(Protocol):
    """A job that says what became of its clips where its process died."""

    @property
    def rows_of_death(self) -> list[Row]: ...


J = TypeVar("J", bound=HasRows)


class Work(NamedTuple):
    """Where clips come from, where they go, and what is usable.

    Attributes:
        videos: folder of source videos, each with the name that its cuts give it.
        output: folder of the data set: `train/IDENTITY/NAME.mp4`, `test/...`, and the manifest.
        rules: for all clips.
        downloader: command that fetches a video that is not there, see `check_downloader`.
        workers: processes; one for each core by default.
    """

    videos: Path
    output: Path
    rules: Rules
    downloader: str | None = None
    workers: int | None = None


class _Job(NamedTuple):
    """A source video's clips."""

    cuts: list[Cut]
    work: Work

    @property
    def rows_of_death(self) -> list[Row]:
        return [Row.of_cut(cut, self.work.rules, problem=DIED) for cut in self.cuts]


def make_clips(
    cuts: Sequence[Cut], problems: Sequence[Row], work: Work, progress: ProgressFunction = lambda done, total: None
) -> list[Row]:
    """Cut all clips that are not there yet, and write the manifest.

    Args:
        cuts: the clips.
        problems: rows of what the metadata hold beside them.
        work: how.
        progress: called with videos done and all.

    Returns:
        The rows of the manifest.

    Raises:
        InputError: the folder cannot be written to.
    """
    kept, rows, jobs = read_manifest(work.output), list(problems), defaultdict[str, list[Cut]](list)
    for cut in cuts:
        row = kept.get(clip_name(cut))
        if row and not row.problem and row.key == cut_key(cut, work.rules) and has_clip(work.output, row):
            rows.append(row)
        else:
            jobs[cut.video].append(cut)
    return run_jobs(_cut_video, [_Job(some, work) for some in jobs.values()], rows, work, progress)


def run_jobs(
    function: Callable[[J], list[Row]], jobs: Sequence[J], done: Sequence[Row], work: Work, progress: ProgressFunction
) -> list[Row]:
    """Do a function's jobs in processes, keep the manifest while they end, and return its rows.

    Args:
        function: makes the clips of a job, and returns their rows.
        jobs: what is left to do.
        done: rows of what an earlier run did.
        work: how.
        progress: called with jobs done and all.
    """
    rows = {row.clip: row for row in done}
    try:
        work.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {work.output}: {error.strerror}") from None
    write_manifest(work.output, rows.values())
    ended = count(1)

    def note(job: J, made: list[Row] | None) -> None:
        made = job.rows_of_death if made is None else made
        append_rows(work.output, made)
        rows.update({row.clip: row for row in made})
        progress(next(ended), len(jobs))

    run_apart(function, jobs, work.workers or os.cpu_count() or 1, note)
    write_manifest(work.output, rows.values())
    return sorted(rows.values())


def has_clip(output: Path, row: Row) -> bool:
    """Whether a row's clip is there."""
    return (output / f"{row.clip}{SUFFIX}").is_file()


def check_downloader(command: str) -> str:
    """A command line that fetches a video, without a shell: `{url}` or `{id}`, and `{output}`, stand for what changes.

    Raises:
        InputError: it lacks one of them.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--downloader {command}: {error}") from None
    if not any("{output}" in part for part in parts) or not any("{url}" in part or "{id}" in part for part in parts):
        raise InputError(
            "--downloader takes a command with {url} or {id}, and {output}, such as  yt-dlp -f mp4 -o {output} {url}"
        )
    return command


def write_clip(reader: VideoReader, cut: Cut, box: Rectangle, target: Path, rules: Rules) -> int:
    """Write one clip, with the time stamps of its source.

    Returns:
        The number of its frames.

    Raises:
        InputError: the video ends before, or there are too few frames.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    start: int | None = None
    last, frames, size = Fraction(0), 0, rules.size
    with VideoWriter(target, width=size, height=size, time_base=reader.time_base, rate=reader.average_rate) as writer:
        for frame in reader.span(cut.begin, cut.end):
            start = frame.pts if start is None else start
            last = (frame.pts + (frame.duration or 0)) * reader.time_base
            writer.write(_resized(frame.image, box, size), frame.pts - start, frame.duration)
            frames += 1
        if last < cut.end - TOLERANCE:
            raise InputError(f"the video ends before {float(cut.end):.2f} s")
        if frames < rules.fewest:
            raise InputError(f"{frames} frames, fewer than {rules.fewest}")
    return frames


def make_clip(reader: VideoReader, cut: Cut, work: Work) -> Row:
    """The row of a clip that is made; what went wrong is in it, so that one bad clip does not end the work."""
    try:
        box = rectangle(cut, reader.width, reader.height, work.rules)
        frames = write_clip(reader, cut, box, work.output / f"{clip_name(cut)}{SUFFIX}", work.rules)
    except Exception as error:  # whatever a decoder makes of a bad video
        problem = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return Row.of_cut(cut, work.rules, problem=problem)
    return Row.of_cut(cut, work.rules, box=box, frames=frames)


def _cut_video(job: _Job) -> list[Row]:
    """Rows of all clips of one video."""
    try:
        reader = VideoReader(_find_video(job.cuts[0].video, job.work))
    except InputError as error:
        return [Row.of_cut(cut, job.work.rules, problem=str(error)) for cut in job.cuts]
    return [make_clip(reader, cut, job.work) for cut in job.cuts]


def _find_video(name: str, work: Work) -> Path:
    found = _present(work.videos, name)
    if found is None and work.downloader is not None:
        _download(name, work.videos, work.downloader)
        found = _present(work.videos, name)
    if found is None:
        raise InputError("its video is not there")
    return found


def _present(videos: Path, name: str) -> Path | None:
    return next((path for suffix in sorted(VIDEO_SUFFIXES) if (path := videos / f"{name}{suffix}").is_file()), None)


def _download(name: str, videos: Path, command: str) -> None:
    values = {"{id}": name, "{url}": f"https://www.youtube.com/watch?v={name}", "{output}": str(videos / f"{name}{SUFFIX}")}
    parts = shlex.split(command)
    for key, value in values.items():
        parts = [part.replace(key, value) for part in parts]
    try:
        result = subprocess.run(parts, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise InputError(f"{parts[0]} cannot be started: {error.strerror}") from None
    if result.returncode:
        said = result.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{parts[0]} failed: {said[-1][:200] if said else f'exit code {result.returncode}'}")


def _resized(image: np.ndarray, box: Rectangle, size: int) -> np.ndarray:
    """A rectangle of a picture, resized to a square."""
    part = image[box.top : box.bottom, box.left : box.right]
    shrunk = min(part.shape[:2]) > size
    return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if shrunk else cv2.INTER_CUBIC)
