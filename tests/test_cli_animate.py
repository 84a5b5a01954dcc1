import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from mrfa.animation import driver, job, start
from mrfa.animation.animator import Animator
from mrfa.animation.crop import crop_image, find_clip_crop, find_face_crop, parse_crop
from mrfa.animation.extraction import extract_motion
from mrfa.animation.job import animate_file
from mrfa.animation.portrait import Portrait, crop_displacement
from mrfa.animation.settings import MotionSettings
from mrfa.animation.smoothing import smooth_clip
from mrfa.animation.template import MotionTemplate
from mrfa.animation.template_editing import trim
from mrfa.cli import main
from mrfa.data.images import read_image, write_image
from mrfa.data.video import Frame, VideoReader, VideoWriter
from mrfa.errors import InputError
from mrfa.faces.choice import parse_face
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import save_model

ASTRONAUT = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
PTS = [400, 1000, 1400, 2600, 3000, 3333, 4000]


@pytest.fixture(scope="module")
def model(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    detector = tiny_config.network.detector.model_copy(update={"layout": "free"})  # its keypoints have no meaning
    save_model(Network(tiny_config.network.model_copy(update={"detector": detector})).eval(), folder, "card")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The astronaut's head, moving, at a variable frame rate that does not start at zero."""
    path = tmp_path_factory.mktemp("clips") / "driving.mp4"
    head = read_image(ASTRONAUT)[20:260, 90:410]
    with VideoWriter(path, width=320, height=240, time_base=Fraction(1, 10000), rate=Fraction(20)) as writer:
        for number, pts in enumerate(PTS):
            writer.write(np.roll(head, 3 * number, axis=1), pts, 500)
    return path


def frames(path: Path) -> list[Frame]:
    return list(VideoReader(path))


def audio_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def seconds(path: Path) -> list[Fraction]:
    """Time stamps as FFmpeg tells them, from the first on."""
    with av.open(str(path)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    return [time - times[0] for time in times]


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr("sys.argv", ["mrfa", *map(str, arguments)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The last line on standard error of a command that must end with exit code 2 and one line of error."""
    assert command(monkeypatch, *arguments) == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text and text.count("error: ") == 1
    return text.strip().splitlines()[-1]


def test_animate_keeps_time_stamps_and_pastes_back(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    assert command(monkeypatch, "animate", ASTRONAUT, clip, "-o", output, "--model", model) == 0
    assert "7 frames" in capsys.readouterr().out
    assert seconds(output) == seconds(clip)
    result, portrait = frames(output), read_image(ASTRONAUT)
    assert result[0].image.shape == portrait.shape
    assert np.abs(result[3].image[400:].astype(int) - portrait[400:]).mean() < 4
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_the_face_chosen_is_animated(model: Path, clip: Path, tmp_path: Path) -> None:
    """Of two, the right one is the smaller, and mirrored; comparisons show it first."""
    portrait = read_image(ASTRONAUT)
    both = np.full((512, 900, 3), 128, np.uint8)
    both[:, :512] = portrait
    both[:256, 600:856] = portrait[::2, ::-2]
    write_image(tmp_path / "two.png", both)
    faces = ("largest", "2")
    crops = [crop_image(both, find_face_crop(both, face=parse_face(face)), 512) for face in faces]
    for face, crop in zip(faces, crops, strict=True):
        output = tmp_path / f"{face}.mp4"
        animate_file(tmp_path / "two.png", clip, output, model=model, face=face, compare=True)
        shown = frames(output)[-1].image[:, :512].astype(int)
        assert [np.abs(shown - other).mean() < 8 for other in crops] == [other is crop for other in crops]
    with pytest.raises(InputError, match="give --face or --crop, not both"):
        animate_file(tmp_path / "two.png", clip, tmp_path / "out.mp4", model=model, face="2", source_crop="none")


@pytest.mark.parametrize("options", [{}, {"adapt_scale": True}, {"motion": "absolute"}])
def test_job_is_the_animator_frame_by_frame(
    options: dict[str, Any], model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches the canvas is what the animator makes of the crops, and what reaches the writer the portrait so moved."""
    written: list[np.ndarray] = []
    drawn: list[tuple[np.ndarray, np.ndarray]] = []
    original, paste = VideoWriter.write, Portrait.paste

    def write(self: VideoWriter, image: np.ndarray, pts: int, duration: int | None = None) -> None:
        written.append(image)
        original(self, image, pts, duration)

    def noted(self: Portrait, crop: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        drawn.append((crop, displacement))
        return paste(self, crop, displacement)

    monkeypatch.setattr(VideoWriter, "write", write)
    monkeypatch.setattr(Portrait, "paste", noted)
    seen: list[tuple[str, int, int | None]] = []
    output = tmp_path / "out.mp4"
    result = animate_file(
        ASTRONAUT, clip, output, model=model, start="first", on_progress=lambda *state: seen.append(state), **options
    )
    assert result == job.JobResult(7, [])
    reading = [("reading the motion", i, 7) for i in (4, 7)]  # in batches
    assert seen == [("finding the face", i, 7) for i in range(1, 8)] + reading + [("animating", i, 7) for i in range(1, 8)]

    animator = Animator.from_pretrained(model)
    portrait = read_image(ASTRONAUT)
    place, box = find_face_crop(portrait), find_clip_crop(VideoReader(clip))
    source = animator.encode(crop_image(portrait, place, 64))
    crops = [crop_image(frame.image, box, 64) for frame in VideoReader(clip)]
    assert len(drawn) == len(written) == 7
    animated = animator.animate(source, crops, **options)
    assert max(np.abs(crop.astype(int) - b).max() for (crop, _), b in zip(drawn, animated, strict=True)) <= 1
    if options.get("motion") == "absolute":
        displacements = crop_displacement(animator.step(source, crops), animator.network.conventions)
        np.testing.assert_allclose(np.stack([displacement for _, displacement in drawn]), displacements.numpy(), atol=1e-4)
    moving = Portrait(portrait, place)
    for frame, image in zip(drawn, written, strict=True):
        np.testing.assert_array_equal(paste(moving, *frame), image)


def test_frames_are_shown_as_long_as_the_drivers(model: Path, clip: Path, tmp_path: Path) -> None:
    """By its durations, and where it tells none by its rate."""
    extract_motion(clip, tmp_path / "motion.safetensors", model=model, driving_crop="none")
    whole = MotionTemplate.load(tmp_path / "motion.safetensors")
    single = replace(trim(whole, 0, 1), durations=[None], rate=Fraction(4))
    for template, last in ((replace(whole, durations=[None] * 6 + [777]), 777), (single, 2500)):
        template.save(tmp_path / "motion.safetensors")
        animate_file(ASTRONAUT, tmp_path / "motion.safetensors", tmp_path / "out.mp4", model=model, source_crop="none")
        assert frames(tmp_path / "out.mp4")[-1].duration == last


def test_jobs_run_in_threads(model: Path, clip: Path, tmp_path: Path) -> None:
    """Also with one animator for all, and while other threads write to the process's error stream."""
    animator = Animator.from_pretrained(model)
    outputs = [tmp_path / f"{number}.mp4" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda output: animate_file(ASTRONAUT, clip, output, model=animator, paste_back=False), outputs))
    assert results == [job.JobResult(7, [])] * 4
    assert len({output.read_bytes() for output in outputs}) == 1


def test_the_portraits_face_is_found_before_the_driver_is_decoded(model: Path, clip: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey.png"
    write_image(grey, np.full((80, 80, 3), 120, np.uint8))
    seen: list[object] = []
    with pytest.raises(InputError, match=r"no face found in .*grey\.png"):
        animate_file(grey, clip, tmp_path / "out.mp4", model=model, on_progress=lambda *state: seen.append(state))
    assert seen == []


def test_pictures_do_not_pile_up_with_the_drivers_length(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the driver a batch is gathered while one waits to be looked at; panels are a few ahead."""
    made, looked_at, most = 0, 0, 0
    detect, frame = Animator.detect, np.zeros((64, 64, 3), np.uint8)

    def crop(*arguments: object) -> np.ndarray:
        nonlocal made, most
        made += 1
        most = max(most, made - looked_at)
        return frame

    def look(self: Animator, images: Any) -> Keypoints:
        nonlocal looked_at
        looked_at += len(images)
        return detect(self, images)

    def write(*arguments: object) -> None:
        nonlocal looked_at
        looked_at += 1

    path = tmp_path / "driving.mp4"
    with VideoWriter(path, width=64, height=64, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(40):
            writer.write(frame, number, 1)
    monkeypatch.setattr(driver, "crop_image", crop)
    monkeypatch.setattr(Animator, "detect", look)
    monkeypatch.setattr(job.VideoWriter, "write", write)
    monkeypatch.setattr(job.VideoWriter, "_finish", lambda self: None)
    animator = Animator.from_pretrained(model, batch_size=3)
    options = {"source_crop": "none", "driving_crop": "none", "compare": True}
    animate_file(ASTRONAUT, path, tmp_path / "out.mp4", model=animator, **options)  # type: ignore[arg-type]
    assert (made, looked_at) == (80, 80) and most <= 6


@pytest.mark.parametrize(("compare", "times"), [(False, 2), (True, 3)])
def test_how_often_a_driver_is_read(
    compare: bool, times: int, model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the crop, once for the motion, and once more where it is shown; its faces are followed once."""
    calls: list[str] = []
    read, follow = VideoReader.__iter__, driver.FaceWatch.__call__
    monkeypatch.setattr(VideoReader, "__iter__", lambda self: (calls.append("read"), read(self))[1])
    monkeypatch.setattr(driver.FaceWatch, "__call__", lambda self, image: (calls.append("follow"), follow(self, image))[1])
    animate_file(ASTRONAUT, clip, tmp_path / "out.mp4", model=model, compare=compare)
    assert calls.count("read") == times and calls.count("follow") == 7


def test_of_a_long_driver_some_frames_are_studied_and_any_can_be_the_start(
    model: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start, "MOST_SAMPLES", 3)
    animator = Animator.from_pretrained(model, batch_size=2)
    track = driver.open_driver(clip, "none").read(animator)
    sixth = track.keypoints.part(slice(6, 7))
    third = f"{float(track.pts[3] * track.time_base):.6f}s"
    for text, number in {"first": 0, "5": 5, "0.0": 0, "best": 6, third: 3}.items():
        study = start.study_track(track, animator.network, sixth, MotionSettings("relative"), start.parse_start(text), name=clip)
        assert torch.equal(study.initial.positions, track.keypoints.positions[number : number + 1])
        assert torch.equal(study.clip, track.keypoints.positions[[0, 3, 6]])


def test_frames_without_a_face_are_neither_studied_nor_the_start(model: Path, clip: Path) -> None:
    animator = Animator.from_pretrained(model)
    track = driver.open_driver(clip, "none").read(animator)._replace(trust=[0.0, 1.0, 0.5, 0.0, 1.0, 1.0, 1.0])
    fourth = track.keypoints.part(slice(3, 4))
    initial = {}
    for text in ("first", "2", "best"):
        begin = start.parse_start(text)
        study = start.study_track(track, animator.network, fourth, MotionSettings("relative"), begin, name=clip)
        assert torch.equal(study.clip, track.keypoints.positions[[1, 4, 5, 6]])
        initial[text] = int((track.keypoints.positions - study.initial.positions).abs().sum((1, 2)).argmin())
    assert initial["first"] == 1 and initial["2"] == 4 and initial["best"] in (1, 4, 5, 6)


def test_the_drivers_motion_is_smoothed_by_its_time_stamps(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[torch.Tensor] = []
    step = Animator.step
    monkeypatch.setattr(
        Animator, "step", lambda self, *given, **more: (shown.append(given[1].positions), step(self, *given, **more))[1]
    )
    options = ("--model", model, "--driving-crop", "none", "--smooth", "0.7", "--motion", "absolute")
    assert command(monkeypatch, "animate", ASTRONAUT, clip, "-o", tmp_path / "out.mp4", *options) == 0
    track = driver.open_driver(clip, "none").read(Animator.from_pretrained(model))
    expected = smooth_clip(track.keypoints, [float(second) + 1 for second in seconds(clip)], 0.7)
    torch.testing.assert_close(torch.cat(shown), expected.positions, atol=1e-6, rtol=0)
    assert (expected.positions - track.keypoints.positions).abs().max() > 3e-4
    with pytest.raises(InputError, match="the strength of smoothing must be 0 to 1"):
        animate_file(ASTRONAUT, clip, tmp_path / "out.mp4", model=model, smooth=1.5)


def test_options_of_device_precision_and_batch_size(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Animator] = []
    original = Animator.__init__

    def record(self: Animator, *arguments: object, **options: object) -> None:
        original(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Animator, "__init__", record)
    options = ("--device", "cpu", "--precision", "bf16", "--batch-size", "3")
    template, output = tmp_path / "motion.safetensors", tmp_path / "out.mp4"
    assert command(monkeypatch, "motion", "extract", clip, "-o", template, "--model", model, *options) == 0
    assert command(monkeypatch, "animate", ASTRONAUT, template, "-o", output, "--model", model, *options) == 0
    assert [(a.device.type, a.dtype, a.batch_size) for a in made] == [("cpu", torch.bfloat16, 3)] * 2
    capsys.readouterr()
    for name, value, message in [("--device", "gpu", "no device 'gpu' here"), ("--precision", "int8", "no precision 'int8'")]:
        assert message in fails(monkeypatch, capsys, "animate", ASTRONAUT, clip, "-o", output, name, value)
        assert message in fails(monkeypatch, capsys, "motion", "extract", clip, "-o", template, name, value)
        assert message in fails(monkeypatch, capsys, "demo", "-o", output, name, value)


def test_sizes_of_the_result(model: Path, clip: Path, tmp_path: Path) -> None:
    def size(**options: bool | str) -> tuple[int, ...]:
        animate_file(ASTRONAUT, clip, tmp_path / "out.mp4", model=model, driving_crop="none", **options)  # type: ignore[arg-type]
        reader = VideoReader(tmp_path / "out.mp4")
        return reader.width, reader.height

    assert size(paste_back=False) == (64, 64)
    assert size(paste_back=False, compare=True) == (192, 64)
    assert size(compare=True, source_crop="100,20,200,220") == (3 * 512, 512)
    assert size(motion="absolute") == (512, 512)
    assert size(adapt_scale=True) == (512, 512)


def test_compare_shows_source_driver_and_result(model: Path, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    animate_file(ASTRONAUT, clip, output, model=model, source_crop="none", driving_crop="40,0,240,240", compare=True)
    picture, driver = frames(output)[2].image, frames(clip)[2].image
    portrait = read_image(ASTRONAUT)
    assert np.abs(picture[:, :512].astype(int) - portrait).mean() < 4
    expected = crop_image(driver, parse_crop("40,0,240,240"), 512)  # type: ignore[arg-type]
    assert np.abs(picture[:, 512:1024].astype(int) - expected).mean() < 5


def test_a_template_drives_as_its_video_does(model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = tmp_path / "motion.safetensors"
    assert command(monkeypatch, "motion", "extract", clip, "-o", template, "--model", model) == 0
    motion = MotionTemplate.load(template)
    assert len(motion) == 7 and motion.detected is not None and motion.detected.positions.shape == (7, 28, 2)
    assert [pts * motion.time_base for pts in motion.pts] == seconds(clip)
    by_video, by_template = tmp_path / "video.mp4", tmp_path / "template.mp4"
    assert command(monkeypatch, "animate", ASTRONAUT, clip, "-o", by_video, "--model", model) == 0
    assert command(monkeypatch, "animate", ASTRONAUT, template, "-o", by_template, "--model", model) == 0
    assert seconds(by_template) == seconds(by_video)
    for one, other in zip(frames(by_video), frames(by_template), strict=True):
        assert np.abs(one.image.astype(int) - other.image).mean() < 0.5
    animate_file(ASTRONAUT, template, by_template, model=model, compare=True, paste_back=False)
    assert (VideoReader(by_template).width, VideoReader(by_template).height) == (128, 64)


def test_a_folder_of_pictures_drives(model: Path, clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate(frames(clip)[:3]):
        write_image(folder / f"{number}.png", frame.image)
    assert animate_file(ASTRONAUT, folder, tmp_path / "out.mp4", model=model).frames == 3
    assert seconds(tmp_path / "out.mp4") == [0, Fraction(1, 25), Fraction(2, 25)]


def test_a_truncated_driver_is_used_as_far_as_it_goes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer puts the index first, so half a file still opens."""
    whole, cut, output = tmp_path / "whole.mp4", tmp_path / "cut.mp4", tmp_path / "out.mp4"
    noise = np.random.default_rng(0)
    with VideoWriter(whole, width=96, height=96, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(30):
            writer.write(noise.integers(0, 256, (96, 96, 3), np.uint8), number, 1)
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    options = ("--model", model, "--driving-crop", "none", "--no-paste-back")
    assert command(monkeypatch, "animate", ASTRONAUT, cut, "-o", output, *options) == 0
    captured = capsys.readouterr()
    assert captured.err.count("warning: ") == 1 and "cut.mp4 is incomplete: " in captured.err
    assert 5 < len(frames(output)) < 30


def test_errors_of_input(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "out.mp4"
    out.parent.mkdir()
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(b"not a video" * 100)
    cat = tmp_path / "cat.png"
    write_image(cat, np.full((80, 80, 3), 120, np.uint8))
    end = ("-o", out, "--model", model)

    def animate(source: str | Path, driving: str | Path, *options: str | Path) -> str:
        return fails(monkeypatch, capsys, "animate", source, driving, *(options or end))

    assert "absent.jpg" in animate(tmp_path / "absent.jpg", clip)
    assert "garbage.mp4" in animate(garbage, clip)
    assert "absent.mp4" in animate(ASTRONAUT, tmp_path / "absent.mp4")
    assert "garbage.mp4" in animate(ASTRONAUT, garbage)
    assert "no face found in" in animate(cat, clip)
    (tmp_path / "cats").mkdir()
    shutil.copy(cat, tmp_path / "cats")
    assert "no face found in" in animate(ASTRONAUT, tmp_path / "cats")
    (tmp_path / "empty").mkdir()
    assert "no pictures" in animate(ASTRONAUT, tmp_path / "empty")
    assert "is not a motion template" in animate(ASTRONAUT, model / "model.safetensors")
    assert "is no crop" in animate(ASTRONAUT, clip, *end, "--crop", "face")
    assert "lies outside" in animate(ASTRONAUT, clip, *end, "--driving-crop", "900,900,10,10")
    assert "does not go with absolute" in animate(ASTRONAUT, clip, *end, "--motion", "absolute", "--adapt-scale")
    assert "there is no motion 'free'" in animate(ASTRONAUT, clip, *end, "--motion", "free")
    assert "is no start" in animate(ASTRONAUT, clip, *end, "--start", "soon")
    assert "ends before the start at 7" in animate(ASTRONAUT, clip, *end, "--start", "7")
    assert "ends before the start at 9s" in animate(ASTRONAUT, clip, *end, "--start", "9.0")
    assert "do not go with 'relative'" in animate(ASTRONAUT, clip, *end, "--motion", "relative", "--keep-pose")
    assert "need a model that knows" in animate(ASTRONAUT, clip, *end, "--eyes", "2")
    assert "no model 'nobody'" in animate(ASTRONAUT, clip, "-o", out, "--model", "nobody")
    assert "its name must end in" in animate(ASTRONAUT, clip, "-o", out.with_suffix(".txt"))
    assert "its name must end in" in fails(monkeypatch, capsys, "motion", "extract", clip, "-o", out, "--model", model)
    assert list(out.parent.iterdir()) == []


def test_outputs_are_checked_before_any_work(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(*arguments: object) -> None:
        raise AssertionError("work was begun")

    for name in ("open_source", "open_driver"):
        monkeypatch.setattr(job, name, work)
    content = clip.read_bytes()
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    link = tmp_path / "link.mp4"
    link.symlink_to(clip)
    for output, message in [
        (tmp_path / "absent" / "out.mp4", "No such file or directory"),
        (folder, "it is a folder"),
        (clip, "would replace its own input"),
        (link, "would replace its own input"),
    ]:
        assert message in fails(monkeypatch, capsys, "animate", ASTRONAUT, clip, "-o", output)
    assert clip.read_bytes() == content


def test_until_the_drivers_face_appears_the_portrait_keeps_its_pose(model: Path, clip: Path, tmp_path: Path) -> None:
    folder, template = tmp_path / "frames", tmp_path / "motion.safetensors"
    folder.mkdir()
    pictures = [np.zeros((240, 320, 3), np.uint8)] * 6 + [frame.image for frame in frames(clip)]
    for number, picture in enumerate(pictures):
        write_image(folder / f"{number}.png", picture)
    extract_motion(folder, template, model=model)
    detected = MotionTemplate.load(template).detected
    assert detected is not None
    positions = detected.positions
    torch.testing.assert_close(positions[:6], positions[6:7].expand(6, -1, -1), rtol=0, atol=1e-6)
    assert (positions[7:] - positions[0]).abs().amax(dim=(1, 2)).min() > 1e-4
    animate_file(ASTRONAUT, folder, tmp_path / "out.mp4", model=model, paste_back=False)
    result = frames(tmp_path / "out.mp4")
    assert len(result) == len(pictures)
    assert np.abs(result[1].image.astype(int) - result[6].image).mean() < 1


def test_a_template_of_another_model_is_refused(model: Path, clip: Path, tiny_config: Config, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_model(Network(tiny_config.network).eval(), tmp_path / "other", "card")
    template = tmp_path / "motion.safetensors"
    extract_motion(clip, template, model=model, driving_crop="none")
    with pytest.raises(InputError, match=r"motion\.safetensors, made with the detector .*, does not fit this model's"):
        animate_file(ASTRONAUT, template, tmp_path / "out.mp4", model=tmp_path / "other")
    fewer = MotionTemplate.load(template)
    detected = fewer.detected
    assert detected is not None and detected.affine is not None
    five = detected._replace(positions=detected.positions[:, :5], affine=None)
    replace(fewer, detected=five).save(tmp_path / "fewer.safetensors")
    with pytest.raises(
        InputError, match=r"expected keypoints \[B, 28, 2\] with affine maps .*got \[B, 5, 2\] with no affine maps"
    ):
        animate_file(ASTRONAUT, tmp_path / "fewer.safetensors", tmp_path / "out.mp4", model=model)
    replace(fewer, detected=five._replace(affine=detected.affine[:, :5])).save(tmp_path / "few.safetensors")
    with pytest.raises(
        InputError,
        match=r"few\.safetensors does not fit the model: expected keypoints .*got \[B, 5, 2\] with affine maps \[B, 5, 2, 2\]",
    ):
        animate_file(ASTRONAUT, tmp_path / "few.safetensors", tmp_path / "out.mp4", model=model)
    slow = replace(fewer, rate=Fraction(1, 2500))
    slow.save(tmp_path / "slow.safetensors")
    assert animate_file(ASTRONAUT, tmp_path / "slow.safetensors", tmp_path / "slow.mp4", model=model).frames == 7
    with pytest.raises(InputError, match="leave the driving crop out"):
        animate_file(ASTRONAUT, template, tmp_path / "out.mp4", model=model, driving_crop="none")
    assert not (tmp_path / "out.mp4").exists()


def test_a_template_outlives_its_detector(tiny_config: Config, clip: Path, tmp_path: Path) -> None:
    """Another detector of the same places is driven by these alone; the one that made it as by the video."""
    animators = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        animators.append(Animator(Network(tiny_config.network)))
    template = tmp_path / "motion.safetensors"
    extract_motion(clip, template, model=animators[0], driving_crop="none")

    def animated(driver: Path, animator: Animator, motion: Any = "auto") -> list[np.ndarray]:
        crop = "none" if driver == clip else "auto"
        options: dict[str, Any] = {"source_crop": "none", "driving_crop": crop, "paste_back": False}
        animate_file(ASTRONAUT, driver, tmp_path / "out.mp4", model=animator, motion=motion, **options)
        return [frame.image.astype(int) for frame in frames(tmp_path / "out.mp4")]

    for motion in ("auto", "relative", "absolute"):
        for one, other in zip(animated(clip, animators[0], motion), animated(template, animators[0], motion), strict=True):
            assert np.abs(one - other).max() <= 1
    whole = MotionTemplate.load(template)
    assert whole.face is not None
    replace(whole, face=whole.face._replace(shape=1.5 * whole.face.shape)).save(tmp_path / "wide.safetensors")
    wide = animated(tmp_path / "wide.safetensors", animators[0])
    assert np.abs(wide[3] - animated(template, animators[0])[3]).max() > 5, "it is the shape"
    assert len(animated(template, animators[1])) == 7
    for motion in ("relative", "absolute"):
        with pytest.raises(InputError, match=f"only those with names, too few for {motion} motion: leave --motion at auto"):
            animated(template, animators[1], motion)


def test_no_half_written_file_when_work_fails(model: Path, clip: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"of an earlier run")

    def stop(stage: str, done: int, total: int | None) -> None:
        if stage == "animating" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate_file(ASTRONAUT, clip, output, model=model, on_progress=stop)
    assert output.read_bytes() == b"of an earlier run"
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_demo(
    model: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assets = tmp_path / "mrfa" / "assets"
    assets.mkdir(parents=True)
    shutil.copy(ASTRONAUT, assets)
    monkeypatch.setattr(job.resources, "files", lambda package: tmp_path / package)
    output = tmp_path / "demo.mp4"
    assert "lacks its demo file" in fails(monkeypatch, capsys, "demo", "-o", output)
    extract_motion(clip, assets / "motion.safetensors", model=model)
    shutil.copytree(model, tmp_path / "mrfa" / "models" / "small")
    assert command(monkeypatch, "demo", "-o", output) == 0
    assert len(frames(output)) == 7


def test_a_real_driver_with_sound(faces: Path, model: Path, tmp_path: Path) -> None:
    driving, output = faces / "raw" / "raw_smallface.mp4", tmp_path / "out.mp4"
    portrait = sorted((faces / "portraits").glob("*.jpg"))[0]
    result = animate_file(portrait, driving, output, model=model, paste_back=False)
    assert result == job.JobResult(len(frames(driving)), [])
    assert seconds(output) == seconds(driving)
    assert audio_packets(output) == audio_packets(driving)


@pytest.mark.parametrize(("mode", "codec"), [("copy", "mp3float"), ("transcode", "aac"), ("none", None)])
def test_what_becomes_of_the_sound(mode: str, codec: str | None, model: Path, tmp_path: Path) -> None:
    clip, output = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    with av.open(str(clip), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("libmp3lame", rate=44100, layout="mono")
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        chunk = av.AudioFrame.from_ndarray(np.zeros((1, 4410), np.float32), format="fltp", layout="mono")
        chunk.sample_rate = 44100
        container.mux([*video.encode(None), *sound.encode(chunk), *sound.encode(None)])
    result = animate_file(ASTRONAUT, clip, output, model=model, source_crop="none", driving_crop="none", audio=mode)
    assert result == job.JobResult(3, [])
    with av.open(str(output)) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ([codec] if codec else [])
    with pytest.raises(InputError, match="'loud' is no way to treat sound: give copy, transcode, none"):
        animate_file(ASTRONAUT, clip, output, model=model, audio="loud")


def test_faces_that_do_not_stand_upright_are_said(model: Path, clip: Path, tmp_path: Path) -> None:
    portrait, driving, output = tmp_path / "turned.png", tmp_path / "driving.mp4", tmp_path / "result.mp4"
    write_image(portrait, np.ascontiguousarray(np.rot90(read_image(ASTRONAUT), 2)))
    with VideoWriter(driving, width=240, height=320, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number, frame in enumerate(frames(clip)[:3]):
            writer.write(np.ascontiguousarray(np.rot90(frame.image, -1)), number)
    warnings = animate_file(portrait, driving, output, model=model).warnings
    assert any("turned.png is turned by 180 degrees" in line for line in warnings)
    assert any("driving.mp4 is turned by 90 degrees" in line for line in warnings)
    assert not any("turned by" in line for line in animate_file(ASTRONAUT, clip, output, model=model).warnings)
