"""Clips in shards: a few large files on a disk or in object storage, from which single frames are read.

A shard is a plain tar file with a JPEG for each frame, `CLIP/000012.jpg`, as WebDataset has them. Its readers take shards from
front to back, and MosaicML's Streaming fetches whole shards, but a pair needs two frames of any clip. So `index.safetensors`
beside the shards says where each JPEG lies, and just these bytes are read. The index is mapped, not loaded.

It has `names` (JSON: clips' names and identities), `shards [C]`, `firsts [C + 1]` (number of each clip's first frame),
`offsets [F]` and `lengths [F]` (bytes), and where landmarks were asked for `groups [F, G, 2]` (half-pixel normalised) and
`found [F]`.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fsspec.core import url_to_fs
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mrfa.data.clips import Clip, list_clips
from mrfa.data.files import replacing
from mrfa.data.guidance import GROUPS
from mrfa.data.prepared import ClipFrames, cache_key, clip_state, decode, encode, load_clip
from mrfa.errors import InputError
from mrfa.processes import ALONE, Processes, run_apart

INDEX = "index.safetensors"
FORMAT = 1
# Some ten thousand frames, 160 megabytes at 256x256: large enough for object storage, and little to write again.
CLIPS_A_SHARD = 64
LARGEST_PICTURE = 2**26  # bytes
BLOCK = 512  # of a tar file
TYPES = {"U8": np.uint8, "BOOL": np.bool_, "F16": np.float16, "U32": np.uint32, "U64": np.uint64}


class ShardedClip(NamedTuple):
    """A clip in shards; see `mrfa.data.prepared.PreparedClip`.

    Attributes:
        shards: where it lies.
        number: of the clip there.
    """

    shards: "Shards"
    number: int
    name: str
    identity: str
    frames: int
    weight: float = 1.0

    @property
    def still(self) -> bool:
        """Whether this is a still picture, from which a pair has to be made."""
        return self.frames == 1

    def read(self, indices: Sequence[int]) -> ClipFrames:
        """Decode single frames."""
        return self.shards.read(self.number, indices)


class Shards:
    """Shards that are read from any number of processes.

    Args:
        location: folder, or address of one that `fsspec` knows, such as `s3://bucket/folder`.
        cache: folder for the index of shards that do not lie on a disk.
        processes: those that open the same shards at the same time; one of each machine fetches the index.

    Raises:
        InputError: there are no shards, or the index is damaged.
    """

    def __init__(self, location: str | Path, cache: Path, processes: Processes = ALONE) -> None:
        self.location = str(location)
        self._index = _local_index(self.location, cache, processes)
        self._tables = _map_tensors(self._index)
        self._check()
        self._files: tuple[int, Any, str] | None = None

    @property
    def landmarks(self) -> bool:
        """Whether landmark groups were found."""
        return "groups" in self._tables

    def clips(self) -> list[ShardedClip]:
        """All clips."""
        names = json.loads(self._tables["names"].tobytes())
        frames = np.diff(self._tables["firsts"].astype(np.int64))
        return [ShardedClip(self, i, name, identity, int(frames[i])) for i, (name, identity) in enumerate(names)]

    def read(self, number: int, indices: Sequence[int]) -> ClipFrames:
        """Decode single frames of clip `number`.

        Raises:
            InputError: a shard is not there, or damaged.
        """
        tables, first = self._tables, int(self._tables["firsts"][number])
        chosen = [first + index for index in indices]
        starts = [int(tables["offsets"][place]) for place in chosen]
        ends = [start + int(tables["lengths"][place]) for start, place in zip(starts, chosen, strict=True)]
        files, folder = self._filesystem()
        path = f"{folder}/{shard_name(int(tables['shards'][number]))}"
        if any(not 0 < end - start <= LARGEST_PICTURE for start, end in zip(starts, ends, strict=True)):
            raise InputError(f"{self.location}/{INDEX} is damaged: make the shards again")
        parts = files.cat_ranges([path] * len(starts), starts, ends)
        images = [decode(np.frombuffer(part, np.uint8)) if isinstance(part, bytes) and part else None for part in parts]
        broken = [image for image in images if image is None]
        if broken:
            reason = next((f"{part}" for part in parts if isinstance(part, Exception)), "it is damaged")
            raise InputError(f"cannot read a frame of {path}: {reason}")
        pictures = np.stack([image for image in images if image is not None])
        if not self.landmarks:
            return ClipFrames(pictures, np.zeros((len(chosen), GROUPS, 2), np.float32), np.zeros(len(chosen), bool))
        return ClipFrames(pictures, tables["groups"][chosen].astype(np.float32), np.asarray(tables["found"][chosen]))

    def __getstate__(self) -> dict[str, Any]:
        """Processes map the index, and connect to the storage, for themselves."""
        return {"location": self.location, "_index": self._index}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.location, self._index = state["location"], state["_index"]
        self._tables = _map_tensors(self._index)
        self._files = None

    def _filesystem(self) -> tuple[Any, str]:
        """The storage and the folder there. A connection does not survive a fork, so each process makes its own."""
        if self._files is None or self._files[0] != os.getpid():
            self._files = os.getpid(), *_open_storage(self.location)
        return self._files[1:]

    def _check(self) -> None:
        tables = self._tables
        wanted = {"names", "shards", "firsts", "offsets", "lengths"}
        try:
            names = json.loads(tables["names"].tobytes())
            firsts, frames = tables["firsts"], len(tables["offsets"])
            good = (
                wanted <= tables.keys()
                and all(len(name) == 2 and all(isinstance(part, str) for part in name) for name in names)
                and len(names) == len(tables["shards"]) == len(firsts) - 1 > 0
                and int(firsts[0]) == 0
                and int(firsts[-1]) == frames == len(tables["lengths"])
                and bool((np.diff(firsts.astype(np.int64)) > 0).all())
                and ("groups" not in tables or tables["groups"].shape == (frames, GROUPS, 2))
                and ("groups" not in tables or tables["found"].shape == (frames,))
            )
        except (KeyError, ValueError, TypeError, RecursionError):
            good = False
        if not good:
            raise InputError(f"{self.location}/{INDEX} is damaged: make the shards again")


def is_sharded(location: str | Path) -> bool:
    """Whether a `--data` is an address or a folder of shards."""
    return "://" in str(location) or (Path(location) / INDEX).is_file()


def shard_name(number: int) -> str:
    """Of a shard's file."""
    return f"shard-{number:05}.tar"


