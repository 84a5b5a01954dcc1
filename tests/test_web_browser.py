"""The web page in a real browser: Chromium, where there is one."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import tiny_preset

from mrfa.animation.animator import Animator
from mrfa.animation.job import demo_files
from mrfa.animation.template import MotionTemplate
from mrfa.animation.template_editing import trim
from mrfa.data.files import private_folder
from mrfa.data.images import read_image, write_image
from mrfa.data.origin import read_origin
from mrfa.data.video import VideoReader, VideoWriter
from mrfa.network.model import Network
from mrfa.web.limits import Limits
from mrfa.weights import save_model

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("gradio", reason="the extra web is not installed")
from mrfa.web.server import serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
)
PORTRAIT, MOTION = demo_files()
FRAMES = 40
# How much a test waits for what comes at once on a machine that does nothing else, in milliseconds.
PATIENCE = 30_000


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, with a camera that sees a face."""
    camera = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    face = read_image(PORTRAIT)[:360, 20:500, ::-1]
    pictures = [cv2.imencode(".jpg", np.roll(face, number, axis=1))[1].tobytes() for number in range(10)]
    camera.write_bytes(b"".join(pictures))
    flags = [*FLAGS.split(), f"--use-file-for-fake-video-capture={camera}"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


def tiny_network() -> Network:
    torch.manual_seed(0)
    detector = {"network__detector__layout": "landmarks", "network__detector__keypoints": 28}
    return Network(tiny_preset("small", **detector).network).eval()


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(tiny_network(), batch_size=1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def url(animator: Animator, folder: Path) -> Iterator[str]:
    with serving(animator, Limits(seconds=20, waiting=2), host="127.0.0.1", port=0) as url:
        yield url


@pytest.fixture
def slowly(animator: Animator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds a frame: all of them take longer than a test waits for anything."""
    step = Animator.step

    def slow(*given: Any, **more: Any) -> Any:
        time.sleep(2)
        return step(*given, **more)

    monkeypatch.setattr(Animator, "step", slow)


class User:
    """Someone who uses the page in a browser of their own."""

    def __init__(self, browser: Any, url: str, width: int = 1280, height: int = 900) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.requests: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(url)
        self.button("Animate").wait_for()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def sees(self, text: str | re.Pattern[str]) -> None:
        self.page.get_by_text(text).first.wait_for()

    def chooses(self, portrait: Path, driving: Path) -> None:
        self.page.locator("#portrait input[type=file]").set_input_files(portrait)
        self.page.locator("#driving input[type=file]").set_input_files(driving)

    def chooses_examples(self) -> None:
        self.button("Use the example portrait").click()
        self.sees("This part will move")
        self.button("Use the example motion").click()
        self.page.locator("#driving video").wait_for()

    def agrees(self) -> None:
        self.page.get_by_role("checkbox", name="The portrait shows me").check()

    def downloads(self, name: str, path: Path) -> Path:
        with self.page.expect_download() as download:
            self.button(name).click()
        download.value.save_as(path)
        return path


@pytest.fixture
def user(browser: Any, url: str) -> Iterator[Callable[..., User]]:
    """Makes users, who leave at the end."""
    users: list[User] = []

    def come(**size: int) -> User:
        users.append(User(browser, url, **size))
        return users[-1]

    yield come
    for each in users:
        each.context.close()


@pytest.fixture(scope="module")
def two_faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    face = read_image(PORTRAIT)[0:256, 90:346]
    path = tmp_path_factory.mktemp("portrait") / "two people.png"
    write_image(path, np.concatenate([face, face[:, ::-1]], 1))
    return path


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face that moves over forty frames."""
    path = tmp_path_factory.mktemp("driving") / "speaker.mp4"
    face = read_image(PORTRAIT)[0:256:2, 90:346:2]
    with VideoWriter(path, width=128, height=128, time_base=MotionTemplate.load(MOTION).time_base, rate=None) as writer:
        for number in range(FRAMES):
            writer.write(np.roll(face, number % 10, axis=1), 1000 * number, 1000)
    return path


def test_from_upload_to_video_and_motion(user: Callable[..., User], two_faces: Path, speaker: Path, tmp_path: Path) -> None:
    anna = user()
    anna.chooses(two_faces, speaker)
    anna.sees("Which face?")
    anna.sees("This face drives it")
    anna.page.get_by_role("radio", name="2").check()
    anna.button("Animate").click()
    anna.sees("Tick the box above the button first")
    anna.agrees()
    anna.button("Animate").click()
    anna.sees("Done: 40 frames")
    anna.page.locator("#result video").wait_for()
    video = VideoReader(anna.downloads("Download the video", tmp_path / "animated.mp4"))
    assert read_origin(video.path) is not None
    assert (video.width, video.height, len(list(video))) == (512, 256, FRAMES)
    anna.button("Save the motion as a file").click()
    motion = anna.downloads("Download the motion", tmp_path / "motion.safetensors")
    assert len(MotionTemplate.load(motion)) == FRAMES
    assert [address for address in anna.requests if not re.match(r"(http://127\.0\.0\.1:|blob:|data:)", address)] == []


def test_consent_is_asked_for_once(user: Callable[..., User], speaker: Path) -> None:
    anna = user()
    anna.chooses(PORTRAIT, speaker)
    anna.sees("This face drives it")
    anna.agrees()
    anna.button("Animate").click()
    anna.sees("Done: 40 frames")
    anna.page.reload()
    anna.button("Animate").wait_for()
    anna.page.get_by_role("checkbox", name="The portrait shows me").wait_for(state="hidden")
    anna.chooses(PORTRAIT, speaker)
    anna.sees("This face drives it")
    anna.button("Animate").click()
    anna.sees("Done: 40 frames")


def test_a_camera_takes_portrait_and_motion(user: Callable[..., User]) -> None:
    anna = user()
    for place in ("#portrait", "#driving"):
        anna.page.locator(place).get_by_label("Capture from camera").click()
        anna.page.locator(place).get_by_text("Click to Access Webcam").click()
    anna.page.locator("#portrait").get_by_label("capture photo").click()
    anna.sees("This part will move")
    anna.page.locator("#driving").get_by_text("Record").click()
    anna.page.wait_for_timeout(1000)
    anna.page.locator("#driving").get_by_text("Stop").click()
    anna.sees("This face drives it")
    anna.agrees()
    anna.button("Animate").click()
    anna.sees(re.compile(r"Done: \d+ frames"))


def test_a_motion_file_is_drawn_and_gives_way_to_a_video(user: Callable[..., User], tmp_path: Path, speaker: Path) -> None:
    anna = user()
    trim(MotionTemplate.load(MOTION), 0, 12).save(tmp_path / "short.safetensors")
    anna.page.locator("#portrait input[type=file]").set_input_files(PORTRAIT)
    with anna.page.expect_file_chooser() as chooser:
        anna.button("Upload a motion file").click()
    chooser.value.set_files(tmp_path / "short.safetensors")
    anna.page.locator("#driving video").wait_for()
    anna.agrees()
    anna.button("Animate").click()
    anna.sees("Done: 12 frames")
    assert not anna.page.get_by_text("This face drives it").is_visible()  # in the drawing, where one is found indeed
    anna.page.locator("#driving").get_by_label("Clear").click()
    anna.button("Animate").click()
    anna.sees("Choose a portrait and a motion first")
    anna.page.locator("#driving input[type=file]").set_input_files(speaker)
    anna.sees("This face drives it")
    anna.button("Animate").click()
    anna.sees("Done: 40 frames")


def test_bad_files_are_named_and_the_page_goes_on(user: Callable[..., User], tmp_path: Path, speaker: Path) -> None:
    anna = user()
    (tmp_path / "broken.jpg").write_bytes(PORTRAIT.read_bytes()[:300])
    (tmp_path / "text.mp4").write_text("<b>no video</b>" * 100)
    anna.chooses(tmp_path / "broken.jpg", tmp_path / "text.mp4")
    anna.sees(re.compile(r"Cannot read (the picture )?broken\.jpg"))
    anna.sees("Cannot read the video text.mp4")
    anna.button("Animate").click()
    anna.sees("Choose a portrait and a motion first")
    assert str(tmp_path) not in anna.page.locator("body").inner_text()


@pytest.mark.usefixtures("slowly")
def test_cancel_in_the_middle(user: Callable[..., User], speaker: Path, folder: Path) -> None:
    anna = user()
    anna.chooses(PORTRAIT, speaker)
    anna.sees("This face drives it")
    anna.agrees()
    anna.button("Animate").click()
    anna.sees(re.compile(r"Animating · \d+ of 40 frames · \d+\.\d frames/s"))
    anna.button("Cancel").click()
    anna.sees("Cancelled")
    assert anna.button("Animate").is_enabled() and not anna.button("Cancel").is_visible()
    assert [path for path in folder.rglob("jobs/*/*") if path.is_file()] == []


@pytest.mark.usefixtures("slowly")
def test_users_wait_for_each_other_within_limits(user: Callable[..., User], speaker: Path, folder: Path) -> None:
    """One is served, two wait, a fourth is told so; who closes the page makes room."""
    users = [user() for _ in range(4)]
    for each in users:
        each.chooses(PORTRAIT, speaker)
        each.sees("This face drives it")
        each.agrees()
        each.button("Animate").click()
    users[0].sees("Animating")
    users[1].sees("Waiting: 1 before you")
    users[2].sees("Waiting: 2 before you")
    users[3].sees("The server is busy")
    users[0].context.close()
    users[1].sees("Animating")
    users[2].sees("Waiting: 1 before you")
    users[1].button("Cancel").click()
    users[2].sees("Animating")
    assert len(list(folder.rglob("jobs/*"))) <= 2


def test_a_phone_shows_all_without_scrolling_sideways(user: Callable[..., User]) -> None:
    anna = user(width=360, height=740)
    anna.chooses_examples()
    width = anna.page.evaluate("document.documentElement.scrollWidth")
    boxes = [anna.button(name).bounding_box() for name in ("Use the example portrait", "Use the example motion", "Animate")]
    assert width <= 360 and all(box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 24 for box in boxes)


def test_a_server_that_is_killed_leaves_nothing_at_the_next_start(browser: Any, folder: Path) -> None:
    save_model(tiny_network(), folder / "model", "card")
    (folder / "temporary").mkdir()
    command = [sys.executable, "-m", "mrfa.cli", "serve", "--no-browser", "--port", "0", "--model", str(folder / "model")]
    environment = os.environ | {"TMPDIR": str(folder / "temporary")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        anna = User(browser, server.stdout.readline().split()[0])
        anna.chooses_examples()
        anna.agrees()
        anna.button("Animate").click()
        anna.sees("Animating")
        server.send_signal(signal.SIGKILL)
        anna.context.close()
    left = [path for path in (folder / "temporary").rglob("*") if path.is_file()]
    assert any(path.suffix == ".jpg" for path in left) and any("jobs" in path.parts for path in left)
    tempfile.tempdir = str(folder / "temporary")
    with private_folder("mrfa-serve") as new:
        assert list((folder / "temporary").iterdir()) == [new]
