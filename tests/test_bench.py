"""The benchmark: what it counts, what it says, and that it ends as it began."""

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mrfa.bench import machine, measure, ways
from mrfa.bench.machine import Stopwatch, describe, matrix_peak
from mrfa.bench.measure import Figures, Report, Spread
from mrfa.bench.memory import Memory, peak_memory
from mrfa.bench.report import draw_chart, make_tables, to_json
from mrfa.bench.subject import Subject, make_subject
from mrfa.bench.ways import ANIMATE, BASELINE, DETECT, ENCODE, FORWARD, Mode, load_network, make_way
from mrfa.cli import main
from mrfa.data.video import VideoReader
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import save_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network(tiny_config: Config) -> Network:
    torch.manual_seed(0)
    return Network(tiny_config.network).eval()


@pytest.fixture(scope="module")
def model(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(network, folder, "card")
    return folder


@pytest.fixture(scope="module")
def subject(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    """Of three frames, which the tiny network drives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mrfa.bench.subject.load_model", lambda name, device: network)
        yield make_subject(tmp_path_factory.mktemp("subject"), frames=3, side=128, size=64, device=CPU)


def test_the_subject_is_made_of_what_the_package_has(subject: Subject) -> None:
    assert subject.source.shape == (64, 64, 3)
    assert [frame.shape for frame in subject.frames] == [(64, 64, 3)] * 3
    assert [frame.image.shape for frame in VideoReader(subject.driver)] == [(128, 128, 3)] * 3


def test_ways_draw_the_same(network: Network, subject: Subject, tmp_path: Path) -> None:
    plain, fast = (make_way(network, mode, 2) for mode in (BASELINE, "fp32"))
    expected, drawn = ([way.example(subject.source, frame) for frame in subject.frames] for way in (plain, fast))
    assert expected[0].image.shape == (1, 3, 64, 64)
    assert measure._difference(drawn, expected) < 1e-5
    for way, parts in ((plain, [FORWARD]), (fast, [ENCODE, DETECT, ANIMATE])):
        assert list(way.draw(subject.source, subject.frames)) == parts
        way.animate_file(subject.portrait, subject.driver, tmp_path / "out.mp4")
        assert [frame.image.shape for frame in VideoReader(tmp_path / "out.mp4")] == [(128, 128, 3)] * 3


def test_modes(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    way = make_way(network, "bf16", 2)
    assert isinstance(way, Mode) and way.dtype == torch.bfloat16
    for mode in ("auto", "fp8", "+compile", "onnxruntime+fp8"):
        with pytest.raises(InputError, match="there is no mode"):
            make_way(network, mode, 2)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(ways, "Animator", lambda network, **options: asked.update(options))
    make_way(network, "openvino+bf16", 3)
    assert asked == {"dtype": "bf16", "backend": "openvino", "compile": False, "batch_size": 3}
    make_way(network, "compile", None)
    assert asked == {"dtype": None, "backend": "torch", "compile": True, "batch_size": None}


def test_a_preset_has_random_weights(monkeypatch: pytest.MonkeyPatch, tiny_config: Config) -> None:
    monkeypatch.setattr(ways, "load_config", lambda name: tiny_config)
    assert load_network("live", "cpu").config == tiny_config.network
    with pytest.raises(InputError, match="no model 'lively'"):
        load_network("lively", "cpu")


def test_operations_are_those_of_a_frame(network: Network, subject: Subject) -> None:
    """The portrait's are not counted: two portraits in the network's one forward pass take about twice as many."""
    found = measure._operations(network, subject)
    with torch.inference_mode(), measure.FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert 0.3 * counter.get_total_flops() < found < 0.8 * counter.get_total_flops()


def test_memory_is_that_of_a_process_of_its_own(model: Path, subject: Subject) -> None:
    host, device = peak_memory(str(model), "fp32", "cpu", 2, subject.portrait, subject.driver)
    assert device is None
    assert host is None or 10 < host < 1000


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = describe(CPU)
    assert found.processor and found.instructions and found.threads == 1 <= found.cores
    assert found.versions["torch"] == torch.__version__
    monkeypatch.setattr(machine, "SIDE", {"cpu": 64})
    assert 1e6 < matrix_peak(CPU, torch.float32) < 1e14
    monkeypatch.setattr(machine.time, "perf_counter", iter([1.0, 3.0, 3.5]).__next__)
    watch = Stopwatch()
    assert (watch.lap(), watch.lap()) == (2.0, 0.5)


class Known:
    """A way that takes known times."""

    dtype = torch.float32

    def __init__(self, name: str, parts: dict[str, float], watch: list[float], file: float) -> None:
        self.name, self._parts, self._watch, self._file = name, parts, watch, file

    def draw(self, source: np.ndarray, frames: Sequence[np.ndarray]) -> dict[str, float]:
        return self._parts

    def animate_file(self, portrait: Path, driver: Path, output: Path) -> None:
        self._watch.append(self._file)

    def example(self, source: np.ndarray, frame: np.ndarray) -> Any:
        return measure.Output(torch.full((1, 3, 4, 4), 0.5 + 0.25 * (self.name == "fast")), *[None] * 5)  # type: ignore[arg-type]


def test_figures_of_known_times(network: Network, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[float] = []

    class Watch:
        lap = staticmethod(lambda: taken.pop())

    known = {
        BASELINE: Known(BASELINE, {FORWARD: 3.0}, taken, 6.0),
        "fast": Known("fast", {ENCODE: 7.0, DETECT: 0.3, ANIMATE: 0.9}, taken, 1.5),
    }
    monkeypatch.setattr(measure, "load_network", lambda *arguments: network)
    monkeypatch.setattr(measure, "make_way", lambda network, mode, batch: known[mode])
    monkeypatch.setattr(measure, "make_subject", lambda *arguments, **options: subject)
    monkeypatch.setattr(measure, "Stopwatch", Watch)
    monkeypatch.setattr(measure, "_stages", lambda *arguments: {"decode": 0.03})
    monkeypatch.setattr(measure, "peak_memory", lambda *arguments: Memory(100.0, None))
    monkeypatch.setattr(measure, "matrix_peak", lambda *arguments: 1e9)
    rounds: list[tuple[int, int]] = []
    report = measure.measure(
        "tiny", ["fast"], device="cpu", frames=3, rounds=2, side=128, progress=lambda *done: rounds.append(done)
    )
    plain, fast = report.ways
    assert rounds == [(0, 2), (1, 2), (2, 2)]
    assert (plain.model_only.median, plain.file_to_file.median) == (1.0, 0.5)
    assert (fast.model_only.median, fast.file_to_file.median) == (pytest.approx(2.5), 2.0)
    assert (fast.faster.median, fast.faster_file_to_file.median) == (pytest.approx(2.5), 4.0)
    assert fast.parts == {ENCODE: Spread(7000, 7000, 7000), DETECT: Spread(100, 100, 100), ANIMATE: Spread(300, 300, 300)}
    assert report.stages == {"decode": Spread(10, 10, 10)}
    assert fast.difference == pytest.approx(0.25) and plain.difference == 0
    assert fast.share_of_peak == pytest.approx(2.5 * report.gflop)


@pytest.fixture
def report() -> Report:
    one, two = Spread(4, 3, 5), Spread(10, 9, 12)
    plain = Figures(BASELINE, one, one, Spread(1, 1, 1), Spread(1, 1, 1), {FORWARD: two}, 0.1, 0, Memory(300, None))
    fast = Figures("bf16", two, one, Spread(2.5, 2, 3), Spread(1, 1, 1), {DETECT: one}, 0.2, 1e-3, Memory(None, 70))
    return Report("small", describe(CPU), 2, 48, 256, 3, 9.9, {"fp32": 55.0}, {"decode": one}, [plain, fast])


def test_report(report: Report) -> None:
    from rich.console import Console

    text = io.StringIO()
    Console(width=220, file=text).print(*make_tables(report))
    for expected in (
        "small: 9.9 GFLOP",
        "10.0 [9.0 to 12.0]",
        "2.50",
        "20%",
        "1.0e-03",
        "? + 70 of the GPU",
        "55 GFLOP/s in fp32",
    ):
        assert expected in text.getvalue()
    values = json.loads(to_json(report))
    assert values["ways"][1]["faster"] == {"median": 2.5, "low": 2, "high": 3}
    assert values["machine"]["versions"]["torch"] == torch.__version__


def test_chart(report: Report) -> None:
    pytest.importorskip("matplotlib")
    picture = draw_chart(report)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert (picture != 255).any(axis=2).mean() > 0.1


def test_command(report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    asked: dict[str, Any] = {}

    def measured(model: str, modes: Sequence[str], **options: Any) -> Report:
        asked.update(options, model=model, modes=modes)
        return report

    monkeypatch.setattr(measure, "measure", measured)
    outputs = ["-o", str(tmp_path / "b.json"), "--chart", str(tmp_path / "b.png")]
    monkeypatch.setattr("sys.argv", ["mrfa", "bench", "live", "--mode", "fp32", "--mode", "bf16", "--frames", "7", *outputs])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    assert asked["model"] == "live" and asked["modes"] == ["fp32", "bf16"] and asked["frames"] == 7
    assert "9.9 GFLOP" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["model"] == "small"
    assert (tmp_path / "b.png").stat().st_size > 1000


def test_a_chart_without_matplotlib_is_said_before_the_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mrfa.extras.find_spec", lambda module: None)
    monkeypatch.setattr("sys.argv", ["mrfa", "bench", "--chart", str(tmp_path / "b.png")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "this needs matplotlib: install it with  pip install 'mrfa[evaluate]'" in capsys.readouterr().err