def write_shards(
    root: Path,
    output: Path,
    *,
    size: int,
    landmarks: bool,
    clips_a_shard: int = CLIPS_A_SHARD,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[int, list[str]]:
    """Write the clips below a folder as shards; shards that an earlier run completed stay.

    Args:
        root: folder of clips, see `mrfa.data.clips`.
        output: folder of the shards.
        size: side of the pictures in pixels.
        landmarks: also find the landmark groups.
        clips_a_shard: clips in each of them.
        workers: processes; one for each core by default.
        progress: called with shards done and all.

    Returns:
        The number of clips, and a line for each that is left out.

    Raises:
        InputError: no usable clip, or the folder cannot be written to.
    """
    clips = list_clips(root, stills=True)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {output}: {error.strerror}") from None
    groups = [clips[start : start + clips_a_shard] for start in range(0, len(clips), clips_a_shard)]
    jobs = [_Job(number, group, root, output, size, landmarks) for number, group in enumerate(groups)]
    if not all(job.done for job in jobs):
        (output / INDEX).unlink(missing_ok=True)  # so that nobody reads new shards by an old index
    problems: dict[int, list[str]] = {}
    ended = count(1)

    def note(job: _Job, found: list[str] | None) -> None:
        problems[job.number] = [f"{job.part.stem}: the process that wrote it died"] if found is None else found
        progress(next(ended), len(jobs))

    run_apart(_write_shard, jobs, workers or os.cpu_count() or 1, note)
    missing = sum(not job.done for job in jobs)
    if missing:
        raise InputError(f"{output}: {missing} of {len(jobs)} shards could not be written; run the command again to go on")
    lines = [line for number in sorted(problems) for line in problems[number]]
    return _join_parts([job.part for job in jobs], output, lines), lines


class _Job(NamedTuple):
    """A shard to write."""

    number: int
    clips: list[Clip]
    root: Path
    output: Path
    size: int
    landmarks: bool

    @property
    def part(self) -> Path:
        """The shard's own part of the index, whose name is made of all that decides what the shard holds."""
        state = [(clip.name(self.root), clip.identity, clip_state(clip)) for clip in self.clips]
        return self.output / f"part-{self.number:05}-{cache_key(FORMAT, state, self.size, self.landmarks)}.safetensors"

    @property
    def done(self) -> bool:
        """Whether an earlier run wrote it."""
        return self.part.is_file() and (self.output / shard_name(self.number)).is_file()


def _write_shard(job: _Job) -> list[str]:
    """Write a shard and its part of the index; a line for each clip that is left out, which a finished shard remembers."""
    part = job.part
    if job.done:
        with safe_open(part, framework="np") as file:
            return list(json.loads(file.metadata()["problems"]))
    for other in job.output.glob(f"part-{job.number:05}-*"):
        other.unlink()  # of a shard that will not be there any more
    rows, problems = [], []
    with replacing(job.output / shard_name(job.number)) as temporary, tarfile.open(temporary, "w") as shard:
        for clip in job.clips:
            try:
                frames, groups, found = load_clip(clip, job.size, job.landmarks)
                if len(frames) < 2 and not clip.still:
                    raise InputError("only one frame")
            except Exception as error:  # whatever a decoder or a detector makes of a bad clip
                problems.append(
                    f"{clip.path}: {error}" if isinstance(error, InputError) else f"{clip.path}: {type(error).__name__}: {error}"
                )
                continue
            name = clip.name(job.root)
            places = [_add(shard, f"{name}/{number:06}.jpg", encode(frame).tobytes()) for number, frame in enumerate(frames)]
            rows.append(((name, clip.identity), places, groups, found))
    _write_part(part, job, rows, problems)
    return problems


def _write_part(part: Path, job: _Job, rows: list[Any], problems: list[str]) -> None:
    names, places, groups, found = ([row[i] for row in rows] for i in range(4))
    flat = [place for clip in places for place in clip]
    tensors: dict[str, np.ndarray] = {
        "names": np.frombuffer(json.dumps(names).encode(), np.uint8),
        "shards": np.full(len(names), job.number, np.uint32),
        "firsts": np.cumsum([0, *map(len, places)], dtype=np.uint64),
        "offsets": np.array([offset for offset, _ in flat], np.uint64),
        "lengths": np.array([length for _, length in flat], np.uint32),
    }
    if job.landmarks:
        tensors["groups"] = np.concatenate([*groups, np.zeros((0, GROUPS, 2))]).astype(np.float16)
        tensors["found"] = np.concatenate([*found, np.zeros(0, bool)]).astype(bool)
    with replacing(part) as temporary:
        save_file(tensors, temporary, metadata={"problems": json.dumps(problems)})


def _add(shard: tarfile.TarFile, name: str, data: bytes) -> tuple[int, int]:
    """Append a file; where its bytes begin, and how many they are."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    shard.addfile(member, BytesIO(data))
    return shard.offset - -(-len(data) // BLOCK) * BLOCK, len(data)


def _join_parts(parts: list[Path], output: Path, problems: list[str]) -> int:
    """Write the index, and return the number of clips."""
    tables = [_map_tensors(part) for part in parts]
    names = [name for table in tables for name in json.loads(table["names"].tobytes())]
    if not names:
        raise InputError(f"no usable clip for {output}: {problems[0]}")
    lengths = np.concatenate([np.diff(table["firsts"].astype(np.int64)) for table in tables])
    joined = {key: np.concatenate([table[key] for table in tables]) for key in tables[0] if key not in ("names", "firsts")}
    joined["names"] = np.frombuffer(json.dumps(names).encode(), np.uint8)
    joined["firsts"] = np.cumsum([0, *lengths], dtype=np.uint64)
    with replacing(output / INDEX) as temporary:
        save_file(joined, temporary, metadata={"format": str(FORMAT)})
    return len(names)


def _map_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, mapped: what is not looked at takes no memory.

    Raises:
        InputError: it is none, or has tensors of other types.
    """
    try:
        with safe_open(path, framework="np") as file:  # which checks the header
            file.keys()
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
        header.pop("__metadata__", None)
        data = np.memmap(path, np.uint8, "r") if header else np.zeros(0, np.uint8)
        return {
            name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
            .view(TYPES[entry["dtype"]])
            .reshape(entry["shape"])
            for name, entry in header.items()
        }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"{path} is no index of shards: {error}") from None


def _open_storage(location: str) -> tuple[Any, str]:
    try:
        files, folder = url_to_fs(location)
    except (ImportError, ValueError) as error:  # the package for this kind of storage, or no such kind
        raise InputError(f"cannot open {location}: {error}") from None
    return files, str(folder)


def _local_index(location: str, cache: Path, processes: Processes) -> Path:
    if "://" not in location:
        return Path(location) / INDEX
    files, folder = _open_storage(location)
    try:
        version = files.ukey(f"{folder}/{INDEX}")
        target = cache / f"shards-{hashlib.sha256(f'{location} {version}'.encode()).hexdigest()[:16]}.safetensors"
        if not target.is_file() and processes.rank % processes.local_count == 0:
            cache.mkdir(parents=True, exist_ok=True)
            with replacing(target) as temporary:
                files.get_file(f"{folder}/{INDEX}", str(temporary))
    except InputError:
        raise
    except Exception as error:  # whatever a storage says of an address that does not exist
        raise InputError(
            f"no shards at {location}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from None
    processes.wait()
    return target
