"""What the web page does, without a browser: limits, previews, the queue, controls, and whose files are read."""

import asyncio
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import wait
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_preset

from mrfa.animation.animator import Animator
from mrfa.animation.driver import Progress
from mrfa.animation.job import JobResult, demo_files
from mrfa.animation.template import MotionTemplate
from mrfa.data.files import private_folder
from mrfa.data.images import read_image, write_image
from mrfa.data.video import VideoWriter
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.web.controls import MOTIONS, OWN_FACE, Controls
from mrfa.web.jobs import Jobs, StoppedError
from mrfa.web.limits import Limits, ShortVideo, in_words, uploaded
from mrfa.web.previews import LONG_SIDE, SIDE, _reduced, look_at_driving, look_at_portrait

PORTRAIT, MOTION = demo_files()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a face, 128x128."""
    path = tmp_path_factory.mktemp("video") / "speaker.mp4"
    face = read_image(PORTRAIT)[0:256:2, 90:346:2]
    with VideoWriter(path, width=128, height=128, time_base=Fraction(1, 5), rate=Fraction(5)) as writer:
        for number in range(10):
            writer.write(np.roll(face, number, axis=1), number, 1)
    return path


# Limits


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(seconds=1), "speaker.mp4 lasts longer than 1 seconds"),
        (Limits(megapixels=0), "128x128 pixels"),
        (Limits(megabytes=0), "larger than 0 MB"),
    ],
)
def test_a_video_beyond_the_limits_is_refused_at_once(video: Path, limits: Limits, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ShortVideo(video, limits)
    assert len(list(ShortVideo(video, Limits(seconds=3)))) == 10


def test_a_video_whose_header_lies_is_refused_while_it_is_read(video: Path) -> None:
    lying = ShortVideo(video, Limits())
    lying._limits = Limits(seconds=1)
    frames = iter(lying)
    assert [next(frames).pts * lying.time_base for _ in range(6)] == [Fraction(number, 5) for number in range(6)]
    with pytest.raises(InputError, match="lasts longer than 1 seconds"):
        next(frames)


def test_a_picture_beyond_the_limits_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_image(tmp_path / "wide.png", np.zeros((1000, 1001, 3), np.uint8))
    monkeypatch.setattr("mrfa.web.previews.read_image", lambda path: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match=r"wide.png has 1001x1000 pixels, more than 1 million"):
        look_at_portrait(tmp_path / "wide.png", Limits(megapixels=1))


def test_a_motion_beyond_the_limits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"motion\.safetensors lasts longer than 2 seconds"):
        look_at_driving(MOTION, Limits(seconds=2), tmp_path)


# Whose files


def test_only_uploaded_files_are_taken(tmp_path: Path) -> None:
    folder, outside = tmp_path / "server", tmp_path / "secret.txt"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "mine.png").write_text("picture")
    (folder / "link.png").symlink_to(outside)
    assert uploaded({"path": str(folder / "mine.png")}, folder) == folder / "mine.png"
    bad: list[object] = [str(folder / "mine.png"), None, {}, {"path": None}]
    for name in (
        outside,
        folder / ".." / "secret.txt",
        folder / "link.png",
        folder,
        folder / "gone.png",
        "http://127.0.0.1/",
        "a\0b",
    ):
        bad.append({"path": str(name)})
    for payload in bad:
        with pytest.raises(InputError, match="upload it again"):
            uploaded(payload, folder)


def test_users_see_names_and_no_folders(tmp_path: Path) -> None:
    text = f"cannot read {tmp_path}/0a1b/my portrait.jpg: it is a folder; no face in {tmp_path}/c/d/e.mp4"
    assert in_words(text, tmp_path) == "cannot read my portrait.jpg: it is a folder; no face in e.mp4"


def test_what_a_killed_server_left_is_deleted_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / ".mrfa-other").mkdir()
    code = f"""
import os, signal, tempfile
tempfile.tempdir = {str(tmp_path)!r}
from mrfa.data.files import private_folder
with private_folder("mrfa-serve") as folder:
    (folder / "upload").mkdir()
    (folder / "upload" / "face.png").write_text("a face")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with private_folder("mrfa-serve") as running:
        assert running.stat().st_mode & 0o777 == 0o700
        subprocess.run([sys.executable, "-c", code], check=False)
        assert len(list(tmp_path.glob(".mrfa-*/upload/face.png"))) == 1
        with private_folder("mrfa-serve") as folder:
            assert {*tmp_path.iterdir()} == {folder, running, tmp_path / ".mrfa-other"}
    assert [path.name for path in tmp_path.iterdir()] == [".mrfa-other"]


