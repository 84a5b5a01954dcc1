"""Many jobs from a file: none is lost, none is done twice, and none keeps the others from their end."""

import csv
import multiprocessing
import os
import random
import re
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from conftest import write_clip
from typer.testing import CliRunner

from mrfa.animation.options import Options
from mrfa.batch import work, workers
from mrfa.batch.jobs import Job, read_jobs
from mrfa.cli import app
from mrfa.data.files import alone
from mrfa.data.images import write_image
from mrfa.data.origin import read_origin
from mrfa.data.video import VideoReader
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import save_model

HEADER = "source,driving,output,model,crop,driving-crop"
Rows = Callable[..., Path]
forks = pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="the machine has no forks")


@pytest.fixture(scope="module")
def model(tiny_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    detector = tiny_config.network.detector.model_copy(update={"layout": "free"})
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(Network(tiny_config.network.model_copy(update={"detector": detector})).eval(), folder, "card")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _imports_once() -> None:
    """The processes are forks of one that has imported all that they need."""
    multiprocessing.set_forkserver_preload(["mrfa.batch.workers", "test_batch"])


@pytest.fixture
def jobs(model: Path, tmp_path: Path) -> Rows:
    """Writes a jobs file of that many good jobs, and of other rows."""
    write_clip(tmp_path / "driving.mp4", frames=3, shade=90)
    picture = next(iter(VideoReader(tmp_path / "driving.mp4"))).image
    write_image(tmp_path / "portrait.png", picture)

    def write(good: int, *others: str, header: str = HEADER) -> Path:
        rows = [f"portrait.png,driving.mp4,{number}.mp4,{model},none,none" for number in range(good)]
        path = tmp_path / "jobs.csv"
        path.write_text("\n".join([header, *rows, *(other.replace("MODEL", str(model)) for other in others)]) + "\n")
        return path

    return write


def states(path: Path) -> list[str]:
    with path.with_name("jobs-report.csv").open(newline="") as file:
        return [row["state"] for row in csv.DictReader(file)]


def test_rows_and_mappings_have_the_options_of_animate(jobs: Rows, model: Path, tmp_path: Path) -> None:
    row = "portrait.png,driving.mp4,b.mp4,MODEL,none,,0.5,yes,12,no"
    from_csv = read_jobs(jobs(0, row, header=f"{HEADER},smooth,adapt_scale,start,paste-back"))
    (tmp_path / "jobs.yaml").write_text(
        f"- {{source: portrait.png, driving: driving.mp4, output: b.mp4, model: {model}, crop: none, smooth: 0.5,\n"
        "   adapt-scale: true, start: 12, paste-back: false}\n"
    )
    (job,) = from_csv
    assert read_jobs(tmp_path / "jobs.yaml") == from_csv
    assert (job.smooth, job.adapt_scale, job.start, job.paste_back, job.driving_crop) == (0.5, True, "12", False, "auto")
    assert job.output == tmp_path / "b.mp4" and job.source == tmp_path / "portrait.png"


def test_every_option_of_animate_is_a_column() -> None:
    animate = typer.main.get_command(app).commands["animate"]  # type: ignore[attr-defined]
    parameters = {parameter.name: None if parameter.required else parameter.default for parameter in animate.params}
    defaults = {name: None if field.is_required() else field.default for name, field in Job.model_fields.items()}
    assert parameters == defaults


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (f"{HEADER},speed", "portrait.png,driving.mp4,b.mp4,,,,2", "line 1: mrfa animate has no option 'speed'; it has adapt-"),
        (f"{HEADER},crop", "portrait.png,driving.mp4,b.mp4,,none,,none", "line 1: 'crop' is there twice"),
        (f"{HEADER},lips", "portrait.png,driving.mp4,b.mp4,,,,3", "line 3: lips: Input should be less than or equal to 2"),
        (f"{HEADER},motion", "portrait.png,driving.mp4,b.mp4,,,,fast", "line 3: there is no motion 'fast'"),
        (HEADER, "portrait.png,driving.mp4,b.mp4,,here", "line 3: 'here' is no crop"),
        (HEADER, "portrait.png,,b.mp4", "line 3: driving: Field required"),
        (HEADER, "portrait.png,driving.mp4,b.gif", "line 3: cannot write .*b.gif"),
        (HEADER, "portrait.png,driving.mp4,nowhere/b.mp4", "line 3: cannot write .*there is no folder"),
        (HEADER, "portrait.png,driving.mp4,./0.mp4", "line 3: writes the output of line 2"),
        (HEADER, "portrait.png,0.mp4,b.mp4", "line 2: the output .*0.mp4 is an input of line 3"),
        (HEADER, "portrait.png,driving.mp4,b.mp4,,,,", "line 3: 7 values, but the first line names 6 columns"),
        (HEADER, 'portrait.png,"driving.mp4', "line 3: unexpected end of data"),
    ],
)
def test_a_mistake_is_told_before_any_work(header: str, row: str, message: str, jobs: Rows, tmp_path: Path) -> None:
    path = jobs(1, row, header=header)
    before = set(tmp_path.iterdir())
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}, {message}"):
        read_jobs(path)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no jobs"),
        ("source: a.png", "must hold a list of jobs"),
        ("- source: a.png\n- b.png", "line 2: a job is a mapping"),
        ("- source: a.png\n  speed: 2", "line 2: mrfa animate has no option 'speed'"),
        ("- source: a.png\n  source: b.png", "line 2: 'source' is there twice"),
        ("- source: [a.png]", r"line 1: \['a.png'\] is no name of a file"),
        ("- source: a.png\n  driving: b.mp4\n  output: c.mp4\n  batch-size: 0", "line 4: batch-size: Input should be"),
        ("- &a {source: a.png}\n- *a", "alias"),
    ],
)
def test_mistakes_in_yaml(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_jobs(path)


def test_bad_jobs_do_not_stop_the_rest_and_done_ones_are_skipped(jobs: Rows, tmp_path: Path) -> None:
    (tmp_path / "damaged.mp4").write_bytes(b"no video")
    bad = ("nobody.png,driving.mp4,x.mp4,MODEL,none,none", "portrait.png,damaged.mp4,y.mp4,MODEL,none,none")
    done = CliRunner().invoke(app, ["batch", str(path := jobs(2, *bad)), "--workers", "2"])
    assert done.exit_code == 1, done.output
    assert states(path) == ["done", "done", "failed", "failed"]
    assert "2 done, 2 failed" in done.output and "nobody.png" in done.output
    assert sorted(file.name for file in tmp_path.glob("*.mp4")) == ["0.mp4", "1.mp4", "damaged.mp4", "driving.mp4"]
    origin = read_origin(tmp_path / "0.mp4")
    assert origin is not None and origin.job == read_jobs(path)[0].fingerprint()

    before = (tmp_path / "0.mp4").stat().st_mtime_ns
    assert CliRunner().invoke(app, ["batch", str(path := jobs(2))]).exit_code == 0
    assert states(path) == ["skipped", "skipped"] and (tmp_path / "0.mp4").stat().st_mtime_ns == before


def test_what_was_made_from_something_else_is_made_anew(jobs: Rows, tmp_path: Path) -> None:
    (job,) = read_jobs(jobs(1))
    assert [work.do(job).state for _ in range(2)] == ["done", "skipped"]
    assert work.do(job.model_copy(update={"device": "cpu", "batch_size": 1})).state == "skipped"
    assert work.do(job.model_copy(update={"compare": True})).state == "done"
    os.utime(job.driving, (1, 1))
    assert work.do(job.model_copy(update={"compare": True})).state == "done"
    job.output.write_bytes(job.output.read_bytes()[:100])
    assert work.do(job).state == "done"


def test_a_model_is_loaded_once_a_worker(jobs: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    work._animator.cache_clear()
    assert [work.do(job).state for job in read_jobs(jobs(3))] == ["done"] * 3
    assert work._animator.cache_info().misses == 1


def run_apart(path: Path, animate: Callable[..., Any] = Job.animate) -> None:
    """A run in a process group of its own, whose workers are forks of it: it has computed nothing."""
    os.setsid()
    Job.animate = animate  # type: ignore[method-assign]
    workers.START_METHOD = "fork"
    sys.exit(CliRunner().invoke(app, ["batch", str(path), "--workers", "2"]).exit_code)


def start_apart(*arguments: Any) -> Any:
    process = multiprocessing.get_context("forkserver").Process(target=run_apart, args=arguments)
    process.start()
    return process


def fatal_animate(self: Job, *arguments: Any, **more: Any) -> object:
    """It kills the process of the second job every time, and that of the first one once."""
    tried = self.output.with_suffix(".tried")
    if self.output.name == "1.mp4" or (self.output.name == "0.mp4" and not tried.exists()):
        tried.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return Options.animate(self, *arguments, **more)


@forks
def test_a_process_that_dies_takes_no_job_with_it(jobs: Rows) -> None:
    process = start_apart(path := jobs(3), fatal_animate)
    process.join()
    assert process.exitcode == 1
    assert states(path) == ["done", "failed", "done"]
    assert "its process died, 2 times" in path.with_name("jobs-report.csv").read_text()


def test_two_runs_do_not_meet(jobs: Rows) -> None:
    path = jobs(1)
    with alone(path, "mrfa batch"):
        done = CliRunner().invoke(app, ["batch", str(path)])
    assert isinstance(done.exception, InputError) and "another mrfa batch is at work" in str(done.exception)


@forks
def test_kills_lose_nothing(jobs: Rows, tmp_path: Path) -> None:
    path, draw = jobs(8), random.Random(0)
    seen: dict[str, tuple[int, int]] = {}
    for _ in range(2):
        process = start_apart(path)
        while process.is_alive() and len(list(tmp_path.glob("[0-9].mp4"))) <= len(seen):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))  # and so in the middle of others
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()
        for output in tmp_path.glob("[0-9].mp4"):  # whole, and never written again
            state = output.stat().st_ino, output.stat().st_mtime_ns
            assert seen.setdefault(output.name, state) == state
            assert len(list(VideoReader(output))) == 3
    process = start_apart(path)
    process.join()
    assert process.exitcode == 0
    assert set(states(path)) <= {"done", "skipped"} and states(path).count("skipped") == len(seen)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".mrfa-")] == []
