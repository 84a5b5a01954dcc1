"""A video as source: its frames at its own times, with the driver's motion of those times and the driver's sound."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import resources
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from mrfa.animation import sources
from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas, side_by_side
from mrfa.animation.crop import CropBox, crop_image
from mrfa.animation.driver import MotionTrack, VideoDriver
from mrfa.animation.expression_motion import ExpressionMotion
from mrfa.animation.face_motion import Strengths
from mrfa.animation.head import face_statistics
from mrfa.animation.job import animate_file
from mrfa.animation.portrait import crop_displacement
from mrfa.animation.template import FaceTrack, MotionTemplate
from mrfa.animation.tracking import EASE, WARY
from mrfa.data.images import read_image, write_image
from mrfa.data.tensors import to_pictures
from mrfa.data.video import Frame, VideoReader, VideoWriter
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config

ASTRONAUT = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
TENTH = Fraction(1, 10)
CROPS: dict[str, Any] = {"source_crop": "40,0,240,240", "driving_crop": "40,0,240,240"}
BLACK = np.zeros((240, 320, 3), np.uint8)

Clip = Callable[..., Path]


@pytest.fixture(scope="module")
def animator(tiny_config: Config) -> Animator:
    """Of a model whose keypoints have meaning, by its configuration."""
    torch.manual_seed(0)
    return Animator(Network(tiny_config.network).eval())


@pytest.fixture
def free_animator(tiny_network: Network) -> Animator:
    return Animator(tiny_network)


@pytest.fixture(scope="module")
def heads() -> list[np.ndarray]:
    """The astronaut's head, moving to the right."""
    head = read_image(ASTRONAUT)[20:260, 90:410]
    return [np.roll(head, 3 * number, axis=1) for number in range(8)]


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    """Writes a clip of pictures, every so many tenths of a second, with a second of sound or more if asked."""

    def write(name: str, pictures: Sequence[np.ndarray], *, step: int = 1, sound: int = 0) -> Path:
        silent = tmp_path / f"silent_{name}"
        height, width = pictures[0].shape[:2]
        with VideoWriter(silent, width=width, height=height, time_base=TENTH, rate=Fraction(10, step), crf=4) as writer:
            for number, picture in enumerate(pictures):
                writer.write(picture, number * step, step)
        if not sound:
            return silent.rename(tmp_path / name)
        with av.open(str(silent)) as pictured, av.open(str(tmp_path / name), "w") as container:
            video = container.add_stream_from_template(pictured.streams.video[0])
            audio = container.add_stream("aac", rate=44100, layout="mono")
            for packet in pictured.demux(video=0):
                if packet.dts is not None:
                    packet.stream = video
                    container.mux(packet)
            noise = np.random.default_rng(len(name)).normal(0, 0.1, (1, 44100 * sound)).astype(np.float32)
            samples = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            samples.sample_rate = 44100
            container.mux([*audio.encode(samples), *audio.encode(None)])
        silent.unlink()
        return tmp_path / name

    return write


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """What reaches the writer, before it is coded; filled as results are written."""
    pictures: list[np.ndarray] = []
    original = VideoWriter.write

    def write(self: VideoWriter, image: np.ndarray, pts: int, duration: int | None = None) -> None:
        pictures.append(image)
        original(self, image, pts, duration)

    monkeypatch.setattr(VideoWriter, "write", write)
    return pictures


def times(path: Path) -> list[Fraction]:
    reader = VideoReader(path)
    return [frame.pts * reader.time_base for frame in reader]


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def track(pts: list[int], last: int | None = 1) -> MotionTrack:
    """One whose keypoints lie at the frames' numbers."""
    numbers = torch.arange(len(pts), dtype=torch.float32)
    keypoints = Keypoints(numbers[:, None, None].expand(-1, 3, 2), numbers[:, None, None, None].expand(-1, 3, 2, 2))
    return MotionTrack(keypoints, [1.0] * len(pts), pts, [1] * (len(pts) - 1) + [last], TENTH, Fraction(4))


