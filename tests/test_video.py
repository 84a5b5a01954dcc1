"""Videos of every kind are read, and what is written keeps the time stamps and the sound to the bit."""

import gc
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mrfa.data.images import write_image
from mrfa.data.video import Frame, PictureFolder, VideoReader, VideoWriter, open_frames
from mrfa.errors import InputError

VARIABLE = [0, 40, 70, 150, 151, 400, 410, 900, 933, 967, 1000, 1500]  # milliseconds


def picture(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Four flat quarters, of which the upper left is reddest, the upper right greenest, the lower left bluest."""
    image = np.full((height, width, 3), 40, np.uint8)
    image[: height // 2, : width // 2, 0] = 220
    image[: height // 2, width // 2 :, 1] = 220
    image[height // 2 :, : width // 2, 2] = 220
    image[height // 2 :, width // 2 :] = 60 + number * 12 % 150
    return image


def make_video(
    path: Path,
    times: Iterable[int] = range(0, 480, 40),
    *,
    time_base: Fraction = Fraction(1, 1000),
    size: tuple[int, int] = (64, 48),
    pixels: str = "yuv420p",
    codec: str = "libx264",
    sound: str | None = None,
    sound_start: int = 0,
    seconds: float = 1.0,
    rotation: float | None = None,
    mirror: bool = False,
    aspect: Fraction | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """A small clip; pts in `time_base`."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        options = {"crf": "12", "bf": "3", "g": "6"} if codec == "libx264" else {}
        video = container.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = *size, pixels
        video.codec_context.time_base = time_base
        if aspect is not None:
            video.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            video.set_display_rotation(rotation, hflip=mirror)
        audio = None
        if sound:
            sampling_rate = 48000 if sound == "libopus" else 44100
            audio = container.add_stream(sound, rate=sampling_rate)
            audio.layout, audio.bit_rate = "mono", 64000
        packets = []
        for number, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = pts, time_base
            packets += video.encode(frame)
        packets += video.encode(None)
        for packet in packets:
            # The muxer's edit list ends with the last duration: without one, the last frame would be cut off.
            packet.duration = max(1, round(Fraction(1, 25) / time_base))
        if audio is not None:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, int(sampling_rate * seconds))).astype(np.float32)
            for start in range(0, noise.shape[1], 1024):
                chunk = av.AudioFrame.from_ndarray(noise[:, start : start + 1024], format="fltp", layout="mono")
                chunk.sample_rate, chunk.pts = sampling_rate, start + sound_start
                chunk.time_base = Fraction(1, sampling_rate)
                packets += audio.encode(chunk)
            packets += audio.encode(None)
        container.mux(packets)
    return path


def audio_packets(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts * p.time_base) for p in container.demux(container.streams.audio[0]) if p.size]


def decoded_times(path: Path) -> list[Fraction]:
    """The times of the decoded frames as FFmpeg tells them, without the reader under test."""
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def copy(driver: Path, target: Path, **options) -> list[Frame]:
    """What the animator does: every frame of the driver, replaced by another picture."""
    reader = open_frames(driver)
    frames = []
    with VideoWriter(
        target, width=reader.width, height=reader.height, time_base=reader.time_base, rate=reader.average_rate,
        audio_from=driver, **options
    ) as writer:  # fmt: skip
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
            frames.append(frame)
    return frames


def assert_same_times(driver: Path, target: Path) -> None:
    times = decoded_times(driver)
    assert decoded_times(target) == times
    reader = open_frames(target)
    assert [frame.pts * reader.time_base for frame in reader] == times
    assert reader.truncated is None


def assert_looks_like(image: np.ndarray, expected: np.ndarray, tolerance: float = 6) -> None:
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < tolerance


def test_frames_are_read_again_and_again(tmp_path: Path) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mp4"))
    assert (reader.width, reader.height, reader.has_audio, reader.frame_count_estimate) == (64, 48, False, 12)
    assert reader.average_rate == 25
    first, second = list(reader), list(reader)
    assert len(first) == len(second) == 12
    for number, (frame, again) in enumerate(zip(first, second, strict=True)):
        assert frame.image.dtype == np.uint8
        assert frame.pts * reader.time_base == Fraction(number, 25)
        assert np.array_equal(frame.image, again.image)
        assert_looks_like(frame.image, picture(number))
    assert reader.truncated is None