# Previews


def test_every_face_of_a_portrait_is_shown(tmp_path: Path) -> None:
    face = read_image(PORTRAIT)[0:256, 90:346]
    write_image(tmp_path / "two.png", np.concatenate([face, face[:, ::-1]], 1))
    preview = look_at_portrait(tmp_path / "two.png", Limits())
    assert [crop.shape for crop in preview.crops] == [(SIDE, SIDE, 3)] * 2 and preview.warnings == [[], []]
    assert preview.numbered.shape == (256, 512, 3)
    assert _reduced(np.zeros((100, 4 * LONG_SIDE, 3), np.uint8)).shape == (25, LONG_SIDE, 3)
    assert np.abs(preview.crops[0].astype(float) - preview.crops[1]).mean() > 5


def test_pictures_and_videos_without_a_face_are_refused_in_plain_words(tmp_path: Path) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    write_image(tmp_path / "wall.png", grey)
    with VideoWriter(tmp_path / "wall.mp4", width=64, height=64, time_base=Fraction(1, 5), rate=Fraction(5)) as writer:
        writer.write(grey, 0, 1)
    for name, look in (
        ("wall.png", look_at_portrait),
        ("wall.mp4", lambda path, limits: look_at_driving(path, limits, tmp_path)),
    ):
        with pytest.raises(InputError, match=f"^no face was found in {name}: choose") as error:
            look(tmp_path / name, Limits())
        assert "--" not in str(error.value)


def test_a_driver_is_shown_by_its_face_or_as_a_drawing(tmp_path: Path, video: Path) -> None:
    by_face = look_at_driving(video, Limits(), tmp_path)
    assert by_face.crop is not None and by_face.crop.shape == (SIDE, SIDE, 3) and by_face.view is None
    drawn = look_at_driving(MOTION, Limits(), tmp_path)
    assert drawn.crop is None and drawn.view is not None
    assert ShortVideo(drawn.view, Limits()).frame_count_estimate == len(MotionTemplate.load(MOTION))


# Controls


def test_controls_mean_options() -> None:
    plain = Controls().options()
    assert (plain.motion, plain.face, plain.start, plain.audio, plain.pose) == ("auto", "1", "best", "copy", "relative")
    options = Controls(
        face=2, expression=1.5, lips=0.0, same_pose=True, smooth=0.5, whole=False, compare=True, sound=False, mark=True
    ).options()
    assert (options.face, options.expression, options.lips, options.pose, options.smooth) == ("2", 1.5, 0.0, "absolute", 0.5)
    assert (options.paste_back, options.compare, options.audio, options.mark) == (False, True, "none", True)


@pytest.mark.parametrize("motion", [name for name in MOTIONS if name != OWN_FACE])
def test_strengths_are_left_out_where_they_have_no_meaning(motion: str) -> None:
    assert Controls(motion=motion, expression=2.0, same_pose=True).options() == Controls(motion=motion).options()


@pytest.mark.parametrize(
    "bad", [{"motion": "/etc"}, {"expression": 3.0}, {"smooth": float("nan")}, {"start": "9"}, {"head": "x"}]
)
def test_settings_that_the_page_does_not_offer_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="reload"):
        Controls(**bad).options()


# The queue


class Slow:
    """Work that goes on frame by frame until it is released."""

    def __init__(self) -> None:
        self.begun, self.released = threading.Event(), threading.Event()

    def __call__(self, folder: Path, on_progress: Progress) -> JobResult:
        (folder / "half").write_text("half a video")
        for frame in range(10**6):
            on_progress("animating", frame, 10**6)
            self.begun.set()
            if self.released.wait(0.01):
                break
        return JobResult(7, [])


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    with Jobs(tmp_path / "jobs", waiting=2) as jobs:
        yield jobs


def test_jobs_wait_for_each_other_up_to_a_limit(jobs: Jobs) -> None:
    slow = Slow()
    line = [jobs.start(owner, slow) for owner in ("anna", "ben", "carl")]
    assert slow.begun.wait(5)
    assert [jobs.ahead_of(job) for job in line] == [0, 1, 2]
    with pytest.raises(InputError, match="2 others wait already: try again"):
        jobs.start("dora", slow)
    with pytest.raises(InputError, match="your last one"):
        jobs.start("anna", slow)
    slow.released.set()
    assert [job.future.result(5) for job in line] == [JobResult(7, [])] * 3
    assert jobs.start("dora", slow).future.result(5).frames == 7


