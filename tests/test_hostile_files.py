"""Files that cannot be read or written end in one line, before any work, and leave nothing behind."""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import typer

from mrfa.animation.extraction import extract_motion
from mrfa.animation.job import animate_file
from mrfa.animation.template import DetectorTrack, MotionTemplate
from mrfa.cli import main
from mrfa.config import parse_settings
from mrfa.conversion import convert_checkpoint
from mrfa.data.files import check_output, check_writable, replacing, replacing_folder
from mrfa.data.images import read_image, write_image
from mrfa.data.video import VideoWriter, open_frames
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import load_model, save_model

READERS: dict[str, Callable[[Path], object]] = {
    "picture": read_image,
    "video": open_frames,
    "template": MotionTemplate.load,
    "settings": parse_settings,
    "checkpoint": lambda path: convert_checkpoint(path, path.parent / "model", prior="affine"),
    "model": load_model,
}


@contextmanager
def _unprivileged() -> Iterator[None]:
    """Not as the superuser, who may do everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def _fifo(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.mp4")
    return folder / "pipe.mp4"


def _loop(folder: Path) -> Path:
    (folder / "loop.mp4").symlink_to("back.mp4")
    (folder / "back.mp4").symlink_to("loop.mp4")
    return folder / "loop.mp4"


def _long(folder: Path) -> Path:
    return folder / ("x" * 300 + ".mp4")


ODD = {"fifo": (_fifo, "regular file"), "loop": (_loop, "symbolic links"), "long": (_long, "name too long")}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("reader", READERS)
def test_odd_inputs(tmp_path: Path, reader: str, odd: str) -> None:
    make, words = ODD[odd]
    path = make(tmp_path)
    if reader == "model" and odd != "long":
        words = "is a file: a model is a folder" if odd == "fifo" else words
    with pytest.raises(InputError, match=f"(?i){words}") as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)
    assert path.name[:20] in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
def test_folders_that_nobody_may_search(tmp_path: Path, reader: str) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "file.mp4").touch()
    locked.chmod(0)
    with _unprivileged():
        with pytest.raises(InputError, match="Permission denied"):
            READERS[reader](locked / "file.mp4")
        for attempt in (
            lambda: check_output(locked / "out.mp4", [locked / "file.mp4"], [".mp4"]),
            lambda: open_frames(locked),
            lambda: load_model(locked),
            lambda: convert_checkpoint(Path(__file__), locked / "model", prior="affine"),
        ):
            with pytest.raises(InputError, match="Permission denied"):
                attempt()


@pytest.mark.parametrize("odd", ODD)
def test_odd_outputs(tmp_path: Path, odd: str) -> None:
    make, words = ODD[odd]
    path = make(tmp_path)
    before = sorted(tmp_path.iterdir())
    for attempt in (check_writable, lambda path: check_output(path, [tmp_path / "in.mp4"], [".mp4"])):
        with pytest.raises(InputError, match=f"(?i)cannot write .*({words})"):
            attempt(path)
    with pytest.raises(InputError, match=f"(?i)cannot write .*({words})"), replacing(path):
        raise AssertionError("work was begun")
    assert sorted(tmp_path.iterdir()) == before


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    for name in ("x" * 255, "x" * 251 + ".mp4", "a." + "y" * 253):
        with replacing(tmp_path / name) as temporary:
            assert len(temporary.name) < 40
            temporary.write_text("text")
        assert (tmp_path / name).read_text() == "text"


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond some kilobytes: the system's error comes at the same places as that of a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _write_template(path: Path) -> None:
    positions = torch.rand(200, 10, 2)
    detected = DetectorTrack(positions, None, "0")
    MotionTemplate(list(range(200)), [1] * 200, Fraction(1, 25), Fraction(25), None, detected).save(path)


def _write_video(path: Path) -> None:
    with VideoWriter(path, width=64, height=64, time_base=Fraction(1, 25), rate=None) as writer:
        for number in range(60):
            writer.write(np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8), number)


def _write_text(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("x" * 10000)


WRITERS: dict[str, Callable[[Path], None]] = {
    "motion.safetensors": _write_template,
    "out.mp4": _write_video,
    "notes.txt": _write_text,
    "out.png": lambda path: write_image(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.usefixtures("full_disk")
def test_full_disks(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("older")
    with pytest.raises(InputError, match=rf"cannot write .*{name}: .*(?i:too large|os error 27)") as caught:
        WRITERS[name](tmp_path / name)
    assert "\n" not in str(caught.value)
    assert (tmp_path / name).read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_full_disk_leaves_no_model_folder(tmp_path: Path, tiny_network: Network, full_disk: None) -> None:
    with (
        pytest.raises(InputError, match=r"cannot write .*/model/model\.safetensors: "),
        replacing_folder(tmp_path / "model") as temporary,
    ):
        save_model(tiny_network, temporary, "card")
    assert list(tmp_path.iterdir()) == []


def test_folders_appear_when_they_are_complete(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "model") as temporary:
        (temporary / "file").write_text("text")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "file").read_text() == "text"
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "other") as temporary:
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("claim", [replacing, replacing_folder])
def test_the_next_run_clears_what_a_killed_one_left(tmp_path: Path, claim: Callable[[Path], object]) -> None:
    for name in ("out.mp4", "other.mp4"):
        child = os.fork()
        if child == 0:
            with claim(tmp_path / name):  # type: ignore[attr-defined]
                os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
    left = set(tmp_path.iterdir())
    assert len(left) == 2
    with claim(tmp_path / "out.mp4") as temporary:  # type: ignore[attr-defined]
        assert len(left - set(tmp_path.iterdir())) == 1, "only this output's"
        # A run that is still at work keeps its own.
        with claim(tmp_path / "out.mp4"):  # type: ignore[attr-defined]
            assert temporary.exists()
        assert temporary.exists() or claim is replacing_folder
        (tmp_path / "out.mp4").unlink() if claim is replacing else (tmp_path / "out.mp4").rmdir()


def _run(body: Callable[[Path], None], path: Path) -> int:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        with replacing(path):
            body(path)

    with pytest.raises(SystemExit) as end, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["mrfa"])
        main(app)
    return int(end.value.code or 0)


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals as at a terminal: where the tests run in the background or under `nohup`, some are ignored."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_leave_nothing(tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)

    def body(path: Path) -> None:
        assert len(list(tmp_path.iterdir())) == 1
        signal.raise_signal(number)
        raise AssertionError("the signal was not heard")

    assert _run(body, tmp_path / "out.txt") == 128 + number
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "stopped: nothing was written\n"
    assert signal.getsignal(number) is before


def test_what_the_caller_ignores_stays_ignored(tmp_path: Path) -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert _run(lambda path: signal.raise_signal(signal.SIGHUP), tmp_path / "out.txt") == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("heard")
def test_interrupting_says_what_is_kept(
    tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    save_model(Network(tiny_config.network).eval(), tmp_path / "model", "card")
    write_image(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    (tmp_path / "clip").mkdir()
    write_image(tmp_path / "clip" / "1.png", np.zeros((64, 64, 3), np.uint8))
    output = tmp_path / "out" / "out.mp4"
    output.parent.mkdir()
    output.write_text("older")
    monkeypatch.setattr(VideoWriter, "write", lambda *arguments: signal.raise_signal(signal.SIGINT))
    options = ["--model", str(tmp_path / "model"), "--crop", "none", "--driving-crop", "none"]
    monkeypatch.setattr(
        "sys.argv", ["mrfa", "animate", str(tmp_path / "a.png"), str(tmp_path / "clip"), "-o", str(output), *options]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert f"stopped: {output} was not written: the file of that name is an earlier one" in capsys.readouterr().err
    assert output.read_text() == "older"
    assert list(output.parent.iterdir()) == [output]


def test_pillows_warnings_are_lines(
    tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    path = tmp_path / "large.png"
    write_image(path, np.zeros((60, 60, 3), np.uint8))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 3000)

    @app.command()
    def read() -> None:
        read_image(path)

    monkeypatch.setattr("sys.argv", ["mrfa"])
    with pytest.raises(SystemExit):
        main(app)
    error = capsys.readouterr().err
    assert error.startswith("warning: Image size (3600 pixels) exceeds limit of 3000 pixels")
    assert error.count("\n") == 1


@pytest.mark.parametrize("crop", ["0,0,100000000,100000000", "100,0,10,10"])
def test_crops_are_bounded_before_they_take_memory(tmp_path: Path, tiny_network: Network, crop: str) -> None:
    """The hint names the option by which the crop was given."""
    write_image(tmp_path / "a.png", np.zeros((60, 60, 3), np.uint8))
    (tmp_path / "clip").mkdir()
    write_image(tmp_path / "clip" / "1.png", np.zeros((60, 60, 3), np.uint8))
    save_model(tiny_network, tmp_path / "model", "card")
    files, model = (tmp_path / "a.png", tmp_path / "clip", tmp_path / "out.mp4"), tmp_path / "model"
    words = r"(more than 4 times as large as|lies outside) .*"
    with pytest.raises(InputError, match=words + r"a\.png.*--crop"):
        animate_file(*files, model=model, source_crop=crop)
    with pytest.raises(InputError, match=words + r"clip .*--driving-crop"):
        animate_file(*files, model=model, source_crop="none", driving_crop=crop)
    with pytest.raises(InputError, match=words + r"clip .* --crop"):
        extract_motion(files[1], tmp_path / "motion.safetensors", model=model, driving_crop=crop)
    with pytest.raises(InputError, match=r"no face found in .*clip: .*--driving-crop none"):
        animate_file(*files, model=model, source_crop="none")
    with pytest.raises(InputError, match=r"no face found in .*clip: .*use --crop none"):
        extract_motion(files[1], tmp_path / "motion.safetensors", model=model)