def test_decoded_frames_are_freed_at_once(tmp_path: Path) -> None:
    """Without waiting for the garbage collector, which would keep many large frames in memory."""
    driver = make_video(tmp_path / "a.mp4", range(0, 4000, 40), rotation=90)
    gc.collect()
    gc.disable()
    try:
        most = 0
        for _ in VideoReader(driver):
            most = max(most, sum(type(thing) is av.VideoFrame for thing in gc.get_objects()))
    finally:
        gc.enable()
    assert most < 30


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p10le", "yuv422p", "gray", "yuvj420p"])
def test_pixel_formats(tmp_path: Path, pixels: str) -> None:
    image = next(iter(VideoReader(make_video(tmp_path / "a.mp4", pixels=pixels)))).image
    expected = picture(0)
    if pixels == "gray":
        assert image.dtype == np.uint8
        assert np.ptp(image, axis=2).max() <= 1
    else:
        assert_looks_like(image, expected)


@pytest.mark.parametrize(
    ("rotation", "mirror", "turn"),
    [
        (0, False, lambda a: a),
        (90, False, np.rot90),
        (180, False, lambda a: a[::-1, ::-1]),
        (-90, False, lambda a: np.rot90(a, -1)),
        (0, True, lambda a: a[:, ::-1]),
        (90, True, lambda a: np.rot90(a)[:, ::-1]),
    ],
)
def test_rotation_and_mirroring_are_applied(tmp_path: Path, rotation: float, mirror: bool, turn) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mp4", rotation=rotation, mirror=mirror))
    expected = turn(picture(0))
    assert (reader.height, reader.width) == expected.shape[:2]
    frame = next(iter(reader))
    assert frame.image.flags.c_contiguous
    assert_looks_like(frame.image, expected)


def test_rotated_driver_gives_an_upright_video(tmp_path: Path) -> None:
    driver = make_video(tmp_path / "a.mp4", rotation=90)
    copy(driver, tmp_path / "out.mp4")
    assert_looks_like(next(iter(VideoReader(tmp_path / "out.mp4"))).image, np.rot90(picture(0)))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".webm"])
def test_containers(tmp_path: Path, suffix: str) -> None:
    codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(suffix, "libx264")
    driver = make_video(tmp_path / f"a{suffix}", range(12), time_base=Fraction(1, 25), codec=codec)
    frames = copy(driver, tmp_path / "out.mp4")
    assert len(frames) == 12
    assert_same_times(driver, tmp_path / "out.mp4")
    assert VideoReader(tmp_path / "out.mp4").time_base == VideoReader(driver).time_base


@pytest.mark.parametrize(
    ("times", "time_base"),
    [
        (VARIABLE, Fraction(1, 1000)),
        ([2500 + t for t in VARIABLE], Fraction(1, 1000)),
        ([7 + 3003 * n for n in range(20)], Fraction(1, 90000)),
        (range(3, 33), Fraction(1001, 30000)),
        ([5], Fraction(1, 1000)),
        ([0, 3, 4, 5, 9], Fraction(1, 5)),
        ([100_000 * t for t in VARIABLE], Fraction(1, 100_000_000)),
    ],
    ids=["variable", "late", "ticks", "ntsc", "single", "coarse", "fine"],
)
def test_time_stamps_are_kept(tmp_path: Path, times: Iterable[int], time_base: Fraction) -> None:
    scale = {"video_track_timescale": str(time_base.denominator), "movie_timescale": str(time_base.denominator)}
    driver = make_video(tmp_path / "a.mp4", times, time_base=time_base, sound="aac", container_options=scale)
    assert decoded_times(driver) == [t * time_base for t in times]
    frames = copy(driver, tmp_path / "out.mp4")
    assert len(frames) == len(list(times))
    assert_same_times(driver, tmp_path / "out.mp4")
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(driver)
    out = VideoReader(tmp_path / "out.mp4")
    assert out.time_base == VideoReader(driver).time_base
    assert [f.pts for f in out] == [f.pts for f in frames]


