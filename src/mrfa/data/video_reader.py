"""Frames of a video file, or of a folder of pictures, one after the other and with exact time stamps."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from mrfa.data.files import check_readable, is_folder
from mrfa.data.images import PICTURE_SUFFIXES, is_picture, pixel_aspect, read_image
from mrfa.errors import InputError

PICTURE_RATE = 25
_ATTACHED_PICTURE = 1 << 10  # the disposition bit of cover art
# Containers whose header tells the true duration, so that a file that ends earlier was cut short.
_TIMED_CONTAINERS = {"matroska", "webm", "avi", "flv"}
_TIMED_TOLERANCE = 0.5  # seconds
_INDEXED_CONTAINERS = {"mp4", "matroska", "webm"}
# By how many seconds a file is entered before the span that is asked for: the index is by the order in which frames are stored,
# not by that in which they are shown.
ENTRY_MARGIN = 1
# What FFmpeg may take a file for: all that holds its pictures itself. These name other files or addresses, which whoever made
# the file chooses and not the user; image2 takes the file's own name for a pattern.
_PLAYLISTS = {"concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sdp", "smoothstreaming", "webm_dash_manifest"}
_FORMATS = ",".join(sorted(av.formats_available - _PLAYLISTS))

# How FFmpeg errors are caught: its errors that have an errno are OSErrors, and some are only ValueErrors.
AV_ERRORS = (av.FFmpegError, OSError, ValueError)


class Frame(NamedTuple):
    """One frame.

    Attributes:
        image: uint8 RGB `[H, W, 3]`, upright.
        pts: when it is shown, in units of the reader's `time_base`, from the common start of picture and sound on; strictly
            increasing over a clip.
        duration: how long it is shown, in the same unit, where the file says so.
    """

    image: np.ndarray
    pts: int
    duration: int | None


class VideoReader:
    """The frames of a video file, decoded while they are iterated over, so that memory does not grow with length.

    Iterating again opens the file again. Rotation and mirroring that the file asks for are applied, and pixels that are not
    square are made so. Frames whose size changes within the file are scaled to the size of the first.

    Attributes:
        path: the file.
        time_base: seconds per unit of `Frame.pts`.
        width, height: size of every frame in pixels, after rotation.
        average_rate: frames a second, where known.
        frame_count_estimate: frames in the file by its header or its length, where known; may be off.
        has_audio: whether there is an audio stream.
        truncated: None, or why frames are missing; set when an iteration ends.

    Raises:
        InputError: no such file, or no frame of it can be decoded.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.truncated: str | None = None
        with open_input(self.path) as container:
            stream = self._video_stream(container)
            self.time_base: Fraction = stream.time_base or Fraction(1, 90000)
            self.average_rate: Fraction | None = stream.average_rate or stream.guessed_rate or None
            self.has_audio = bool(container.streams.audio)
            self.frame_count_estimate = _frame_count(container, stream, self.average_rate)
            self._start = int(common_start(container) / self.time_base)
            for frame in self._decode(container, stream):
                # Asked of the first frame alone: a frame whose side data was looked at refers to itself, and stays in
                # memory until the garbage collector comes by, which for large frames means hundreds of megabytes.
                self._matrix = _display_matrix(frame)
                # Enlarged one way, never shrunk the other, which would lose detail.
                aspect = pixel_aspect(stream.sample_aspect_ratio)
                self._coded_size = round(frame.width * max(aspect, Fraction(1))), round(frame.height / min(aspect, Fraction(1)))
                turned = self._matrix is not None and _is_transposed(self._matrix)
                self.width, self.height = self._coded_size[::-1] if turned else self._coded_size
                break
            else:
                raise InputError(f"{self.path} holds no frame that can be decoded ({self.truncated or 'it is empty'})")
        self.truncated = None

    def __iter__(self) -> Iterator[Frame]:
        """Decode the file from its beginning; ends early, with `truncated` set, where the file is damaged."""
        self.truncated = None
        with open_input(self.path) as container:
            for frame, pts in self._stamped(container):
                yield Frame(self._upright(frame), pts, frame.duration or None)

    def span(self, begin: Fraction, end: Fraction) -> Iterator[Frame]:
        """The frames that are shown from `begin` on and before `end`, in seconds of `Frame.pts`; as iterating would give them.

        Decoding starts near `begin` in containers that have an index and time stamps, so that a part of a long file is read fast.
        """
        with open_input(self.path) as container:
            entry = begin - ENTRY_MARGIN
            if entry > 0 and set(container.format.name.split(",")) & _INDEXED_CONTAINERS:
                # Where it cannot be entered there, it is read from its beginning.
                with suppress(*AV_ERRORS):
                    container.seek(self._start + int(entry / self.time_base), stream=self._video_stream(container))
            for frame, pts in self._stamped(container):
                shown = pts * self.time_base
                if shown >= end:
                    break
                if shown >= begin:
                    yield Frame(self._upright(frame), pts, frame.duration or None)

    def _stamped(self, container: InputContainer) -> Iterator[tuple[av.VideoFrame, int]]:
        """Decoded frames and when they are shown, strictly increasing."""
        last: int | None = None
        for frame in self._decode(container, self._video_stream(container)):
            # Files without time stamps are shown at their rate, and repeated ones are set apart by one tick:
            # a video with two frames at one time cannot be written.
            pts = None if frame.pts is None else frame.pts - self._start
            if pts is None:
                pts = 0 if last is None else last + (frame.duration or self._frame_ticks())
            if last is not None and pts <= last:
                pts = last + 1
            last = pts
            yield frame, pts

    def _frame_ticks(self) -> int:
        return max(1, round(1 / ((self.average_rate or PICTURE_RATE) * self.time_base)))

    def _video_stream(self, container: InputContainer) -> VideoStream:
        streams = [s for s in container.streams.video if not int(getattr(s, "disposition", 0)) & _ATTACHED_PICTURE]
        if not streams:
            raise InputError(f"{self.path} holds no video")
        streams[0].thread_type = "AUTO"
        return streams[0]

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        """Every frame that can be decoded; says in `truncated` what could not."""
        packets, end, decoded, problems = Counter[int](), 0.0, 0, 0
        broken: str | None = None
        demuxer = container.demux()
        while True:
            try:
                packet = next(demuxer, None)
            except AV_ERRORS as error:
                broken = _reason(error)
                packet = None
            if packet is not None and packet.pts is not None and packet.time_base:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet is not None and packet.dts is None and not packet.size:
                continue  # the demuxer's own sign for the end, after which None comes
            if packet is not None:
                packets[packet.stream_index] += 1
                if packet.stream_index != stream.index:
                    continue
                problems += packet.is_corrupt
            try:
                frames = stream.codec_context.decode(packet)  # None flushes the frames that the decoder holds back
            except AV_ERRORS:
                # The frames after a damaged one are often good, so decoding goes on.
                problems += 1
                frames = []
            for frame in frames:
                decoded += 1
                yield frame
            if packet is None:
                break
        self.truncated = broken or _missing(container, stream, packets, end)
        if self.truncated is None and problems:
            self.truncated = f"damaged in {problems} place{'s' if problems > 1 else ''}"
        if self.truncated is not None:
            self.truncated = f"{self.truncated}; {decoded} frames were read"

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        width, height = self._coded_size
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
        return image if self._matrix is None else np.ascontiguousarray(_transform(image, self._matrix))


