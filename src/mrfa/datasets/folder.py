"""Videos of one's own, cut into clips in which one face stays where it is."""

import random
from collections import defaultdict
from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np

from mrfa.data.clips import Clip, list_clips
from mrfa.data.prepared import cache_key, file_state
from mrfa.data.video import VideoReader
from mrfa.datasets.cuts import Cut, Rules, Split, overlap, union
from mrfa.datasets.cutting import DIED, ProgressFunction, Work, has_clip, make_clip, run_jobs
from mrfa.datasets.manifest import Row, read_manifest
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.faces.landmarks import Box

# A face is looked for in each of so many frames.
STRIDE = 4
# Mean difference of two frames, of 255, shrunk to this many pixels across, from which the second begins another shot.
ANOTHER_SHOT = 30
THUMBNAIL = 32


class _Job(NamedTuple):
    """A video, where it goes, and the key of all that decides what becomes of it."""

    clip: Clip
    split: Split
    work: Work
    key: str

    @property
    def video(self) -> str:
        return self.clip.name(self.work.videos)

    @property
    def rows_of_death(self) -> list[Row]:
        return [self.row_of_problem(DIED)]

    def row_of_problem(self, problem: str) -> Row:
        return Row.of_problem(self.video, problem)._replace(video=self.video, identity=self.clip.identity, split=self.split)


def make_own_clips(work: Work, *, test: int, seed: int, progress: ProgressFunction = lambda done, total: None) -> list[Row]:
    """Cut the videos below `work.videos` into clips, and write the manifest; see `mrfa.datasets.cutting.make_clips`.

    Args:
        work: how; identities are as `mrfa.data.clips` has them.
        test: people that are put aside.
        seed: of the draw of these.
        progress: called with videos done and all.

    Raises:
        InputError: no videos, too few people, or the folder cannot be written to.
    """
    clips = [clip for clip in list_clips(work.videos) if clip.path.is_file()]
    people = sorted({clip.identity for clip in clips})
    if not clips or len(people) <= test:
        raise InputError(f"{work.videos} shows {len(people)} people, so {test} cannot be put aside for the test: lower --test")
    tests = set(random.Random(seed).sample(people, test))
    kept = defaultdict[tuple[str, str], list[Row]](list)
    for row in read_manifest(work.output).values():
        kept[row.video, row.key].append(row)
    done: list[Row] = []
    jobs: list[_Job] = []
    for clip in clips:
        split: Split = "test" if clip.identity in tests else "train"
        job = _Job(clip, split, work, cache_key(file_state(clip.path), work.rules, split))
        rows = kept[job.video, job.key]
        if rows and all(row.problem or has_clip(work.output, row) for row in rows):
            done += rows
        else:
            jobs.append(job)
    return run_jobs(_cut_own, jobs, done, work, progress)


def _cut_own(job: _Job) -> list[Row]:
    """Rows of all clips of one video, or the one that says why there are none."""
    try:
        reader = VideoReader(job.clip.path)
        spans = find_spans(reader, job.work.rules)
    except Exception as error:  # whatever a decoder or a detector makes of a bad video
        problem = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return [job.row_of_problem(problem)._replace(key=job.key)]
    if not spans:
        return [job.row_of_problem(f"no face stays in it for {job.work.rules.fewest} frames")._replace(key=job.key)]
    rows = []
    for number, (begin, end, box) in enumerate(spans):
        name = f"{job.clip.path.stem}_{number:03}"
        reference = (float(reader.width), float(reader.height))
        cut = Cut(name, job.clip.identity, job.split, job.video, begin, end, box, reference, "moved")
        rows.append(make_clip(reader, cut, job.work)._replace(key=job.key))
    return rows


def find_spans(reader: VideoReader, rules: Rules) -> list[tuple[Fraction, Fraction, Box]]:
    """Where one face stays in a video.

    Returns:
        Begin and end in seconds, and the union of the face's boxes; the shot has no cut in it, and enough frames.
    """
    spans: list[tuple[Fraction, Fraction, Box]] = []
    boxes: list[Box] = []
    begin = end = Fraction(0)
    frames = seen = 0
    before: np.ndarray | None = None
    find = FaceFinder(tracking=True)

    def close() -> None:
        if boxes and seen >= rules.fewest:
            spans.append((begin, end, union(boxes)))
        boxes.clear()

    for number, frame in enumerate(reader):
        small = _thumbnail(frame.image)
        if before is not None and np.abs(small - before).mean() > ANOTHER_SHOT:
            close()
            find = FaceFinder(tracking=True)
        before = small
        frames += 1
        if number % STRIDE:
            continue
        face = find(frame.image)
        if boxes and (face is None or frames > rules.most or overlap(boxes[0], face.box) < rules.overlap):
            close()
        if face is None:
            continue
        if not boxes:
            begin, frames = frame.pts * reader.time_base, 1
        boxes.append(face.box)
        # The last frame that is known to show the face; what comes next may not.
        end, seen = (frame.pts + 1) * reader.time_base, frames
    close()
    return spans


def _thumbnail(image: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA).astype(
        np.int16
    )
