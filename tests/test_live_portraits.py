"""`mrfa live`: the newest frame wins, a lost face is held, commands are obeyed, and the page speaks to this machine alone."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import TINY
from typer.testing import CliRunner

from mrfa.animation.animator import Animator
from mrfa.animation.crop import crop_image, square_around
from mrfa.animation.motion import Transfer
from mrfa.animation.settings import MotionSettings
from mrfa.cli import app
from mrfa.data.images import read_image
from mrfa.data.video import VideoWriter
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.live import session as live_session
from mrfa.live.camera import Camera, Shot, device_pictures, file_pictures
from mrfa.live.page import LivePage
from mrfa.live.session import LiveSession
from mrfa.live.virtual_camera import VirtualCamera
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import load_config
from mrfa.weights import save_model

PORTRAIT = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"


def numbered(count: int) -> Iterator[np.ndarray]:
    for number in range(count):
        yield np.full((4, 4, 3), number, np.uint8)


class Slow:
    """Pictures that come when they are asked to."""

    def __init__(self) -> None:
        self.turn = threading.Semaphore(0)

    def __iter__(self) -> Iterator[np.ndarray]:
        for image in numbered(100):
            self.turn.acquire()
            yield image


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("live") / "model"
    save_model(Network(load_config("small", TINY).network).eval(), folder, "card")
    return folder


@pytest.fixture(scope="module")
def animator(model: Path) -> Animator:
    return Animator.from_pretrained(model)


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    return read_image(PORTRAIT)[:256, 90:346]


def shots(*images: np.ndarray) -> list[Shot]:
    return [Shot(image, 0.04 * number) for number, image in enumerate(images)]


def test_the_newest_picture_wins() -> None:
    slow = Slow()
    with Camera(slow) as camera:
        stream = iter(camera)
        slow.turn.release()
        assert next(stream).image[0, 0, 0] == 0
        slow.turn.release(5)
        while camera.count < 6:
            time.sleep(0.001)
        assert next(stream).image[0, 0, 0] == 5
        slow.turn.release()
        assert next(stream).image[0, 0, 0] == 6
        slow.turn.release(1)


def test_a_camera_ends_with_its_pictures_and_hands_on_their_error() -> None:
    with Camera(numbered(3)) as camera:
        seen = [int(shot.image[0, 0, 0]) for shot in camera]
    assert seen[-1] == 2 and camera.count == 3

    def broken() -> Iterator[np.ndarray]:
        yield from numbered(1)
        raise InputError("it is gone")

    with Camera(broken()) as camera, pytest.raises(InputError, match="it is gone"):
        list(camera)


def test_a_file_is_a_camera_at_its_own_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=32, height=32, time_base=Fraction(1, 10), rate=Fraction(10)) as writer:
        for number in (0, 1, 2, 7):
            writer.write(np.zeros((32, 32, 3), np.uint8), number, 1)
    now, slept = [100.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    monkeypatch.setattr("mrfa.live.camera.time", SimpleNamespace(monotonic=lambda: now[0], sleep=sleep))
    assert len(list(file_pictures(tmp_path / "a.mp4"))) == 4
    assert slept == [0, 0.1, 0.1, 0.5]
    again = file_pictures(tmp_path / "a.mp4", repeat=True)
    assert len([next(again) for _ in range(9)]) == 9
    with pytest.raises(InputError, match=r"b\.mp4"):
        file_pictures(tmp_path / "b.mp4")


def test_no_camera_is_a_clear_error() -> None:
    with pytest.raises(InputError, match="no camera 63"):
        device_pictures(63)


def test_the_portrait_waits_for_a_face_and_keeps_its_last_motion(
    animator: Animator, face: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = LiveSession(animator, [PORTRAIT], smooth=0, mirror=False)
    empty, drawn = np.zeros_like(face), list[torch.Tensor]()
    draw = session._drawn
    monkeypatch.setattr(session, "_drawn", lambda keypoints: drawn.append(keypoints.positions) or draw(keypoints))
    shown = list(session.pictures(shots(empty, face, face[:, ::-1], empty, empty)))
    assert [picture.followed for picture in shown] == [False, True, True, False, False]
    assert (shown[0].image == read_image(PORTRAIT)).all() and len(drawn) == 4
    assert not drawn[1].equal(drawn[0]) and drawn[2].equal(drawn[1]) and drawn[3].equal(drawn[1])


def test_commands_are_obeyed_before_the_next_picture(animator: Animator, face: np.ndarray) -> None:
    session = LiveSession(animator, [PORTRAIT, PORTRAIT], smooth=0, mirror=False)
    asked = {1: ["next"], 2: ["next", "stronger", "stronger"], 3: ["mirror"], 4: ["weaker"], 5: ["quit"]}
    said = []

    def stream() -> Iterator[Shot]:
        for shot in shots(*[face] * 8):
            for command in asked.get(len(said), []):
                session.ask(command)
            yield shot

    for _ in session.pictures(stream()):
        said.append(session.settings)
    assert said == [
        "portrait 1 of 2, expression 1.0",
        "portrait 2 of 2, expression 1.0",
        "portrait 1 of 2, expression 1.2",
        "portrait 1 of 2, expression 1.2, mirrored",
        "portrait 1 of 2, expression 1.1, mirrored",
    ]
    with pytest.raises(ValueError, match="no command 'dance'"):
        session.ask("dance")


def test_the_calibrated_face_is_the_portraits_pose(animator: Animator, face: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    session = LiveSession(animator, [PORTRAIT, PORTRAIT], smooth=0, mirror=False)
    begun: list[torch.Tensor] = []
    transfer = MotionSettings.transfer

    def spy(self: MotionSettings, network: Network, source: Keypoints, initial: Keypoints) -> Transfer | None:
        begun.append(initial.positions)
        return transfer(self, network, source, initial)

    monkeypatch.setattr(MotionSettings, "transfer", spy)
    other, asked = face[:, ::-1].copy(), {2: "calibrate", 3: "next"}

    def stream() -> Iterator[Shot]:
        for number, shot in enumerate(shots(face, other, other, face)):
            if number in asked:
                session.ask(asked[number])
            yield shot

    moved = list(session.pictures(stream()))
    assert len(moved) == 4 and len(begun) == 3
    found = FaceFinder()(other)
    assert found is not None
    expected = animator.detect(crop_image(other, square_around(found.box, 256, 256), animator.size)).positions
    torch.testing.assert_close(begun[1], expected, atol=1e-3, rtol=0)
    assert begun[2].equal(begun[1])
    assert (begun[0] - begun[1]).abs().max() > 0.01


def test_a_mirror_shows_the_other_side(animator: Animator, face: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[np.ndarray] = []
    crop = live_session.crop_image
    monkeypatch.setattr(live_session, "crop_image", lambda image, *rest: seen.append(image) or crop(image, *rest))
    for mirror in (False, True):
        session = LiveSession(animator, [PORTRAIT], mirror=mirror)
        seen.clear()
        list(session.pictures(shots(face)))
        assert (seen[-1] == (face[:, ::-1] if mirror else face)).all()


def get(page: LivePage, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    address = page.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request(method, path, headers=headers)
    return connection.getresponse()


def test_the_page_shows_pictures_and_hands_on_commands(face: np.ndarray) -> None:
    asked: list[str] = []

    def ask(command: str) -> None:
        if command != "calibrate":
            raise ValueError(command)
        asked.append(command)

    with LivePage(0, ask) as page:
        assert page.url.startswith("http://127.0.0.1:")
        text = get(page, "/").read().decode()
        assert all(f'data-do="{command}"' in text for command in live_session.COMMANDS)
        assert "http://" not in text and "https://" not in text
        page.show(face, {"speed": "fast"})
        assert json.loads(get(page, "/status").read()) == {"speed": "fast"}
        stream = get(page, "/pictures")
        assert stream.getheader("Content-Type", "").startswith("multipart/x-mixed-replace")
        assert stream.read(9) == b"--picture"
        assert get(page, "/do/calibrate", "POST").status == 200 and asked == ["calibrate"]
        assert get(page, "/do/dance", "POST").status == 404
        assert get(page, "/../../etc/passwd").status == 404


def test_no_other_site_reaches_the_page() -> None:
    with LivePage(0, lambda command: None) as page:
        assert get(page, "/status", Host="example.org").status == 403
        assert get(page, "/do/quit", "POST", Origin="http://example.org").status == 403
        with pytest.raises(InputError, match="--port"):
            LivePage(int(page.url.rstrip("/").rpartition(":")[2]), lambda command: None)


def test_a_virtual_camera_gets_every_picture_at_one_size(monkeypatch: pytest.MonkeyPatch, face: np.ndarray) -> None:
    sent: list[tuple[int, ...]] = []

    class Fake:
        def __init__(self, width: int, height: int, fps: float) -> None:
            self.width, self.height = width, height

        def send(self, image: np.ndarray) -> None:
            sent.append(image.shape)

        def close(self) -> None:
            sent.append(())

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=Fake, __spec__=object()))
    with VirtualCamera() as camera:
        camera.show(face)
        camera.show(face[:128])
    assert sent == [(256, 256, 3), (256, 256, 3), ()]


def test_without_its_package_a_virtual_camera_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrfa.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mrfa\[live\]"):
        VirtualCamera()


def test_the_command_runs_from_a_file(model: Path, face: np.ndarray, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", width=256, height=256, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(6):
            writer.write(face, number, 1)
    options = ["--input", str(tmp_path / "a.mp4"), "--port", "0", "--no-browser", "--model", str(model)]
    done = CliRunner().invoke(app, ["live", str(PORTRAIT), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "pictures shown of 6" in done.output