def test_durations_are_kept(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, time_base=Fraction(1, 1000), rate=None) as writer:
        for pts, duration in ((0, 100), (100, 30), (130, 770)):
            writer.write(picture(0), pts, duration)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].duration == 900
    assert [frame.duration for frame in VideoReader(tmp_path / "a.mp4")] == [100, 30, 770]


def test_negative_start_moves_picture_and_sound_together(tmp_path: Path) -> None:
    driver = make_video(tmp_path / "a.mp4", sound="aac")
    with VideoWriter(
        tmp_path / "out.mp4", width=64, height=48, time_base=Fraction(1, 1000), rate=None, audio_from=driver
    ) as writer:
        for pts in (-500, -460, 0, 40):
            writer.write(picture(0), pts)
    assert decoded_times(tmp_path / "out.mp4") == [0, Fraction(40, 1000), Fraction(1, 2), Fraction(54, 100)]
    moved = [time - Fraction(1, 2) for _, time in audio_packets(tmp_path / "out.mp4")]
    assert moved == [time for _, time in audio_packets(driver)]


@pytest.mark.parametrize(("sound", "audio"), [("aac", "copy"), ("aac", "transcode"), ("libmp3lame", "copy")])
def test_sound_can_end_with_the_picture(tmp_path: Path, sound: str, audio: str) -> None:
    driver = make_video(tmp_path / "a.mp4", sound=sound, seconds=3.0)
    ends = []
    for trim in (False, True):
        assert with_warnings(driver, tmp_path / "out.mp4", audio=audio, trim_audio=trim) == []
        ends.append(sound_of(tmp_path / "out.mp4")[2])
        assert VideoReader(tmp_path / "out.mp4").truncated is None
    assert ends == pytest.approx([3.0, 0.48], abs=0.06)


@pytest.mark.parametrize("start", [0, 12345])
@pytest.mark.parametrize("seconds", [0.2, 0.48, 3.0])
def test_sound_is_copied_to_the_bit(tmp_path: Path, start: int, seconds: float) -> None:
    driver = make_video(tmp_path / "a.mp4", sound="aac", sound_start=start, seconds=seconds)
    copy(driver, tmp_path / "out.mp4")
    packets = audio_packets(driver)
    # An edit list that the driver rounded is read rounded; what is written is what was read.
    assert audio_packets(tmp_path / "out.mp4") == packets
    assert len(packets) > 5
    assert_same_times(driver, tmp_path / "out.mp4")
    with av.open(str(driver)) as one, av.open(str(tmp_path / "out.mp4")) as two:
        old, new = ([f.to_ndarray() for f in c.decode(audio=0)] for c in (one, two))
    assert np.array_equal(np.concatenate(old, -1), np.concatenate(new, -1))


@pytest.mark.parametrize(("suffix", "sound"), [(".mkv", "aac"), (".mkv", "libopus"), (".mp4", "libmp3lame"), (".mkv", "flac")])
def test_other_sound_is_copied_too(tmp_path: Path, suffix: str, sound: str) -> None:
    driver = make_video(tmp_path / f"a{suffix}", sound=sound)
    copy(driver, tmp_path / "out.mp4")
    old, new = audio_packets(driver), audio_packets(tmp_path / "out.mp4")
    assert [data for data, _ in new] == [data for data, _ in old]
    assert max(abs(a - b) for (_, a), (_, b) in zip(old, new, strict=True)) <= Fraction(1, 44100)


def test_transport_stream(tmp_path: Path) -> None:
    driver = make_video(tmp_path / "a.ts", range(126000, 169200, 3600), time_base=Fraction(1, 90000), sound="aac")
    copy(driver, tmp_path / "out.mp4")
    times = decoded_times(driver)
    assert times[0] > 1
    with av.open(str(driver)) as container:
        start = min(stream.start_time * stream.time_base for stream in container.streams)
    written = decoded_times(tmp_path / "out.mp4")
    # The common start of picture and sound, rounded to the picture's ticks, is the new file's zero.
    assert [time - written[0] for time in written] == [time - times[0] for time in times]
    assert 0 <= written[0] - (times[0] - start) < Fraction(1, 90000)
    # mp4 keeps the coded sound without the header that every packet of a transport stream repeats.
    assert [data for data, _ in audio_packets(tmp_path / "out.mp4")] == [data[7:] for data, _ in audio_packets(driver)]