class PictureFolder:
    """A folder of equally large pictures as a clip of 25 frames a second, in natural order of their names.

    Has the attributes of `VideoReader`.

    Raises:
        InputError: no pictures in the folder; while iterating: one cannot be read, or is of another size.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            files = [f for f in self.path.iterdir() if f.suffix.lower() in PICTURE_SUFFIXES and f.is_file()]
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"no folder at {self.path}") from None
        except OSError as error:
            raise InputError(f"cannot read the folder {self.path}: {error.strerror}") from None
        self._files = sorted((f for f in files if not f.name.startswith(".")), key=_natural)
        if not self._files:
            raise InputError(f"no pictures in the folder {self.path}")
        self.height, self.width = read_image(self._files[0]).shape[:2]
        self.time_base = Fraction(1, PICTURE_RATE)
        self.average_rate: Fraction | None = Fraction(PICTURE_RATE)
        self.frame_count_estimate: int | None = len(self._files)
        self.has_audio = False
        self.truncated: str | None = None

    def __iter__(self) -> Iterator[Frame]:
        for number, file in enumerate(self._files):
            image = read_image(file)
            height, width = image.shape[:2]
            if (height, width) != (self.height, self.width):
                raise InputError(
                    f"{file} is {width}x{height}, but {self._files[0].name} is {self.width}x{self.height}: "
                    "the pictures of a clip must be of one size"
                )
            yield Frame(image, number, 1)


def open_frames(path: str | Path) -> VideoReader | PictureFolder:
    """A video file, or a folder of pictures, as something to iterate over for its `Frame`s.

    Raises:
        InputError: neither is there, or it cannot be read.
    """
    return PictureFolder(path) if is_folder(path) else VideoReader(path)


def open_input(path: Path, **more: str) -> InputContainer:
    """Open a media file for reading, with more of FFmpeg's options; a context manager.

    Raises:
        InputError: no such file, or no known media format.
    """
    check_readable(path, "video")
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **more}
    try:
        # An absolute path is never mistaken for a URL, and nothing in a file makes us read from the network.
        return av.open(str(path.absolute()), metadata_errors="replace", options=options)
    except av.error.ArgumentError:
        kind = "a picture" if is_picture(path) else "a playlist, which names other files"
        raise InputError(f"cannot read {path}: it is {kind}: give the video itself") from None
    except AV_ERRORS as error:
        unusable = isinstance(error, (av.error.InvalidDataError, av.error.EOFError))
        hint = "it is empty, cut short, damaged, or not a video" if unusable else _reason(error)
        raise InputError(f"cannot read the video {path}: {hint}") from None


def common_start(container: InputContainer) -> Fraction:
    """When the earliest of picture and sound starts, in seconds and whole ticks of the picture; 0 where that is before zero.

    Transport streams, recordings of live streams and parts of longer files begin at any time.
    """
    streams = [*container.streams.video[:1], *container.streams.audio]
    starts = [s.start_time * s.time_base for s in streams if s.start_time is not None and s.time_base]
    tick = container.streams.video[0].time_base if container.streams.video else None
    if not starts or tick is None:
        return Fraction(0)
    return max(Fraction(0), min(starts) // tick * tick)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).splitlines()[0]


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorting key by which frame2 comes before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts if part]


def _frame_count(container: InputContainer, stream: VideoStream, rate: Fraction | None) -> int | None:
    if stream.frames:
        return stream.frames
    if rate is None:
        return None
    if stream.duration is not None and stream.time_base is not None:
        return round(stream.duration * stream.time_base * rate)
    if container.duration is not None:
        return round(Fraction(container.duration, av.time_base) * rate)
    return None


def _missing(container: InputContainer, stream: VideoStream, packets: Counter[int], end: float) -> str | None:
    """Whether the container promised more than the packets of each stream and the `end` (seconds) that were read."""
    names = set(container.format.name.split(","))
    if "mp4" in names:
        # The sample table after edit lists; `stream.frames` also counts samples that an edit list leaves out.
        expected = len(getattr(stream, "index_entries", ()) or ())
        if packets[stream.index] < expected:
            return f"the file ends after {packets[stream.index]} of {expected} frames"
        for sound in container.streams.audio:
            # A track of which nothing is left has no table any more, but still its count.
            expected, read = len(sound.index_entries) or sound.frames, packets[sound.index]
            if read < expected:
                return f"its sound ends after {100 * read // expected} percent" if read else "its sound is lost"
    elif names & _TIMED_CONTAINERS and container.duration is not None:
        duration = container.duration / av.time_base
        if end < duration - _TIMED_TOLERANCE:
            return f"the file ends after {end:.1f} of {duration:.1f} seconds"
    return None


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    """(a, b, c, d) of the display matrix: a pixel at (x, y) is shown at (a x + c y, b x + d y), up to a shift."""
    side_data: Any = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return None
    values = np.frombuffer(bytes(side_data), np.int32)
    a, b, c, d = (int(values[i]) for i in (0, 1, 3, 4))
    return None if a > 0 and d > 0 and abs(a) > abs(b) else (a, b, c, d)


def _is_transposed(matrix: tuple[int, int, int, int]) -> bool:
    return abs(matrix[1]) > abs(matrix[0])


def _transform(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn by the nearest multiple of 90 degrees, and mirror."""
    a, b, c, d = matrix
    if _is_transposed(matrix):
        image, horizontal, vertical = image.swapaxes(0, 1), c, b
    else:
        horizontal, vertical = a, d
    if horizontal < 0:
        image = image[:, ::-1]
    return image[::-1] if vertical < 0 else image