def test_motion_between_frames() -> None:
    driver = track([1, 2, 4, 9])
    wanted = [Fraction(time, 100) for time in (0, 10, 15, 20, 35, 60, 90, 500)]
    found = driver.at(wanted)
    # Frames that follow each other soon are blended, a picture that stands stays.
    assert found.positions[:, 0, 0].tolist() == pytest.approx([0, 0, 0.5, 1, 1.75, 2, 3, 3])
    assert found.affine is not None and found.positions.shape == (8, 3, 2)
    torch.testing.assert_close(found.affine[..., 0], found.positions)
    assert driver.shown_at(wanted) == [0, 0, 0, 1, 1, 2, 3, 3]
    assert (driver.end, track([1, 2], None).end) == (1, Fraction(2, 10) + Fraction(1, 4))
    assert track([3]).at([Fraction(0), Fraction(1)]).positions.shape == (2, 3, 2)


def test_the_video_keeps_its_times_and_takes_the_drivers_motion_and_sound(
    animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Keypoints] = []
    original = ExpressionMotion.__call__

    def record(self: ExpressionMotion, source: Keypoints, driving: Keypoints) -> Keypoints:
        taken.append(driving)
        return original(self, source, driving)

    monkeypatch.setattr(ExpressionMotion, "__call__", record)
    source, driving, output = clip("source.mp4", heads), clip("driving.mp4", heads[:4], step=2, sound=1), tmp_path / "out.mp4"
    progress: list[tuple[str, int, int | None]] = []
    result = animate_file(source, driving, output, model=animator, on_progress=lambda *state: progress.append(state))
    assert (result.frames, result.warnings) == (8, [])
    assert times(output) == times(source) and VideoReader(output).width == 320
    assert sound(output) == sound(driving)[: len(sound(output))] and len(sound(output)) > 30
    expected = VideoDriver(driving, "auto", "").read(animator).keypoints.positions
    found = torch.cat([keypoints.positions for keypoints in taken])
    torch.testing.assert_close(found[::2], expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1:-1:2], (expected[1:] + expected[:-1]) / 2, atol=1e-5, rtol=0)
    assert (expected[1:] - expected[:-1]).abs().max() > 1e-4
    assert progress[-1] == ("animating", 8, 8)
    assert list(dict.fromkeys(stage for stage, *_ in progress)) == [
        "finding the face of the source",
        "reading the motion of the source",
        "finding the face",
        "reading the motion",
        "animating",
    ]


def test_pictures_are_those_of_the_transfer(
    animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path, written: list[np.ndarray]
) -> None:
    """Frame by frame as by hand, in crops alone and pasted back into each frame."""
    source, driving, box = clip("source.mp4", heads[:4]), clip("driving.mp4", heads[::-1]), CropBox(40, 0, 240)
    own, track = (VideoDriver(path, box, "").read(animator) for path in (source, driving))
    motion = ExpressionMotion(animator.network, own.keypoints.positions, track.keypoints.positions, Strengths(lips=2))
    first = next(iter(VideoReader(source))).image
    for paste_back in (True, False):
        written.clear()
        options = CROPS | {"strengths": Strengths(lips=2), "paste_back": paste_back}
        animate_file(source, driving, tmp_path / "out.mp4", model=animator, **options)
        canvas = Canvas(first, box, animator.size, paste_back=paste_back, compare=False, with_driver=False)
        for number, frame in enumerate(VideoReader(source)):
            encoded = animator.encode(crop_image(frame.image, box, animator.size))
            drawn = animator.draw(encoded, motion(encoded.keypoints, track.keypoints.part(slice(number, number + 1))))
            displacement = crop_displacement(drawn, animator.network.conventions)[0].numpy()
            canvas.show(frame.image, box)
            expected = canvas.draw(to_pictures(drawn.image)[0], displacement, None)
            assert np.abs(written[number].astype(int) - expected).max() <= 1
            assert written[number].shape[0] == (240 if paste_back else 64)


def test_the_result_ends_with_the_shorter_of_both(
    animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path
) -> None:
    long, short, output = clip("long.mp4", heads, sound=3), clip("short.mp4", heads[:5], sound=3), tmp_path / "out.mp4"
    for source, driving in ((long, short), (short, long)):
        result = animate_file(source, driving, output, model=animator, **CROPS)
        assert (result.frames, len(times(output))) == (5, 5)
        assert result.warnings == [f"{short} ends at 0.50 s: the last 0.30 s of {long} were left out"]
        assert sound(output) == sound(driving)[: len(sound(output))]
        assert len(sound(output)) == pytest.approx(0.5 * 44100 / 1024, abs=2)