@pytest.mark.parametrize("start", [0, 10])
def test_sound_and_picture_are_interleaved(tmp_path: Path, start: int) -> None:
    times = range(1000 * start, 1000 * start + 4000, 40)
    driver = make_video(tmp_path / "a.mkv", times, sound="aac", sound_start=44100 * start, seconds=4)
    copy(driver, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        places = sorted((p.pos, p.stream.type, p.dts * p.time_base) for p in container.demux() if p.size)
    latest = {"audio": Fraction(0), "video": Fraction(0)}
    for _, kind, time in places:
        latest[kind] = time
        if time < 3.9:
            assert abs(latest["audio"] - latest["video"]) < 1.1


def tones(path: Path) -> np.ndarray:
    """The decoded sound of the first track, mono."""
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray().reshape(-1, frame.samples) for frame in container.decode(audio=0)], -1)[0]


def sound_of(path: Path) -> tuple[str, float, float]:
    """Codec, start and end in seconds of the first track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        packets = [p for p in container.demux(stream) if p.size]
        end = max(float((p.pts + p.duration) * p.time_base) for p in packets)
        return stream.codec_context.name, float(packets[0].pts * packets[0].time_base), end


def with_warnings(driver: Path, target: Path, **options: Any) -> list[str]:
    reader = open_frames(driver)
    writer = VideoWriter(
        target, width=reader.width, height=reader.height, time_base=reader.time_base, rate=None, audio_from=driver, **options
    )
    with writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    return writer.warnings


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        (".asf", "mpeg4", "wmav2"),
        (".mkv", "libx264", "pcm_s16le"),
        (".mov", "libx264", "pcm_alaw"),
        (".mkv", "libx264", "pcm_f32le"),
    ],
)
def test_sound_that_mp4_cannot_hold_is_coded_anew(tmp_path: Path, suffix: str, codec: str, sound: str) -> None:
    driver = make_video(tmp_path / f"a{suffix}", codec=codec, sound=sound, seconds=0.5)
    warnings = with_warnings(driver, tmp_path / "out.mp4")
    assert warnings == [f"the sound of {driver} is {sound}, which mp4 cannot hold: it was coded anew as AAC"]
    name, start, end = sound_of(tmp_path / "out.mp4")
    assert name == "aac" and abs(start) < 0.1 and abs(end - 0.5) < 0.08
    assert tones(tmp_path / "out.mp4").std() == pytest.approx(0.1, rel=0.3)
    assert VideoReader(tmp_path / "out.mp4").truncated is None
    if suffix == ".mov":
        assert with_warnings(driver, tmp_path / "out.mov") == []
        assert audio_packets(tmp_path / "out.mov") == audio_packets(driver)


def test_transcoded_sound_keeps_its_place(tmp_path: Path) -> None:
    """A click, and a gap after it, lie where they lay."""
    driver = make_video(tmp_path / "a.mp4", range(0, 2000, 40), sound="aac", seconds=2)
    assert with_warnings(driver, tmp_path / "out.mp4", audio="transcode") == []
    old, new = tones(driver), tones(tmp_path / "out.mp4")
    length = min(old.size, new.size) // 2
    # The place at which both agree best.
    product = np.fft.irfft(np.fft.rfft(new[:length], 2 * length) * np.fft.rfft(old[:length], 2 * length).conj())
    shift = int(product.argmax())
    shift = shift - 2 * length if shift > length else shift
    assert abs(shift) <= 1024  # the encoder's priming, which players skip by the edit list
    assert audio_packets(tmp_path / "out.mp4") != audio_packets(driver)


def test_gaps_of_transcoded_sound_stay(tmp_path: Path) -> None:
    """Noise, nothing for a second, and noise again at the time that it had; written in step with the picture."""
    driver = tmp_path / "a.mkv"
    noise = np.random.default_rng(0).integers(-9000, 9000, (1, 4410), np.int16)
    with av.open(str(driver), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=44100, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number in range(50):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(video.encode(None))
        for pts in (0, 48510):
            chunk = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
            chunk.sample_rate, chunk.pts, chunk.time_base = 44100, pts, Fraction(1, 44100)
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))
    assert len(with_warnings(driver, tmp_path / "out.mp4")) == 1
    loud = np.abs(tones(tmp_path / "out.mp4")) > 0.05
    assert loud[:3000].any() and not loud[8000:46000].any() and loud[49000:54000].any()


def test_no_sound(tmp_path: Path) -> None:
    driver = make_video(tmp_path / "a.mp4", sound="aac")
    assert with_warnings(driver, tmp_path / "out.mp4", audio="none") == []
    assert not VideoReader(tmp_path / "out.mp4").has_audio


def _with_unknown_codec(path: Path, target: Path, track: int) -> Path:
    """The same mp4 with another name for the codec of one of its sound tracks."""
    data, place = path.read_bytes(), -1
    for _ in range(track + 1):
        place = data.index(b"mp4a", place + 1)
    details = data.index(b"esds", place)
    target.write_bytes(data[:place] + b"apac" + data[place + 4 : details] + b"free" + data[details + 4 :])
    return target


def two_tracks(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [container.add_stream("aac", rate=44100, layout="mono") for _ in range(2)]
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for seed, stream in enumerate(sounds):
            noise = np.random.default_rng(seed).normal(0, 0.1, (1, 20480)).astype(np.float32)
            chunk = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            chunk.sample_rate = 44100
            container.mux(stream.encode(chunk))
            container.mux(stream.encode(None))
    return path


def test_the_first_track_that_can_be_copied_is_taken(tmp_path: Path) -> None:
    driver = _with_unknown_codec(two_tracks(tmp_path / "two.mp4"), tmp_path / "a.mp4", 0)
    with av.open(str(tmp_path / "two.mp4")) as container:
        second = [bytes(p) for p in container.demux(container.streams.audio[1]) if p.size]
    assert with_warnings(driver, tmp_path / "out.mp4") == [f"sound track 1 of {driver} cannot be copied: track 2 was taken"]
    assert [data for data, _ in audio_packets(tmp_path / "out.mp4")] == second


def test_sound_of_an_unknown_codec_is_left_out(tmp_path: Path) -> None:
    driver = _with_unknown_codec(make_video(tmp_path / "one.mp4", sound="aac"), tmp_path / "a.mp4", 0)
    assert with_warnings(driver, tmp_path / "out.mp4") == [f"the sound of {driver} is coded in an unknown way: it was left out"]
    assert not VideoReader(tmp_path / "out.mp4").has_audio
    assert len(decoded_times(tmp_path / "out.mp4")) == 12


def test_a_lost_sound_is_said(tmp_path: Path) -> None:
    """The last part of an mp4 is missing, in which there was sound alone."""
    whole = make_video(tmp_path / "whole.mp4", sound="aac", seconds=4, container_options={"movflags": "faststart"})
    for share, words in ((0.9, r"its sound ends after \d+ percent; 12 frames were read"), (1.0, None)):
        reader = VideoReader(_cut(whole, tmp_path / "cut.mp4", share))
        assert len(list(reader)) == 12
        assert (reader.truncated is None) if words is None else re.match(words, reader.truncated or "")


@pytest.mark.parametrize(
    ("suffix", "start", "sound"),
    [(".ts", 36000, "aac"), (".ts", 36000, None), (".mkv", 10, None), (".mkv", 10, "aac"), (".mp4", 4000, None)],
)
def test_a_late_start_is_subtracted(tmp_path: Path, suffix: str, start: int, sound: str | None) -> None:
    """The common one of picture and sound: the sound keeps its distance, here 0.2 seconds after the picture."""
    first = 1000 * start
    late = int((start + 0.2) * 44100)
    driver = make_video(
        tmp_path / f"a{suffix}", range(first, first + 480, 40), sound=sound, sound_start=late, seconds=0.5,
        container_options={"fflags": "+bitexact"} if suffix == ".mkv" else {},
    )  # fmt: skip
    assert decoded_times(driver)[0] >= start
    copy(driver, tmp_path / "out.mp4")
    times = decoded_times(tmp_path / "out.mp4")
    assert times == [time - decoded_times(driver)[0] for time in decoded_times(driver)]
    if sound:
        distance = audio_packets(driver)[0][1] - decoded_times(driver)[0]
        assert abs(audio_packets(tmp_path / "out.mp4")[0][1] - distance) < Fraction(1, 1000)


@pytest.mark.parametrize(("aspect", "size"), [("2/1", (128, 48)), ("1/2", (64, 96)), ("16/11", (93, 48)), ("1000/1", (64, 48))])
def test_pixels_become_square(tmp_path: Path, aspect: str, size: tuple[int, int]) -> None:
    driver = make_video(tmp_path / "a.mp4", aspect=Fraction(aspect))
    reader = VideoReader(driver)
    assert (reader.width, reader.height) == size
    image = next(iter(reader)).image
    assert image.shape == (size[1], size[0], 3)
    assert_looks_like(image, picture(0, *size))
    turned = VideoReader(make_video(tmp_path / "b.mp4", aspect=Fraction(aspect), rotation=90))
    assert (turned.height, turned.width) == size
    assert_looks_like(next(iter(turned)).image, np.rot90(picture(0, *size)))


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    driver = make_video(tmp_path / "a.mp4", size=size, pixels="yuv444p")
    frames = copy(driver, tmp_path / "out.mp4")
    assert frames[0].image.shape == (size[1], size[0], 3)
    assert_looks_like(frames[0].image, picture(0, *size))
    out = VideoReader(tmp_path / "out.mp4")
    assert (out.width, out.height) == (64, 48)
    image = next(iter(out)).image
    assert_looks_like(image[: size[1], : size[0]], picture(0, *size))
    assert_looks_like(image, np.pad(picture(0, *size), ((0, 48 - size[1]), (0, 64 - size[0]), (0, 0)), mode="edge"))


def test_colours_survive(tmp_path: Path) -> None:
    patches = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, time_base=Fraction(1, 25), rate=None, crf=4) as writer:
        writer.write(patches, 0)
    image = next(iter(VideoReader(tmp_path / "a.mp4"))).image
    inner = (slice(4, None, 16), slice(4, None, 16))
    assert np.abs(image[inner].astype(int) - patches[inner]).max() <= 6
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.colorspace, context.color_range) == (1, 1)


def _cut(path: Path, target: Path, share: float) -> Path:
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])
    return target


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_truncated_files_are_read_as_far_as_they_go(tmp_path: Path, suffix: str) -> None:
    whole = make_video(
        tmp_path / f"whole{suffix}", range(0, 4000, 40), sound="aac", seconds=4,
        container_options={"movflags": "faststart"} if suffix == ".mp4" else {},
    )  # fmt: skip
    driver = _cut(whole, tmp_path / f"cut{suffix}", 0.5)
    reader = VideoReader(driver)
    assert reader.truncated is None
    frames = list(reader)
    assert 5 < len(frames) < 100
    assert reader.truncated is not None
    assert "ends after" in reader.truncated
    assert f"{len(frames)} frames were read" in reader.truncated
    written = copy(driver, tmp_path / "out.mp4")
    assert [f.pts for f in VideoReader(tmp_path / "out.mp4")] == [f.pts for f in written]
    packets = audio_packets(tmp_path / "out.mp4")
    assert [data for data, _ in packets][:-1] == [data for data, _ in audio_packets(whole)][: len(packets) - 1]


def test_damage_in_the_middle(tmp_path: Path) -> None:
    whole = make_video(tmp_path / "whole.mp4", range(0, 4000, 40))
    with av.open(str(whole)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(whole.read_bytes())
    position, size = packets[50]
    data[position : position + size] = b"\xff" * size
    (tmp_path / "bad.mp4").write_bytes(data)
    reader = VideoReader(tmp_path / "bad.mp4")
    frames = list(reader)
    assert len(frames) > 80
    assert reader.truncated is not None
    assert "damaged" in reader.truncated


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "empty.mp4").touch()
    whole = make_video(tmp_path / "whole.mp4", sound="aac")
    _cut(whole, tmp_path / "headless.mp4", 0.5)
    (tmp_path / "folder").mkdir()
    with av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100)
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 44100
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    for name, words in [("absent.mp4", "no video at"), ("text.mp4", "cannot read"), ("empty.mp4", "cannot read"),
                        ("headless.mp4", "cannot read"), ("sound.m4a", "holds no video"),
                        ("folder", "no pictures")]:  # fmt: skip
        with pytest.raises(InputError, match=words) as caught:
            open_frames(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_playlists_are_refused(tmp_path: Path) -> None:
    """Whoever wrote them chooses which files of this machine they name."""
    make_video(tmp_path / "part.ts", range(12), time_base=Fraction(1, 25))
    segment = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.48,\npart.ts\n#EXT-X-ENDLIST\n"
    for name, text in [("a.m3u8", segment), ("a.ffconcat", "ffconcat version 1.0\nfile part.ts\n")]:
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=f"cannot read .*{name}: it is a playlist, which names other files"):
            open_frames(tmp_path / name)
    assert VideoReader(tmp_path / "part.ts").frame_count_estimate


def test_one_frame_an_hour(tmp_path: Path) -> None:
    driver = make_video(tmp_path / "a.mp4", [0, 3_600_000, 7_200_000])
    copy(driver, tmp_path / "out.mp4")
    assert decoded_times(tmp_path / "out.mp4") == [0, 3600, 7200]


def test_no_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError, match="it is empty"):
        VideoReader(tmp_path / "a.mkv")
    whole = make_video(tmp_path / "whole.mp4")
    with av.open(str(whole)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(whole.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    (tmp_path / "noise.mp4").write_bytes(data)
    with pytest.raises(InputError, match="holds no frame that can be decoded"):
        VideoReader(tmp_path / "noise.mp4")


def test_folder_of_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    for number in (10, 9, 2, 1):
        write_image(folder / f"frame{number}.png", picture(number, 31, 20))
    (folder / "notes.txt").write_text("not a picture")
    reader = open_frames(folder)
    assert isinstance(reader, PictureFolder)
    assert (reader.width, reader.height, reader.frame_count_estimate, reader.has_audio) == (31, 20, 4, False)
    frames = list(reader)
    assert [frame.pts * reader.time_base for frame in frames] == [Fraction(n, 25) for n in range(4)]
    for frame, number in zip(frames, (1, 2, 9, 10), strict=True):
        assert np.array_equal(frame.image, picture(number, 31, 20))
    copy(folder, tmp_path / "out.mp4")
    out = VideoReader(tmp_path / "out.mp4")
    assert [f.pts * out.time_base for f in out] == [Fraction(n, 25) for n in range(4)]
    assert not out.has_audio
    write_image(folder / "frame11.png", picture(0, 30, 20))
    with pytest.raises(InputError, match="of one size"):
        list(open_frames(folder))


def test_repeated_and_missing_time_stamps(tmp_path: Path) -> None:
    raw = make_video(tmp_path / "a.h264", range(12), time_base=Fraction(1, 25))
    reader = VideoReader(raw)
    stamps = [frame.pts for frame in reader]
    assert len(stamps) == 12
    assert all(b > a for a, b in pairwise(stamps))
    copy(raw, tmp_path / "out.mp4")
    assert [frame.pts for frame in VideoReader(tmp_path / "out.mp4")] == stamps


def test_time_stamps_always_rise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mkv"))
    assert reader.time_base == Fraction(1, 1000)
    frames = [av.VideoFrame(64, 48, "rgb24") for _ in range(6)]
    for frame, pts in zip(frames, [0, 40, 40, 30, None, 200], strict=True):
        frame.pts = pts
    monkeypatch.setattr(reader, "_decode", lambda container, stream: iter(frames))
    assert [frame.pts for frame in reader] == [0, 40, 41, 42, 82, 200]


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    def with_cover(name: str, video: bool) -> Path:
        with av.open(str(tmp_path / name), "w", format="mp4") as container:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 96, 96, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
            moving = None
            if video:
                moving = container.add_stream("libx264", rate=25)
                moving.width, moving.height, moving.pix_fmt = 64, 48, "yuv420p"
            image = np.zeros((96, 96, 3), np.uint8)
            container.mux(cover.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuvj420p")))
            container.mux(cover.encode(None))
            for number in range(3) if moving is not None else ():
                container.mux(moving.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
            if moving is not None:
                container.mux(moving.encode(None))
        return tmp_path / name

    reader = VideoReader(with_cover("a.mp4", True))
    assert (reader.width, reader.height) == (64, 48)
    assert len(list(reader)) == 3
    with pytest.raises(InputError, match="holds no video"):
        VideoReader(with_cover("song.m4a", False))


def test_playlists_read_nothing_from_the_network(tmp_path: Path) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)

        def answer() -> None:
            with suppress(TimeoutError):
                connection, _ = server.accept()
                asked.append(connection)
                connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", "#EXTINF:1,", f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"]
        (tmp_path / "list.m3u8").write_text("\n".join([*lines, "#EXT-X-ENDLIST", ""]))
        with pytest.raises(InputError):
            VideoReader(tmp_path / "list.m3u8")
        thread.join()
    assert not asked


def test_an_error_before_the_first_frame_is_told_as_it_is(tmp_path: Path) -> None:
    options: dict[str, Any] = {"width": 64, "height": 48, "time_base": Fraction(1, 25), "rate": Fraction(25)}
    with pytest.raises(RuntimeError, match="too early"), VideoWriter(tmp_path / "a.mp4", **options):
        raise RuntimeError("too early")
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("older")
    options: dict[str, Any] = {"width": 64, "height": 48, "time_base": Fraction(1, 25), "rate": Fraction(25)}
    with pytest.raises(RuntimeError, match="half way"), VideoWriter(target, **options) as writer:
        for number in range(100):
            writer.write(picture(number), number)
        raise RuntimeError("half way")
    with pytest.raises(InputError, match="no frames to write"), VideoWriter(target, **options):
        pass
    assert target.read_text() == "older"
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(InputError, match="cannot write"), VideoWriter(tmp_path / "absent" / "a.mp4", **options):
        pass
    with pytest.raises(InputError, match=r"written as \.mp4"):
        VideoWriter(tmp_path / "a.gif", **options)


def test_wrong_frames_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=64, height=48, time_base=Fraction(1, 25), rate=None) as writer:
        writer.write(picture(0), 3)
        with pytest.raises(ValueError, match="does not come after"):
            writer.write(picture(1), 3)
        with pytest.raises(ValueError, match="expected uint8"):
            writer.write(picture(1, 62, 48), 4)
    assert len(list(VideoReader(tmp_path / "a.mp4"))) == 1


@pytest.mark.parametrize("name", ["raw_smallface", "raw_vertical", "raw_wide"])
def test_real_clips(faces: Path, tmp_path: Path, name: str) -> None:
    driver = faces / "raw" / f"{name}.mp4"
    if not driver.is_file():
        pytest.skip(f"no {name} among the real clips")
    reader = open_frames(driver)
    times = []
    with VideoWriter(
        tmp_path / "out.mp4", width=64, height=64, time_base=reader.time_base, rate=reader.average_rate, audio_from=driver
    ) as writer:
        for frame in reader:
            assert frame.image.shape == (reader.height, reader.width, 3)
            writer.write(np.ascontiguousarray(frame.image[:64, :64]), frame.pts, frame.duration)
            times.append(frame.pts * reader.time_base)
    assert reader.truncated is None
    assert len(times) == reader.frame_count_estimate
    assert decoded_times(tmp_path / "out.mp4") == times == decoded_times(driver)
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(driver)


def test_a_picture_in_a_videos_place_is_called_one() -> None:
    """FFmpeg would read it as a series of pictures that its name stands for."""
    with pytest.raises(InputError, match=r"astronaut\.jpg: it is a picture: give the video"):
        list(open_frames(Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"))
