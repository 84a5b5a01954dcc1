"""Protocols: trials, records, resuming, parts, summaries, and the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.config import Config
from mrfa.errors import InputError
from mrfa.evaluation import protocols
from mrfa.evaluation.intervals import bootstrap_interval
from mrfa.evaluation.judges import Frames, load_judges
from mrfa.evaluation.protocols import evaluate_model, judged_frames
from mrfa.evaluation.trials import cross_identity_trials
from mrfa.network.model import Network
from mrfa.weights import load_model, save_model

PIXELS = ["L1", "PSNR", "SSIM"]


@pytest.fixture
def model(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> str:
    save_model(tiny_network, tiny_config, tmp_path / "model", "# tiny")
    return str(tmp_path / "model")


def test_reconstruction_leaves_figures_table_and_sheet(people: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = evaluate_model(model, people, out, judges=PIXELS)
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["clips"], summary["frames"]) == (3, 3 + 4 + 5)
    figure = summary["methods"]["result"]["L1"]
    assert figure["low"] <= figure["mean"] <= figure["high"] and figure["clips"] == 3
    rows = list(csv.DictReader((out / "clips.csv").open()))
    assert len(rows) == 3 * 3 and {row["method"] for row in rows} == {"source", "coarse", "result"}
    means = [float(row["L1"]) for row in rows if row["method"] == "result"]
    assert np.mean(means) == pytest.approx(figure["mean"], rel=1e-4)
    assert (out / "sheet.png").is_file()


def test_paper_variant_counts_the_first_frame(people: Path, model: str, tmp_path: Path) -> None:
    paper = evaluate_model(model, people, tmp_path / "paper", judges=["L1"], variant="paper")
    standard = evaluate_model(model, people, tmp_path / "standard", judges=["L1"])
    assert paper["frames"] == standard["frames"] + 3
    rows = [row for row in csv.DictReader((tmp_path / "paper" / "clips.csv").open()) if row["method"] == "result"]
    by_frame = sum(float(row["L1"]) * int(row["frames"]) for row in rows) / sum(int(row["frames"]) for row in rows)
    assert paper["methods"]["result"]["L1"]["mean"] == pytest.approx(by_frame, rel=1e-4)
    assert paper["methods"]["source"]["L1"]["mean"] <= standard["methods"]["source"]["L1"]["mean"]


def test_finished_trials_are_not_run_again(
    people: Path, model: str, tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = evaluate_model(model, people, out, judges=["L1"], clips=2)
    asked: list[str] = []
    read = protocols._read
    monkeypatch.setattr(protocols, "_read", lambda trial, size: (asked.append(trial.name), read(trial, size))[1])
    assert evaluate_model(model, people, out, judges=["L1"], clips=2) == first and not asked
    assert evaluate_model(model, people, out, judges=["L1"])["clips"] == 3 and asked == ["ben_0"]
    evaluate_model(model, people, out, judges=PIXELS)
    assert len(asked) == 4  # other judges: all are run again
    evaluate_model(model, people, out, judges=PIXELS)
    assert len(asked) == 4
    network = load_model(model)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save_model(network, tiny_config, Path(model), "# trained on")
    evaluate_model(model, people, out, judges=PIXELS)
    assert len(asked) == 7  # other weights under the same name


def test_processes_share_the_trials(people: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = evaluate_model(model, people, tmp_path / "alone", judges=PIXELS)
    monkeypatch.setenv("WORLD_SIZE", "2")
    waited: list[str] = []
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "1")
        patch.setattr(protocols, "_collected", lambda folder, name, key: waited.append(name))
        patch.setattr(protocols, "sum_up", lambda *unused: {})
        evaluate_model(model, people, tmp_path / "shared", judges=PIXELS)
    assert len(list((tmp_path / "shared" / "trials").glob("*.npz"))) == 1 and len(waited) == 3
    monkeypatch.setenv("RANK", "0")
    assert evaluate_model(model, people, tmp_path / "shared", judges=PIXELS)["methods"] == alone["methods"]


def test_cross_identity_pairs_are_saved_and_kept(people: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    drawn = cross_identity_trials(people, pairs, pairs=3, seed=1)
    assert {trial.source.stem[:3] == trial.driving.stem[:3] for trial in drawn} == {False}
    assert len({trial.name for trial in drawn}) == 3
    assert cross_identity_trials(people, pairs, pairs=9, seed=2) == drawn
    assert len(cross_identity_trials(people, tmp_path / "all.json", pairs=99, seed=0)) == 4  # as many as there are
    pairs.write_text('[{"source": "anna_0", "driving": "carl_0"}]')
    with pytest.raises(InputError, match="carl_0"):
        cross_identity_trials(people, pairs, pairs=3, seed=1)


def test_relative_and_absolute_motion_differ(people: Path, model: str, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    judges = ["ARD (mediapipe)"]
    summary = evaluate_model(model, people, tmp_path / "out", protocol="cross-identity", judges=judges, pairs=2)
    assert summary["relative"] and summary["methods"]["result"][judges[0]]["mean"] is None  # no faces in these clips
    with pytest.raises(InputError, match="no judge for cross-identity"):
        evaluate_model(model, people, tmp_path / "other", protocol="cross-identity", judges=["L1"])


def test_result_videos_of_another_method(people: Path, tmp_path: Path) -> None:
    summary = evaluate_model(str(people), people, tmp_path / "out", judges=["L1"])
    assert summary["methods"]["result"]["L1"]["mean"] < 1e-3  # the driving videos themselves; sizes alone differ
    results = tmp_path / "results"
    results.mkdir()
    write_clip(results / "anna_0.mp4", frames=2, shade=60)
    problems = evaluate_model(str(results), people, tmp_path / "broken", judges=["L1"])["problems"]
    assert len(problems) == 3 and "has 2 frames" in problems[0] and "no result video anna_1" in problems[1]


def test_judges_of_pixels_on_known_differences() -> None:
    rng = np.random.default_rng(0)
    true = rng.integers(60, 190, (3, 64, 64, 3)).astype(np.uint8)
    noise = rng.normal(0, 10, true.shape)
    noisy = np.clip(true + noise.round(), 0, 255).astype(np.uint8)
    judges, problems = load_judges(PIXELS)
    l1, psnr, ssim = (judge(Frames(true[0], true, noisy)) for judge in judges if not hasattr(judge, "result"))
    assert not problems
    assert l1.mean() == pytest.approx(10 * np.sqrt(2 / np.pi) / 255, rel=0.02)
    assert psnr.mean() == pytest.approx(20 * np.log10(255 / 10), abs=0.1)
    assert 0 < ssim.mean() < 1
    for judge, perfect in zip(judges, (0, 100, 1), strict=True):
        assert np.allclose(judge(Frames(true[0], true, true)), perfect)  # type: ignore[operator]


def test_clip_psnr_is_never_more_than_the_mean_of_frames() -> None:
    true = np.full((2, 16, 16, 3), 100, np.uint8)
    made = true + np.array([1, 20], np.uint8).reshape(2, 1, 1, 1)
    (clip,), (frames,) = load_judges(["PSNR"])[0], load_judges(["PSNR"], variant="paper")[0]
    given = Frames(true[0], true, made)
    assert clip(given).mean() == pytest.approx(10 * np.log10(255**2 / 200.5))  # type: ignore[operator]
    assert frames(given).mean() > clip(given).mean()  # type: ignore[operator]


def test_unknown_judge() -> None:
    with pytest.raises(InputError, match="no judge 'AKD'"):
        load_judges(["AKD"])


def test_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(5, 2, 40), resamples=400)
        covered += low <= 5 <= high
    assert 175 <= covered <= 199
    assert bootstrap_interval(np.array([3.0])) == (3.0, 3.0)


def test_frames_that_are_judged() -> None:
    assert judged_frames(5, None, include_first=False) == [1, 2, 3, 4]
    assert judged_frames(5, None, include_first=True) == [0, 1, 2, 3, 4]
    assert judged_frames(9, 3, include_first=False) == [1, 4, 8]
    assert judged_frames(1, None, include_first=False) == [0]


def test_command(people: Path, model: str, tmp_path: Path) -> None:
    arguments = ["evaluate", "protocol", model, "--data", str(people), "--folder", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*arguments, "--judges", "L1,PSNR", "--frames-per-clip", "2"])
    assert done.exit_code == 0 and "L1" in done.stdout
    wrong = CliRunner().invoke(app, [*arguments, "--variant", "best"])
    assert isinstance(wrong.exception, InputError) and "best" in str(wrong.exception)
