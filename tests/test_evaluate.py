"""Evaluations: trials, records, resuming, parts, shares, summaries, and the command."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import write_clip
from typer.testing import CliRunner

from mrfa.animation.animator import Animator
from mrfa.animation.face_motion import FaceMotion
from mrfa.animation.motion import RelativeMotion
from mrfa.cli import app
from mrfa.data.clips import read_clip
from mrfa.data.files import check_writable
from mrfa.errors import InputError
from mrfa.evaluation import evaluate as running
from mrfa.evaluation.evaluate import evaluate, measured_frames
from mrfa.evaluation.figures.grid import Row
from mrfa.evaluation.methods import CrossMotion, NetworkMethod
from mrfa.evaluation.metrics import Metric, load_metrics
from mrfa.evaluation.metrics.metric import BOTH, Better, per_frame
from mrfa.evaluation.records import TrialRecord
from mrfa.evaluation.settings import Settings
from mrfa.evaluation.sheet import write_sheet, write_strip
from mrfa.evaluation.summary import bootstrap_interval, make_table, sum_up
from mrfa.evaluation.trials import Trial, chosen_clips, cross_identity_trials
from mrfa.network.model import Network, Output
from mrfa.training.config import Config
from mrfa.weights import load_model, save_model

PIXELS = ("L1", "PSNR", "SSIM")


def _settings(metrics: tuple[str, ...] = ("L1",), **more: Any) -> Settings:
    """All frames, without baselines but where these are asked for."""
    return Settings(metrics=metrics, **{"frames_per_clip": 0, "baselines": False} | more)


@pytest.fixture
def model(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> str:
    save_model(tiny_network, tmp_path / "model", "# tiny")
    return str(tmp_path / "model")


def test_reconstruction_leaves_figures_table_and_sheet(people: Path, model: str, tmp_path: Path) -> None:
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    summary = evaluate(model, people, _settings(PIXELS, baselines=True), folder=out, sheet=sheet)
    assert summary == json.loads((out / "summary.json").read_text())
    assert (summary["clips"], summary["frames"], summary["motion"]) == (3, 3 + 4 + 5, "absolute")
    figure = summary["methods"]["result"]["L1"]
    assert figure["low"] <= figure["mean"] <= figure["high"] and figure["clips"] == 3
    rows = list(csv.DictReader((out / "clips.csv").open()))
    assert len(rows) == 3 * 4 and {row["method"] for row in rows} == {"source", "thin-plate", "coarse", "result"}
    means = [float(row["L1"]) for row in rows if row["method"] == "result"]
    assert np.mean(means) == pytest.approx(figure["mean"], rel=1e-4)
    # Portrait, driving, thin-plate, coarse, result, difference; the worst on top.
    assert cv2.imread(str(sheet)).shape == (18 + 3 * (18 + 162), 6 * 162 - 2, 3)
    assert (out / "sheet.png").read_bytes() == sheet.read_bytes()
    shares = {method: figures["L1"]["share"] for method, figures in summary["methods"].items()}
    assert shares["source"] == 1 and shares["result"] == pytest.approx(
        figure["mean"] / summary["methods"]["source"]["L1"]["mean"]
    )
    assert summary["methods"]["result"]["PSNR"]["share"] is None


def test_without_a_folder_only_the_sheet_stays(people: Path, model: str, tmp_path: Path) -> None:
    kept, before = evaluate(model, people, _settings(), folder=tmp_path / "out"), set(tmp_path.iterdir())
    assert evaluate(model, people, _settings(), sheet=tmp_path / "sheet.png") == kept
    assert set(tmp_path.iterdir()) - before == {tmp_path / "sheet.png"}
    with pytest.raises(InputError, match="no folder"):
        evaluate(model, people, _settings(), sheet=tmp_path / "missing" / "sheet.png")
    with pytest.raises(InputError, match="cannot make the folder"):
        evaluate(model, people, _settings(), folder=tmp_path / "sheet.png")


def test_paper_variant_counts_the_first_frame(people: Path, model: str, tmp_path: Path) -> None:
    paper = evaluate(model, people, _settings(variant="paper", baselines=True), folder=tmp_path / "paper")
    standard = evaluate(model, people, _settings(baselines=True), folder=tmp_path / "standard")
    assert paper["frames"] == standard["frames"] + 3
    rows = [row for row in csv.DictReader((tmp_path / "paper" / "clips.csv").open()) if row["method"] == "result"]
    by_frame = sum(float(row["L1"]) * int(row["frames"]) for row in rows) / sum(int(row["frames"]) for row in rows)
    assert paper["methods"]["result"]["L1"]["mean"] == pytest.approx(by_frame, rel=1e-4)
    assert paper["methods"]["source"]["L1"]["mean"] <= standard["methods"]["source"]["L1"]["mean"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the trials that are run."""
    names: list[str] = []
    run = running.run_trial
    monkeypatch.setattr(running, "run_trial", lambda evaluation, trial: (names.append(trial.name), run(evaluation, trial))[1])
    return names


