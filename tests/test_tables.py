"""The paper's tables: published figures, layouts, and models beside them."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from conftest import write_clip
from typer.testing import CliRunner

from mrfa.animation.animator import Animator
from mrfa.cli import app
from mrfa.config import preset_names
from mrfa.errors import InputError
from mrfa.evaluation.settings import TableSettings
from mrfa.evaluation.tables import paper
from mrfa.evaluation.tables.paper import make_paper_table
from mrfa.evaluation.tables.published import published_table
from mrfa.evaluation.tables.table import Measured, assemble, to_csv, to_markdown
from mrfa.network.model import Network
from mrfa.training.config import Config
from mrfa.weights import save_model


def _summary(problems: list[str] | None = None, **means: float) -> dict[str, Any]:
    names = {"l1": "L1", "akd": "AKD (mediapipe)", "psnr": "PSNR"}
    figures = {names[key]: {"mean": mean, "low": mean * 0.9, "high": mean * 1.1, "clips": 3} for key, mean in means.items()}
    metrics = {name: {"better": "higher" if name == "PSNR" else "lower"} for name in figures}
    return {"methods": {"source": {}, "result": figures}, "metrics": metrics, "problems": problems or []}


def _lines(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(
    ("number", "key", "data", "metric", "value"),
    [
        (1, "ours", "VoxCeleb1", "AKD", 1.155),
        (1, "dagan", "CelebV-HQ", "PSNR", 21.37),
        (1, "fnevr", "CelebV-HQ", "L1", None),
        (2, "mtia", "VoxCeleb1", "FID", 66.65),
        (3, "thin-plate-npmr", "VoxCeleb1", "AED", 0.107),
        (4, "without-flow", "VoxCeleb1", "L1", 0.0362),
    ],
)
def test_published_figures(number: int, key: str, data: str, metric: str, value: float | None) -> None:
    assert published_table(number).figures(key).get((data, metric)) == value


def test_rows_of_the_ablations_are_presets() -> None:
    for number in (3, 4, 5, 6):
        keys = {f"table{number}-{key}" for key in published_table(number).rows}
        assert keys == {name for name in preset_names() if name.startswith(f"table{number}-")}


def test_measured_figures_stand_beside_the_published_ones() -> None:
    summary = _summary(["LPIPS (VGG): place vgg16 here"], l1=0.04, akd=1.5)
    made = assemble(3, [Measured("affine", None, summary), Measured("mine", "my own", summary)], ["a note"])
    text = to_markdown(made)
    lines = _lines(text)
    head, rows = lines[0], {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert "AKD (mediapipe)" in head and "AKD (paper)" in head
    assert rows["FOMM"]["L1"] == "0.0400 [0.0360, 0.0440]" and rows["FOMM"]["L1 (paper)"] == "0.0386"
    assert rows["my own"]["L1 (paper)"] == "" and rows["NPMR"]["L1"] == ""
    assert "affine" not in rows and len(rows) == len(lines) - 2  # no row twice
    assert "- LPIPS: LPIPS (VGG): place vgg16 here" in text and "- a note" in text


def test_methods_stand_across_in_table_2() -> None:
    lines = _lines(to_markdown(assemble(2, [])))
    assert lines[0][1:3] == ["FOMM", "MRAA"] and lines[0][-1] == "Ours"
    assert ["FID (paper)", "70.00"] in [line[:2] for line in lines]


def test_csv_has_the_ends_of_the_intervals() -> None:
    made = assemble(1, [Measured("a", None, _summary(l1=0.1)), Measured("b", None, _summary(l1=0.2, psnr=20))])
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(to_csv(made)))}
    assert rows["a"] | {"L1": "0.1", "L1 low": "0.09", "PSNR": ""} == rows["a"] and rows["b"]["PSNR high"] == "22"
    assert rows["FOMM"]["L1"] == rows["FOMM"]["L1 low"] == "" and rows["FOMM"]["L1 (paper, VoxCeleb1)"] == "0.0412"


def test_models_and_result_videos_in_one_table(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("anna_0", "ben_0"):
        write_clip(clips / f"{name}.mp4", frames=3, shade=90)
    save_model(tiny_network, tmp_path / "model", "# tiny")
    models = [f"--models=iterations-5={tmp_path / 'model'}", f"--models=videos={clips}"]
    arguments = ["table", "6", f"--data={clips}", f"--folder={tmp_path / 'out'}", "--metrics=L1,PSNR", "--device=cpu"]
    done = CliRunner().invoke(app, [*arguments, *models, f"--output={tmp_path / 'table.md'}"], catch_exceptions=False)
    assert done.exit_code == 0 and done.stdout.strip() == (tmp_path / "table.md").read_text().strip()
    lines = _lines(done.stdout)
    rows = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    (speed,) = (name for name in lines[0] if name.startswith("FPS (cpu"))
    own = rows["5"]
    assert float(own[speed]) > 0 and "[" in own["L1"] and own["L1 (paper)"]
    videos = next(row for title, row in rows.items() if title.startswith("videos"))
    assert float(videos["L1"].split()[0]) < 0.01 and not videos[speed]
    rows = list(csv.DictReader((tmp_path / "table.csv").open()))
    assert {"L1", "L1 low", "L1 high", "L1 (paper)"} < rows[0].keys()


def test_tables_are_measured_as_the_published_figures_were() -> None:
    assert (TableSettings().variant, TableSettings().frames_per_clip, TableSettings().clips) == ("paper", 0, 0)
    assert (TableSettings().motion, TableSettings().start) == ("relative", "first")


def test_a_table_says_its_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def evaluated(model: str, data: Path, settings: TableSettings, **unused: object) -> dict[str, Any]:
        asked.append(settings.protocol)
        return _summary(l1=0.1) | {"clips": 1, "frames": 1}

    monkeypatch.setattr(paper, "evaluate", evaluated)
    for number in (2, 3):
        make_paper_table(number, ["small"], data=tmp_path, folder=tmp_path)
    assert asked == ["cross-identity", "reconstruction"]


def test_speed_is_that_of_the_median_frame(tiny_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.25
        return now

    monkeypatch.setattr(paper.time, "perf_counter", clock)
    assert paper.frames_per_second(Animator(tiny_network)) == 4


def test_wrong_tables_and_models(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table 7"):
        make_paper_table(7, ["small"], data=tmp_path, folder=tmp_path)
    with pytest.raises(InputError, match="no models"):
        make_paper_table(1, [], data=tmp_path, folder=tmp_path)
    with pytest.raises(InputError, match="no model 'nothing'"):
        make_paper_table(1, ["nothing"], data=tmp_path, folder=tmp_path)