def test_a_stopped_job_ends_and_the_next_begins(jobs: Jobs) -> None:
    slow = Slow()
    first, second, third = (jobs.start(owner, slow) for owner in ("anna", "ben", "carl"))
    assert slow.begun.wait(5)
    jobs.stop("anna")
    jobs.stop("ben")
    for job in (first, second):
        assert isinstance(job.future.exception(5), StoppedError)
    slow.released.set()
    assert third.future.result(5).frames == 7


def test_what_a_user_leaves_is_deleted(jobs: Jobs, tmp_path: Path) -> None:
    done, slow = Slow(), Slow()
    done.released.set()
    jobs.start("anna", done).future.result(5)
    running = jobs.start("anna", slow)
    other = jobs.start("ben", done)
    assert slow.begun.wait(5) and len(list((tmp_path / "jobs").iterdir())) == 2
    jobs.forget("anna")
    jobs.forget("anna")  # a browser that comes back for a moment leaves twice
    assert isinstance(running.future.exception(5), StoppedError) and other.future.result(5)
    wait([other.future])
    assert list((tmp_path / "jobs").iterdir()) == [other.folder]


def test_progress_has_frames_a_second(jobs: Jobs) -> None:
    slow = Slow()
    job = jobs.start("anna", slow)
    time.sleep(0.3)
    course = job.course
    assert course.stage == "animating" and course.total == 10**6 and 5 < course.rate < 101
    assert course.done > 2


# The server


@pytest.fixture(scope="module")
def animator() -> Animator:
    """A tiny network whose keypoints have names, so that it takes all controls."""
    torch.manual_seed(0)
    config = tiny_preset("small", network__detector__layout="landmarks", network__detector__keypoints=28)
    return Animator(Network(config.network).eval(), batch_size=2)


@pytest.fixture
def served(animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Address of a page, and where temporary files are."""
    pytest.importorskip("gradio", reason="the extra web is not installed")
    from mrfa.web.server import serving

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(animator, Limits(megabytes=1), host="127.0.0.1", port=0) as url:
        yield url, tmp_path


def status_of(url: str, body: bytes | None = None, **headers: str) -> int:
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_server_reads_no_other_files(served: tuple[str, Path]) -> None:
    url, folder = served
    (folder / "secret.txt").write_text("secret")
    own = next(folder.glob(".mrfa-*"))
    assert status_of(url) == 200
    assert status_of(f"{url}gradio_api/file={PORTRAIT}") == 200
    here = Path(__file__).resolve()
    for path in ("/etc/passwd", here, folder / "secret.txt", f"{own}/../secret.txt", here.parents[1] / "pyproject.toml"):
        assert status_of(f"{url}gradio_api/file={path}") in (403, 404)
    for page in ("gradio_api/runs", "monitoring", "gradio_api/mcp/sse"):
        assert status_of(f"{url}{page}") >= 400


def test_no_other_site_speaks_for_this_one(served: tuple[str, Path]) -> None:
    url, _ = served
    assert status_of(url, Host="localhost") == 200
    assert status_of(url, Host="evil.example") == 400


def test_large_uploads_are_refused(served: tuple[str, Path]) -> None:
    url, folder = served

    def upload(size: int) -> int:
        head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        return status_of(
            f"{url}gradio_api/upload", head + bytes(size) + b"\r\n--x--\r\n", Content_Type="multipart/form-data; boundary=x"
        )

    assert upload(1000) == 200
    assert upload(3 * 10**6) == 413
    kept = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    assert 1000 in kept and sum(kept) < 2 * 10**6


def test_nothing_is_fetched_for_a_browser(served: tuple[str, Path]) -> None:
    from gradio.processing_utils import async_ssrf_protected_download

    with pytest.raises(InputError, match="not fetched"):
        asyncio.run(async_ssrf_protected_download("https://example.org/face.png", str(served[1])))


def test_nothing_is_left_when_the_server_ends(animator: Animator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="the extra web is not installed")
    from mrfa.web.server import serving

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with serving(animator, Limits(), host="127.0.0.1", port=0) as url:
        assert len(list(tmp_path.iterdir())) == 1
        port = int(url.split(":")[-1].strip("/"))
        with pytest.raises(InputError, match="choose another --port"), serving(animator, Limits(), host="127.0.0.1", port=port):
            pass
    assert list(tmp_path.iterdir()) == []