def test_finished_trials_are_not_run_again(
    people: Path, model: str, tiny_config: Config, tmp_path: Path, asked: list[str]
) -> None:
    out = tmp_path / "out"
    first = evaluate(model, people, _settings(clips=2), folder=out)
    assert asked == ["anna_0", "ben_0"]
    assert evaluate(model, people, _settings(clips=2), folder=out) == first and len(asked) == 2
    assert evaluate(model, people, _settings(), folder=out)["clips"] == 3 and asked[2:] == ["anna_1"]
    evaluate(model, people, _settings(PIXELS), folder=out)
    assert len(asked) == 6  # other metrics: all are run again
    evaluate(model, people, _settings(PIXELS), folder=out)
    assert len(asked) == 6
    network = load_model(model)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save_model(network, Path(model), "# trained on")
    evaluate(model, people, _settings(PIXELS), folder=out)
    assert len(asked) == 9  # other weights under the same name


def test_a_clip_that_was_mended_is_run_again(people: Path, model: str, tmp_path: Path, asked: list[str]) -> None:
    good = (people / "ben_0.mp4").read_bytes()
    (people / "ben_0.mp4").write_bytes(b"no video at all")
    summary = evaluate(model, people, _settings(), folder=tmp_path / "out")
    assert summary["clips"] == 2 and len(summary["problems"]) == 1 and "ben_0" in summary["problems"][0]
    (people / "ben_0.mp4").write_bytes(good)
    assert evaluate(model, people, _settings(), folder=tmp_path / "out")["clips"] == 3 and asked[3:] == ["ben_0"]


def test_an_evaluation_without_any_trial_is_an_error(people: Path, model: str, tmp_path: Path) -> None:
    for clip in people.iterdir():
        clip.write_bytes(b"no video at all")
    with pytest.raises(InputError, match=r"none of 3 clips could be evaluated; anna_0: .*anna_0\.mp4"):
        evaluate(model, people, _settings(), folder=tmp_path / "out")
    assert not (tmp_path / "out" / "summary.json").exists()