def test_frames_without_a_face_stay_as_they_are(
    animator: Animator,
    clip: Clip,
    heads: list[np.ndarray],
    tmp_path: Path,
    written: list[np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the beginning, too; of the others each is drawn."""
    taken: list[float] = []
    original = sources._towards

    def record(own: Keypoints, moved: Keypoints, shares: list[float]) -> Keypoints:
        taken.extend(shares)
        return original(own, moved, shares)

    monkeypatch.setattr(sources, "_towards", record)
    monkeypatch.setattr(Canvas, "draw", lambda self, crop, displacement, panel: 255 - self.unchanged(panel))
    pictures = [BLACK] * 3 + heads[:4] + [BLACK] * 3 + heads[:4]
    source, driving = clip("source.mp4", pictures), clip("driving.mp4", heads + heads[::-1])
    written.clear()
    result = animate_file(source, driving, tmp_path / "out.mp4", model=animator)
    assert "no face to rely on in" in result.warnings[0] and "these stayed as they are" in result.warnings[0]
    decoded = [frame.image for frame in VideoReader(source)]
    same = [np.array_equal(a, b) for a, b in zip(written, decoded, strict=True)]
    assert 0 < max(taken[:10]) < 0.2, "two frames between gaps hardly move"
    assert same == [True] * 3 + [False] * (4 - WARY) + [True] * (WARY + 3) + [False] * 4


def test_motion_goes_and_comes_back_gently_around_a_gap() -> None:
    trust = [1.0] * 12 + [0.0] * 3 + [0.3, 1.0, 1.0]
    shares = sources._eased(trust)
    assert shares[: 12 - EASE + 1] == [1.0] * (12 - EASE + 1) and shares[12:] == trust[12:]
    falling = shares[12 - EASE : 13]
    assert all(0 <= later < earlier for earlier, later in pairwise(falling))
    own, moved = (Keypoints(torch.full((3, 5, 2), value), torch.full((3, 5, 2, 2), value)) for value in (0.0, 1.0))
    eased = sources._towards(own, moved, [0.0, 0.25, 1.0])
    assert eased.positions[:, 0, 0].tolist() == [0, 0.25, 1] and eased.affine is own.affine


def test_templates_and_folders(animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path) -> None:
    """A folder of pictures is a video, and what drives silently leaves the video its sound."""
    source, template, output = clip("source.mp4", heads, sound=1), tmp_path / "motion.safetensors", tmp_path / "out.mp4"
    mean = face_statistics().mean[:, :2].float()
    face = FaceTrack(mean / 2 + 0.01 * torch.arange(8)[:, None, None], mean)
    MotionTemplate(list(range(8)), [1] * 8, TENTH, Fraction(10), face, None).save(template)
    assert animate_file(source, template, output, model=animator, source_crop="40,0,240,240").warnings == []
    assert times(output) == times(source)
    assert sound(output) == sound(source)[: len(sound(output))] and len(sound(output)) > 30
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, picture in enumerate(heads):
        write_image(folder / f"{number}.png", picture)
    result = animate_file(folder, source, output, model=animator, audio="none", **CROPS)
    assert result.frames == 8 and times(output)[1] == Fraction(1, 25)
    assert result.warnings == [f"{folder} ends at 0.32 s: the last 0.48 s of {source} were left out"]


def test_compare_shows_frames_of_the_same_time(
    animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path, written: list[np.ndarray]
) -> None:
    source, driving = clip("source.mp4", heads), clip("driving.mp4", heads[:4], step=2)
    written.clear()
    animate_file(source, driving, tmp_path / "out.mp4", model=animator, compare=True, **CROPS)
    decoded = [[frame.image[:, 40:280] for frame in VideoReader(path)] for path in (source, driving)]
    assert len(written) == 8
    for number, picture in enumerate(written):
        assert picture.shape == (240, 240 + 240 + 320, 3)
        np.testing.assert_array_equal(picture[:, :240], decoded[0][number])
        np.testing.assert_array_equal(picture[:, 240:480], decoded[1][number // 2])


def test_memory_does_not_grow_with_the_videos_length(
    animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch is gathered, one computed and one composed, and each stage is two frames ahead at most."""
    made, done, most = 0, 0, 0

    def frames(self: VideoDriver) -> Iterator[tuple[Frame, CropBox]]:
        nonlocal made
        for number, frame in enumerate(self._reader):
            made += number > 0  # the first is looked at beforehand, for its size
            yield frame, CropBox(40, 0, 240)

    def on_progress(stage: str, number: int, total: int | None) -> None:
        nonlocal done, most
        if stage == "animating":
            done, most = number, max(most, made - done)

    monkeypatch.setattr(VideoDriver, "frames", frames)
    source = clip("source.mp4", 3 * (heads + heads[::-1]))
    animate_file(source, source, tmp_path / "out.mp4", model=animator, on_progress=on_progress, **CROPS)
    assert done == 48 and 0 < most <= 3 * animator.batch_size + 6


def test_what_makes_no_sense_with_a_video_is_said(
    animator: Animator, free_animator: Animator, clip: Clip, heads: list[np.ndarray], tmp_path: Path
) -> None:
    source, output = clip("source.mp4", heads[:3]), tmp_path / "out" / "out.mp4"
    output.parent.mkdir()
    cases: list[tuple[str, dict[str, object]]] = [
        ("motion 'relative' is for pictures", {"motion": "relative"}),
        ("motion 'absolute' is for pictures", {"motion": "absolute"}),
        ("leave the head's strength and pose out", {"strengths": Strengths(head=0.5)}),
        ("leave the head's strength and pose out", {"pose": "absolute"}),
        ("a start is for pictures", {"start": "first"}),
        ("a face is chosen in pictures: .*source.mp4 is a video", {"face": "2"}),
        ("adapts the scale by itself", {"adapt_scale": True}),
        ("needs a model that knows where eyes and lips are", {"model": free_animator}),
        ("lies outside .*change --crop", {"source_crop": "900,900,10,10"}),
    ]
    for message, options in cases:
        with pytest.raises(InputError, match=message):
            animate_file(source, source, output, **{"model": animator} | options)  # type: ignore[arg-type]
    faceless = clip("faceless.mp4", [BLACK] * 3)
    with pytest.raises(InputError, match=r"no face found in .*faceless\.mp4.*--crop"):
        animate_file(faceless, source, output, model=animator)
    with pytest.raises(InputError, match="would replace its own input"):
        animate_file(source, ASTRONAUT.parent, source, model=animator)
    animate_file(source, source, output, model=animator, strengths=Strengths(head=0))
    assert [path.name for path in output.parent.iterdir()] == ["out.mp4"]


def test_a_canvas_goes_on_with_the_next_frame() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (3, 90, 120, 3), np.uint8)
    still, box = np.zeros((16, 16, 2), np.float32), CropBox(20, 10, 64)
    for paste_back in (True, False):
        canvas = Canvas(pictures[0], box, 64, paste_back=paste_back, compare=True, with_driver=False)
        for picture, place in ((pictures[1], box), (pictures[2], CropBox(30, 20, 64))):
            canvas.show(picture, place)
            crop = crop_image(picture, place, 64)
            expected = side_by_side([crop_image(picture, place, canvas.height), picture if paste_back else crop], canvas.height)
            np.testing.assert_array_equal(canvas.draw(crop, still, None), expected)
            np.testing.assert_array_equal(canvas.unchanged(None), expected)


def test_a_real_video_by_itself_stays(faces: Path, tmp_path: Path, written: list[np.ndarray]) -> None:
    """With the bundled model: every frame is what it was, and no less steady."""
    source, reader = tmp_path / "source.mp4", VideoReader(faces / "raw" / "raw_smallface.mp4")
    frames = [frame.image for frame in islice(reader, 30, 35)]
    with VideoWriter(source, width=320, height=240, time_base=TENTH, rate=Fraction(10)) as writer:
        for number, frame in enumerate(frames):
            writer.write(frame, number)
    written.clear()
    animate_file(source, source, tmp_path / "out.mp4")
    decoded = np.array([frame.image for frame in VideoReader(source)]).astype(int)
    difference = np.array(written) - decoded
    assert np.abs(difference).mean() < 0.2
    assert np.abs(np.diff(difference, axis=0)).mean() < 0.2
