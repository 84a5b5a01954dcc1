"""The sound of one file in another: copied packet by packet where the new file can hold it, else coded anew as AAC."""

import io
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from mrfa.data.video_reader import AV_ERRORS, open_input
from mrfa.errors import InputError

# copy: where that can be, else transcode; transcode: in any case; none: leave the sound out.
AudioMode = Literal["copy", "transcode", "none"]

_AAC_RATES = {7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000}
_AAC_SAMPLES = 1024  # of a packet
_BITS_PER_CHANNEL = 96_000
_TRIED_PACKETS = 3


def parse_audio_mode(text: str) -> AudioMode:
    """Read `copy`, `transcode` or `none`.

    Raises:
        InputError: it is none of these.
    """
    for mode in get_args(AudioMode):
        if text == mode:
            return mode
    raise InputError(f"'{text}' is no way to treat sound: give {', '.join(get_args(AudioMode))}")


class Track(NamedTuple):
    """The sound track that is taken.

    Attributes:
        stream: of the file that was asked about.
        copied: its packets are copied, otherwise coded anew.
        notice: what the user should know about that; None: nothing.
    """

    stream: AudioStream
    copied: bool
    notice: str | None


def choose_track(source: InputContainer, path: Path, container_format: str, mode: AudioMode) -> Track | str | None:
    """The first sound track that can be copied into a format, else the first that can be decoded.

    Args:
        source: the file, opened.
        path: of the same file.
        container_format: FFmpeg's name of what is written.
        mode: what is asked for.

    Returns:
        The track; or why there is none though the file has sound; or None where none is wanted, or none there.
    """
    tracks = source.streams.audio
    if mode == "none" or not tracks:
        return None
    known = [track for track in tracks if track.codec_context is not None]
    if not known:
        return f"the sound of {path} is coded in an unknown way: it was left out"
    for track in known if mode == "copy" else []:
        if _can_copy(path, track.index, container_format):
            other = f"sound track 1 of {path} cannot be copied: track {tracks.index(track) + 1} was taken"
            return Track(track, True, None if track is tracks[0] else other)
    name = known[0].codec_context.name
    notice = f"the sound of {path} is {name}, which {container_format} cannot hold: it was coded anew as AAC"
    return Track(known[0], False, notice if mode == "copy" else None)


def _can_copy(path: Path, index: int, container_format: str) -> bool:
    """Whether a format takes the packets of a track, found by writing some of them to memory."""
    try:
        with open_input(path) as source, av.open(io.BytesIO(), "w", format=container_format) as target:
            stream = source.streams[index]
            if container_format == "mp4" and stream.codec_context.name.startswith("pcm_"):
                return False  # FFmpeg can, where it knows the channels' places, but hardly a player plays it
            copy = target.add_stream_from_template(stream)
            target.start_encoding()
            written = 0
            for packet in source.demux(stream):
                if packet.dts is not None and written < _TRIED_PACKETS:
                    packet.stream = copy
                    target.mux(packet)
                    written += 1
                elif written == _TRIED_PACKETS:
                    break
    except AV_ERRORS:
        return False
    return True


class Sound:
    """A track's sound, written a little at a time.

    Args:
        track: of `source`.
        source: demuxed for this alone.
        target: gets another stream.
    """

    def __init__(self, track: Track, source: InputContainer, target: OutputContainer) -> None:
        self._target = target
        if track.copied:
            self._stream = target.add_stream_from_template(track.stream)
            self._packets = _copied(source, track.stream)
        else:
            rate = track.stream.codec_context.sample_rate
            self._stream = target.add_stream("aac", rate=rate if rate in _AAC_RATES else 48000)
            self._stream.layout = "mono" if track.stream.codec_context.channels == 1 else "stereo"
            self._stream.bit_rate = _BITS_PER_CHANNEL * (1 if self._stream.layout.name == "mono" else 2)
            self._packets = _coded_anew(source, track.stream, self._stream)
        self._waiting: Packet | None = None
        self._last_dts: int | None = None

    def write_until(self, time: Fraction | None, shift: Fraction) -> None:
        """Write the packets up to a time in seconds, or the rest; all moved by `shift` seconds."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = None
            dts = packet.dts
            # The demuxer ends with an empty packet. A time stamp that does not increase cannot be stored.
            if dts is None or (self._last_dts is not None and dts <= self._last_dts):
                continue
            if time is not None and dts * packet.time_base + shift > time:
                self._waiting = packet
                return
            self._last_dts = dts
            offset = round(shift / packet.time_base)
            packet.pts, packet.dts = (dts if packet.pts is None else packet.pts) + offset, dts + offset
            packet.stream = self._stream
            self._target.mux(packet)


def _copied(source: InputContainer, stream: AudioStream) -> Iterator[Packet]:
    """The packets of a track; damaged sound ends early."""
    with suppress(*AV_ERRORS):
        yield from source.demux(stream)


def _coded_anew(source: InputContainer, stream: AudioStream, target: AudioStream) -> Iterator[Packet]:
    """The packets of a track decoded and encoded, at the times that it has; gaps are filled with silence."""
    graph: av.filter.Graph | None = None
    for packet in _copied(source, stream):
        try:
            frames = stream.codec_context.decode(packet)
        except AV_ERRORS:
            continue  # the sound after damage is often good
        for frame in frames:
            if graph is None:
                graph = _resampler(frame, target)
            try:
                graph.push(frame)
            except AV_ERRORS:
                continue  # of another form than the first
            yield from _encoded(graph, target)
    if graph is not None:
        with suppress(*AV_ERRORS):
            graph.push(None)
        yield from _encoded(graph, target)
    yield from target.encode(None)


def _resampler(frame: av.AudioFrame, target: AudioStream) -> av.filter.Graph:
    """From the form of decoded frames to that of an encoder."""
    graph = av.filter.Graph()
    context = target.codec_context
    form = f"sample_fmts={context.format.name}:sample_rates={context.sample_rate}:channel_layouts={context.layout.name}"
    graph.link_nodes(
        graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=frame.time_base
        ),
        graph.add("aresample", f"{context.sample_rate}:async=1"),
        graph.add("aformat", form),
        graph.add("asetnsamples", f"{_AAC_SAMPLES}:p=0"),
        graph.add("abuffersink"),
    ).configure()
    return graph


def _encoded(graph: av.filter.Graph, target: AudioStream) -> Iterator[Packet]:
    while True:
        try:
            frame = graph.pull()
        except AV_ERRORS:  # it wants more first, or has ended
            return
        assert isinstance(frame, av.AudioFrame)
        yield from target.encode(frame)
