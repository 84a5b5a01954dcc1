"""Jobs on a Ray cluster of two nodes, of which one worker is killed in the middle."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from conftest import write_clip
from test_batch import HEADER, model, states  # noqa: F401 -- a fixture
from typer.testing import CliRunner

from mrfa.batch.jobs import Job
from mrfa.batch.workers import work_on_ray
from mrfa.cli import app
from mrfa.data.images import write_image
from mrfa.data.video import VideoReader
from mrfa.errors import InputError

ROOT = Path(__file__).parents[1]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    yield nodes
    nodes.shutdown()


def worker_of(output: Path) -> int | None:
    """The process that has a temporary file of the output open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [os.readlink(entry) for entry in (process / "fd").iterdir()]  # noqa: PTH115
        except OSError:
            continue
        if any(name.startswith(f"{output.parent}/.mrfa-") for name in opened):
            return int(process.name)
    return None


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="the system does not say which files are open")
def test_a_worker_that_dies_loses_no_job(model: Path, cluster: Any, tmp_path: Path) -> None:  # noqa: F811
    write_clip(tmp_path / "driving.mp4", frames=8, shade=90)
    write_image(tmp_path / "portrait.png", next(iter(VideoReader(tmp_path / "driving.mp4"))).image)
    path = tmp_path / "jobs.csv"
    rows = [f"portrait.png,driving.mp4,{number}.mp4,{model},none,none" for number in range(10)]
    path.write_text("\n".join([HEADER, *rows, f"nobody.png,driving.mp4,x.mp4,{model},none,none"]))
    killed: list[int] = []
    writes = Counter[str]()
    over = threading.Event()

    def watch() -> None:
        """Kill one worker that is writing, and count how often each output comes."""
        known: dict[str, int] = {}
        while not over.is_set():
            outputs = {output.name: output.stat().st_ino for output in tmp_path.glob("[0-9].mp4")}
            writes.update(name for name, number in outputs.items() if known.get(name) != number)
            known = outputs
            if not killed and len(outputs) >= 2 and (worker := worker_of(path)):
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    done = CliRunner().invoke(app, ["batch", str(path), "--ray", cluster.address])
    over.set()
    watcher.join()
    assert done.exit_code == 1 and len(killed) == 1, done.output
    assert states(path) == ["done"] * 10 + ["failed"]
    assert writes == {f"{number}.mp4": 1 for number in range(10)}
    assert all(len(list(VideoReader(tmp_path / name))) == 8 for name in writes)


def test_an_address_without_a_cluster(tmp_path: Path) -> None:
    job = Job(source=tmp_path / "a.png", driving=tmp_path / "b.mp4", output=tmp_path / "c.mp4")
    with pytest.raises(InputError, match=r"there is no Ray cluster at 127.0.0.1:1: .*refused"):
        next(work_on_ray([job], "127.0.0.1:1"))
