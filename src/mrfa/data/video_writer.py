"""Writing video that keeps the time stamps and the sound of the video that it was made from."""

import math
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from mrfa.data.audio import AudioMode, Sound, Track, choose_track
from mrfa.data.credentials import Credentials
from mrfa.data.files import is_folder, replacing
from mrfa.data.origin import NOTE, Origin
from mrfa.data.video_reader import AV_ERRORS, PICTURE_RATE, common_start, open_input
from mrfa.errors import InputError

SUFFIXES = {".mp4", ".m4v", ".mov"}
_MAX_TIMESCALE = 2**31 - 1
_SLOWEST, _FASTEST = Fraction(1, 10), Fraction(1000)
_BT709 = 1  # number of these primaries, transfer function and matrix in H.264
_LIMITED, _FULL = 1, 2  # colour ranges


class VideoWriter:
    """Writes H.264 (yuv420p) with the time stamps that it is given, and beside it the sound of another file.

    A context manager. Frames are encoded as they come and the sound is written in step with them, so memory does not grow
    with length. The file appears under its name when the context ends without an exception, and not at all otherwise.

    Args:
        path: the file to write; .mp4, .m4v or .mov.
        width, height: of the frames in pixels. Odd sizes are made even by repeating the last column or row.
        time_base: seconds per unit of the frames' `pts`.
        rate: nominal frames a second, or None where unknown; time stamps alone decide when a frame is shown.
        audio_from: file whose sound is taken; the frames' `pts` count from its common start, as `VideoReader`'s do.
            None for silence; a file without sound, or a folder, gives silence too.
        audio: `copy` the packets of its first track that the new file can hold, and code anew as AAC where there is none;
            `transcode` in any case; or `none`.
        trim_audio: end the sound where the last frame ends; otherwise all of it is taken.
        crf: quality, 0 (lossless) to 51.
        origin: that it is synthetic, and what made it, for the file's metadata.
        credentials: who signs that.

    Attributes:
        warnings: one line for each thing that the user should know about the sound.

    Raises:
        InputError: `path` cannot be written; at the end of the context, that no frames were written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        width: int,
        height: int,
        time_base: Fraction,
        rate: Fraction | None,
        audio_from: Path | None = None,
        audio: AudioMode = "copy",
        trim_audio: bool = False,
        crf: int = 16,
        origin: Origin | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise InputError(f"cannot write {self.path}: videos are written as .mp4")
        self._format = "mov" if self.path.suffix.lower() == ".mov" else "mp4"
        self._size = width, height
        self._time_base = Fraction(time_base)
        # A rate that players can read, which a frame an hour or a billion a second are not.
        self._rate = min(max(Fraction(rate or PICTURE_RATE), _SLOWEST), _FASTEST).limit_denominator(1001)
        self._audio_from = Path(audio_from) if audio_from is not None else None
        self._audio_mode: AudioMode = audio
        self._trim_audio = trim_audio
        self._crf = crf
        self._origin, self._credentials = origin, credentials
        self._stack = ExitStack()
        self._last_pts: int | None = None
        self._end = Fraction(0)
        self._durations: dict[int, int] = {}
        self._shift = Fraction(0)
        self._audio_start = Fraction(0)
        self._audio: Sound | None = None
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            sound = self._open_audio(stack)
            self._temporary = stack.enter_context(replacing(self.path))
            try:
                self._open(self._temporary, sound)
            except AV_ERRORS as error:
                raise self._failure(error) from None
            self._stack = stack.pop_all()
        return self

    def write(self, image: np.ndarray, pts: int, duration: int | None = None) -> None:
        """Append a frame.

        Args:
            image: uint8 RGB `[height, width, 3]`.
            pts: when it is shown, in units of `time_base`; greater than that of the frame before.
            duration: how long it is shown; matters for the last frame only.

        Raises:
            InputError: the file cannot be written, for example because the disk is full.
            ValueError: another size or type than announced, or a time stamp that does not increase.
        """
        width, height = self._size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f"expected uint8 [{height}, {width}, 3], got {image.dtype} {list(image.shape)}")
        if self._last_pts is not None and pts <= self._last_pts:
            raise ValueError(f"time stamp {pts} does not come after {self._last_pts}")
        if self._last_pts is None and pts < 0:
            # mp4 players drop what lies before time zero, so the whole clip, sound included, moves to start there.
            self._shift = -pts * self._time_base
        if duration is None:
            duration = pts - self._last_pts if self._last_pts is not None else self._frame_ticks()
        self._last_pts = pts
        shifted = pts + int(self._shift / self._time_base)
        self._durations[shifted] = max(1, duration)
        self._end = (shifted + max(1, duration)) * self._time_base

        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(
            format="yuv420p", dst_colorspace=_BT709, src_color_range=_FULL, dst_color_range=_LIMITED
        )
        frame.pts = shifted
        frame.time_base = self._time_base
        try:
            self._mux(self._stream.encode(frame))
        except AV_ERRORS as error:
            raise self._failure(error) from None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if error is None:
                self._finish()
        except BaseException as failure:
            self._close(failure)
            raise
        self._close(error)

    def _open_audio(self, stack: ExitStack) -> tuple[InputContainer, Track] | None:
        """The file of the sound, and which of its tracks is taken."""
        if self._audio_from is None or is_folder(self._audio_from):
            return None
        container = stack.enter_context(open_input(self._audio_from))
        track = choose_track(container, self._audio_from, self._format, self._audio_mode)
        notice = track.notice if isinstance(track, Track) else track
        self.warnings += [notice] if notice is not None else []
        if not isinstance(track, Track):
            return None
        self._audio_start = common_start(container)
        return container, track

    def _open(self, temporary: Path, sound: tuple[InputContainer, Track] | None) -> None:
        timescale = self._time_base.denominator
        movie_timescale = timescale
        if sound is not None:
            # Delays of streams that start late are stored in the movie's unit, which must hold both streams' exactly.
            common = math.lcm(timescale, sound[1].stream.codec_context.sample_rate or 1)
            movie_timescale = common if common <= _MAX_TIMESCALE else timescale
        container = av.open(
            str(temporary.absolute()),
            "w",
            format=self._format,
            container_options={
                "movflags": "+faststart",
                "video_track_timescale": str(timescale),
                "movie_timescale": str(movie_timescale),
            },
        )
        self._container: OutputContainer = container
        if self._origin is not None:
            container.metadata[NOTE] = str(self._origin)
        width, height = self._size
        # At crf 16 as good as `medium` at 18, in a third of its time and 1.2 times its size.
        stream = container.add_stream("libx264", rate=self._rate, options={"crf": str(self._crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.codec_context.time_base = self._time_base
        # Without B-frames frames are stored in the order in which they are shown: time stamps then need no edit list
        # to come out right, whatever the player.
        stream.codec_context.max_b_frames = 0
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        stream.codec_context.colorspace = _BT709
        stream.codec_context.color_range = _LIMITED
        self._stream = stream
        if sound is not None:
            self._audio = Sound(sound[1], sound[0], container)

    def _frame_ticks(self) -> int:
        return max(1, round(1 / (self._rate * self._time_base)))

    def _mux(self, packets: list[Packet]) -> None:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._durations.pop(packet.pts, self._frame_ticks())
                if self._audio is not None:
                    self._audio.write_until(packet.pts * self._time_base, self._shift - self._audio_start)
            self._container.mux(packet)

    def _finish(self) -> None:
        if self._last_pts is None:
            raise InputError(f"{self.path} was not written: there were no frames to write")
        try:
            self._mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.write_until(self._end if self._trim_audio else None, self._shift - self._audio_start)
            self._container.close()
            if self._origin is not None:
                self._origin.append_xmp(self._temporary)
                if self._credentials is not None:
                    self._credentials.sign(self._temporary, self._origin)
        except AV_ERRORS as error:
            raise self._failure(error) from None

    def _close(self, error: BaseException | None) -> None:
        with suppress(*AV_ERRORS):
            self._container.close()
        self._stack.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)

    def _failure(self, error: Exception) -> InputError:
        if isinstance(error, InputError):
            return error
        return InputError(f"cannot write {self.path}: {getattr(error, 'strerror', None) or error}")