def test_processes_share_the_trials(people: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = evaluate(model, people, _settings(PIXELS), folder=tmp_path / "alone")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(running, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(running, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setenv("RANK", "1")
    shared = tmp_path / "shared"
    # The other process never comes: that is an error, not an endless wait.
    with pytest.raises(InputError, match="2 trials such as anna_0 did not come"):
        evaluate(model, people, _settings(PIXELS), folder=shared)
    assert [path.name for path in (shared / "trials").glob("*.npz")] == ["anna_1.npz"] and not (shared / "summary.json").exists()
    monkeypatch.setenv("RANK", "0")
    assert evaluate(model, people, _settings(PIXELS), folder=shared)["methods"] == alone["methods"]
    (shared / "summary.json").unlink()
    monkeypatch.setenv("RANK", "1")
    assert evaluate(model, people, _settings(PIXELS), folder=shared)["methods"] == alone["methods"]
    assert not (shared / "summary.json").exists()  # the first process alone writes it
    with pytest.raises(InputError, match="--folder"):
        evaluate(model, people, _settings(PIXELS))


def test_clips_are_evenly_spaced(people: Path) -> None:
    assert [clip.path.stem for clip in chosen_clips(people, 1)] == ["anna_1"]
    assert [clip.path.stem for clip in chosen_clips(people, 2)] == ["anna_0", "ben_0"]
    assert len(chosen_clips(people, 0)) == len(chosen_clips(people, 9)) == 3


def test_cross_identity_pairs_are_saved_and_kept(people: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    drawn = cross_identity_trials(people, pairs, pairs=3, seed=1)
    assert {trial.source.stem[:3] == trial.driving.stem[:3] for trial in drawn} == {False}
    assert len({trial.name for trial in drawn}) == 3
    assert cross_identity_trials(people, pairs, pairs=9, seed=2) == drawn
    assert len(cross_identity_trials(people, tmp_path / "all.json", pairs=99, seed=0)) == 4  # as many as there are
    some = cross_identity_trials(people, None, pairs=99, seed=0, clips=2)
    assert {trial.name for trial in some} == {"anna_0--ben_0", "ben_0--anna_0"}
    pairs.write_text('[{"source": "anna_0", "driving": "carl_0"}]')
    with pytest.raises(InputError, match="carl_0"):
        cross_identity_trials(people, pairs, pairs=3, seed=1)
    for content, message in (
        ("[]", "names no pairs"),
        ("{}", "names no pairs"),
        ("[3]", "is not a list"),
        ("[", "is not a list"),
    ):
        pairs.write_text(content)
        with pytest.raises(InputError, match=message):
            cross_identity_trials(people, pairs, pairs=3, seed=1)


def test_cross_identity(people: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings(("ARD (mediapipe)",), cross_identity=True, pairs=2, baselines=True)
    summary = evaluate(model, people, settings, folder=tmp_path / "out")
    assert (summary["motion"], summary["start"], summary["protocol"], summary["clips"]) == ("auto", "best", "cross-identity", 2)
    assert list(summary["methods"]) == ["source", "coarse", "result"]
    assert summary["methods"]["result"]["ARD (mediapipe)"]["mean"] is None  # no faces in these clips
    seen: list[bool] = []
    metric = Metric("m", "lower", BOTH, lambda frames: (seen.append(frames.cross_identity), np.zeros(len(frames.driving)))[1])
    with monkeypatch.context() as patch:
        patch.setattr(running, "load_metrics", lambda names, needs: ([metric], []))
        for crossed in (True, False):
            evaluate(model, people, _settings(cross_identity=crossed, pairs=1, clips=2))
    assert seen == [True] * 2 + [False] * 4
    with pytest.raises(InputError, match="no metric for cross-identity"):
        evaluate(model, people, _settings(cross_identity=True))


def test_motions_and_starts_differ(people: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mean = Metric("mean", "higher", BOTH, per_frame(lambda made, true: float(made.mean())))
    monkeypatch.setattr(running, "load_metrics", lambda names, needs: ([mean], []))
    motions: list[dict[str, str]] = [{}, {"start": "first"}, {"motion": "absolute"}]
    found = [evaluate(model, people, _settings(cross_identity=True, pairs=2, **motion)) for motion in motions]
    assert len({summary["methods"]["result"]["mean"]["mean"] for summary in found}) == len(motions)


def test_motion_between_people_is_as_by_animate(tiny_network: Network, tiny_config: Config, people: Path) -> None:
    clip = read_clip(people / "anna_0.mp4", 64)
    animator = Animator(tiny_network, batch_size=2)
    frames = [animator.detect(picture) for picture in clip]
    # At its start the driver counts as the portrait: that stands still.
    for motion, number in ((CrossMotion("relative", "best"), 2), (CrossMotion("relative", "first"), 0)):
        transfer = motion.transfer(animator, frames[2], clip)
        assert isinstance(transfer, RelativeMotion)
        torch.testing.assert_close(transfer(frames[number]).positions, frames[2].positions, atol=1e-5, rtol=0)
        assert not torch.allclose(transfer(frames[1]).positions, frames[2].positions, atol=1e-5)
    assert CrossMotion("absolute").transfer(animator, frames[2], clip) is None
    named = Animator(Network(tiny_config.network))
    assert isinstance(CrossMotion().transfer(named, named.detect(clip[0]), clip), FaceMotion)


def test_a_network_follows_the_background_of_one_video_alone(tiny_network: Network, people: Path) -> None:
    class Recorder(Animator):
        """An animator that notes how it is asked, in batches of two."""

        def step(self, *arguments: Any, **options: Any) -> Output:
            asked.append((options["coarse_only"], options["same_video"], options["transfer"] is not None))
            return super().step(*arguments, **options)

    asked: list[tuple[bool, bool, bool]] = []
    clip = read_clip(people / "anna_0.mp4", 64)
    animator = Recorder(tiny_network, batch_size=2)
    for driver, expected in (("anna_0", (True, False)), ("ben_0", (False, True))):
        trial = Trial("name", people / "anna_0.mp4", people / f"{driver}.mp4")
        made = NetworkMethod(animator).pictures(trial, clip[0], clip, [1, 2, 3])
        assert asked == [(coarse, *expected) for coarse in (True, False)] * 2
        assert {name: pictures.shape for name, pictures in made.items()} == dict.fromkeys(("coarse", "result"), (3, 64, 64, 3))
        asked.clear()


def test_result_videos_of_another_method(people: Path, tmp_path: Path) -> None:
    summary = evaluate(str(people), people, _settings(), folder=tmp_path / "out")
    assert summary["methods"]["result"]["L1"]["mean"] < 1e-3  # the driving videos themselves; sizes alone differ
    results = tmp_path / "results"
    results.mkdir()
    write_clip(results / "anna_0.mp4", frames=2, shade=60)
    write_clip(results / "ben_0.mp4", frames=6, shade=60)
    problems = evaluate(str(results), people, _settings(), folder=tmp_path / "broken")["problems"]
    assert len(problems) == 2 and "has 2 frames" in problems[0] and "no result video anna_1" in problems[1]
    (results / "ben_0.mp4").unlink()
    with pytest.raises(InputError, match=r"none of 3 clips could be evaluated; anna_0: .* has 2 frames"):
        evaluate(str(results), people, _settings())


@pytest.mark.parametrize(("better", "first"), [("lower", "c"), ("higher", "b"), ("near 1", "b")])
def test_the_worst_stand_on_top_of_the_sheet(better: Better, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles = _sheet_titles(tmp_path, monkeypatch, {"m": (better, {"a": 1.0, "b": 0.5, "c": 1.2, "d": math.nan})})
    assert len(titles) == 3 and titles[0].startswith(f"{first}  m ")


def test_a_sheet_shows_the_worst_by_each_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alike = {"m": ("lower", {"a": 1.0, "b": 1.0}), "n": ("higher", {"a": 0.0, "b": math.nan})}
    assert _sheet_titles(tmp_path, monkeypatch, alike) == ["a", "b"]
    clips = [f"{number:02}" for number in range(30)]
    rising = {clip: float(number) for number, clip in enumerate(clips)}
    both = {"m": ("lower", rising), "n": ("higher", rising), "o": ("lower", rising)}
    titles = _sheet_titles(tmp_path, monkeypatch, both)
    assert titles[:4] == ["29  m 29  o 29", "00  n 0", "28  m 28", "01  n 1"] and len(titles) == 12
    many = {f"m{number}": ("lower", {clip: float(clip == clips[number]) for clip in clips}) for number in range(13)}
    assert len(_sheet_titles(tmp_path, monkeypatch, many)) == 13


def _sheet_titles(
    folder: Path, monkeypatch: pytest.MonkeyPatch, values: Mapping[str, tuple[Better, Mapping[str, float]]]
) -> list[str]:
    """Titles of a sheet for clips' values by metric."""
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    records = []
    for name in next(iter(values.values()))[1]:
        write_strip(folder, name, pictures[0], pictures, {"result": pictures + 9})
        found = {metric: np.array([clips[name]]) for metric, (_, clips) in values.items()}
        records.append(TrialRecord(name, [1], {"result": found}, None))
    titles: list[str] = []

    def note(rows: Sequence[Row], **more: object) -> np.ndarray:
        titles.extend(row.title for row in rows)
        return pictures[0]

    monkeypatch.setattr("mrfa.evaluation.sheet.draw_grid", note)
    metrics = [Metric(name, better, BOTH, per_frame(lambda made, true: 0.0)) for name, (better, _) in values.items()]
    write_sheet(folder / "sheet.png", folder, records, metrics)
    return titles


def test_shares_are_of_the_frames_that_both_have() -> None:
    metrics = [Metric("AKD", "lower", BOTH, per_frame(lambda made, true: 0.0))]
    values = {"source": {"AKD": np.array([2.0, 4.0, 8.0])}, "result": {"AKD": np.array([np.nan, 1.0, 3.0])}}
    unknown = {method: {"AKD": np.full(3, np.nan)} for method in values}
    records = [TrialRecord("a", [1, 2, 3], values, None), TrialRecord("b", [], {}, "is broken")]
    records.append(TrialRecord("c", [1, 2, 3], unknown, None))
    summary = sum_up(records, metrics, {"variant": "standard", "protocol": "reconstruction"}, ["a line"])
    assert summary["methods"]["result"]["AKD"] == {"mean": 2.0, "low": 2.0, "high": 2.0, "share": 4 / 12, "clips": 1}
    assert summary["problems"] == ["a line", "b: is broken"] and summary["clips"] == 2
    table = make_table(summary)
    assert list(table.columns[2].cells) == ["2 (0.333)"] and list(table.columns[3].cells) == ["2 to 2"]


def test_metrics_of_sets_are_of_all_frames() -> None:
    metrics = [Metric("FID", "lower", BOTH, lambda frames: frames.generated, lambda features: float(features.sum()))]
    values = {"source": {"FID": np.full((2, 3), 2.0)}, "result": {"FID": np.ones((2, 3))}}
    records = [TrialRecord(name, [1, 2], values, None) for name in "ab"]
    summary = sum_up(records, metrics, {"variant": "paper", "protocol": "reconstruction"}, [])
    assert summary["methods"]["result"]["FID"] == {"mean": 12, "low": None, "high": None, "share": 0.5, "clips": 2}


def test_unknown_metric() -> None:
    with pytest.raises(InputError, match="no metric 'AKD'"):
        load_metrics(["AKD"])


def test_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(5, 2, 40), resamples=400)
        covered += low <= 5 <= high
    assert 175 <= covered <= 199
    assert bootstrap_interval(np.array([3.0])) == (3.0, 3.0)
    assert bootstrap_interval(np.array([1.0, 2.0]), np.array([1e9, 1.0])) == pytest.approx((1, 2), abs=1e-6)
    low, high = bootstrap_interval(np.arange(99.0), np.repeat([1.0, 0.0], [50, 49]))
    assert low < 24.5 < high < 30


def test_frames_that_are_measured() -> None:
    assert measured_frames(5, 0, include_first=False) == [1, 2, 3, 4]
    assert measured_frames(5, 0, include_first=True) == [0, 1, 2, 3, 4]
    assert measured_frames(9, 3, include_first=False) == [1, 4, 8]
    assert measured_frames(61, 6, include_first=False) == [1, 13, 25, 36, 48, 60]
    assert measured_frames(1, 0, include_first=False) == [0]


def test_outputs_without_a_folder_are_refused_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.json")
    with pytest.raises(InputError, match="no folder"):
        check_writable(tmp_path / "missing" / "a.json")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)


def test_command(people: Path, model: str, tmp_path: Path) -> None:
    arguments = ["evaluate", model, "--data", str(people), "--folder", str(tmp_path / "out"), "--device", "cpu"]
    options = ["--metrics", "L1, PSNR", "--frames-per-clip", "2", "--clips", "2", "--variant", "paper", "--no-baselines"]
    done = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False)
    assert done.exit_code == 0 and "L1" in done.stdout and "2 clips, 4 frames" in done.stdout
    written = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(written["metrics"]) == ["L1", "PSNR"] and written["variant"] == "paper"
    assert list(written["methods"]) == ["coarse", "result"]
    assert CliRunner().invoke(app, [*arguments, "--variant", "best"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--clips", "-1"]).exit_code == 2
    assert CliRunner().invoke(app, [*arguments, "--no-cross-identity"]).exit_code == 2  # a switch that is off by default
    assert CliRunner().invoke(app, [*arguments, "--motion", "wild"]).exit_code == 2
    wrong = CliRunner().invoke(app, [*arguments, "--metrics", "beauty"])
    assert isinstance(wrong.exception, InputError) and "beauty" in str(wrong.exception)


def test_real_clips(tiny_network: Network, tiny_config: Config, faces: Path, tmp_path: Path) -> None:
    save_model(tiny_network, tmp_path / "model", "# tiny")
    steps: list[tuple[int, int]] = []
    names = ("face L1", "AKD (mediapipe)", "sharpness", "artefact", "lost faces (mediapipe)")
    settings = Settings(clips=2, frames_per_clip=2, metrics=names)
    summary = evaluate(
        str(tmp_path / "model"), faces / "test", settings, progress=lambda done, total: steps.append((done, total))
    )
    assert steps == [(1, 2), (2, 2)] and not summary["problems"]
    thin_plate = summary["methods"]["thin-plate"]
    assert thin_plate["face L1"]["share"] < 0.8 and thin_plate["AKD (mediapipe)"]["share"] < 0.3
    assert summary["methods"]["source"]["sharpness"]["mean"] == pytest.approx(1, abs=0.4)
    assert summary["methods"]["source"]["lost faces (mediapipe)"]["mean"] == 0
