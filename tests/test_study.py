"""Studies: their file, their runs, what is finished and what goes on."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import TINY

pytest.importorskip("lightning")

import yaml
from safetensors.torch import save_file

from benchmarks.study.figures import draw_differences, draw_examples
from benchmarks.study.measure import measure
from benchmarks.study.plan import Measuring, chosen_runs, load_study, plan_runs
from benchmarks.study.report import finished_runs, write_reports
from benchmarks.study.results import ClipFigures, Result, difference, mean_figure, read_result, write_result
from benchmarks.study.run import alone, run_study
from mrfa.data.images import read_image, write_image
from mrfa.data.prepared import prepare_clips
from mrfa.efficientnet import EfficientNetLayers
from mrfa.errors import InputError
from mrfa.identity import IdentityNetwork
from mrfa.network.model import Network
from mrfa.processes import Processes
from mrfa.training.config import Config, load_config
from mrfa.weights import save_model


def _file(folder: Path, **changes: object) -> Path:
    settings = TINY | {
        "training.steps": 1,
        "training.workers": 0,
        "training.objective.guidance.weight": 0,
        "training.objective.guidance.region_weight": 1,
        "training.objective.guidance.detector_steps": 0,
    }
    content = {
        "base": "small",
        "settings": {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()},
        "table": 3,
        "evaluation": {"frames_per_clip": 1, "metrics": ["L1"]},
        "compare": {"affine-npmr": "affine"},
        "variants": {
            "affine": {"settings": {"network.motion": "prior_only"}, "seeds": [0, 1]},
            "affine-npmr": None,
        },
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_runs_come_first_seeds_first(tmp_path: Path) -> None:
    runs = plan_runs(load_study(_file(tmp_path)))
    assert [run.name for run in runs] == ["affine-seed0", "affine-npmr-seed0", "affine-seed1"]
    assert runs[0].config.network.motion == "prior_only" and runs[2].config.training.seed == 1


def test_study_trains_measures_and_goes_on(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = load_study(_file(tmp_path)), tmp_path / "out"
    runs = plan_runs(study)
    told: list[str] = []
    run_study(study, runs, data=[clips], test=clips, output=out, report=told.append)
    assert len(told) == 3 and all("L1" in line for line in told)
    table, compared = (out / "study.md").read_text().split("Differences")
    assert "FOMM, seed 1" in table and "FOMM + NPMR, seed 0" in table and "0.0386" in table
    assert "FOMM + NPMR minus FOMM, seed 0" in compared and "all seeds (1 and 2)" in compared and "seed 1 |" not in compared
    assert (out / "study.csv").is_file() and (out / "differences.csv").is_file()
    assert read_image(out / "affine-seed0" / "examples.png").shape == (2 * 128, 4 * 128, 3)
    assert not (out / "affine-seed0" / "checkpoints").exists()
    (out / "affine-npmr-seed0" / "result.json").unlink()
    resumed: list[bool] = []
    from benchmarks.study import run as module

    def forgetful(config: Config, *, output: Path, **more: Any) -> Path:
        resumed.append(more["resume"])
        return output / "model"

    monkeypatch.setattr(module, "train", forgetful)
    again: list[str] = []
    run_study(study, runs, data=[clips], test=clips, output=out, report=again.append)
    assert resumed == [False] and sum("finished before" in line for line in again) == 2
    assert set(read_result(out / "affine-npmr-seed0" / "result.json").clips) == {"anna_0", "ben_0"}


def test_processes_share_a_study(clips: Path, tmp_path: Path) -> None:
    study, out = load_study(_file(tmp_path, variants={"affine-npmr": None}, compare={})), tmp_path / "out"
    told: list[str] = []
    folder = out / "affine-npmr-seed0"
    with alone(folder) as mine:
        assert mine
        run_study(study, plan_runs(study), data=[clips], test=clips, output=out, report=told.append)
    assert told == ["1/1 affine-npmr-seed0: another process is at it"] and not (folder / "model").exists()
    with alone(folder) as mine:
        assert mine


def test_other_settings_are_not_mixed_in(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = {"variants": {"affine-npmr": None}, "compare": {}}
    study = load_study(_file(tmp_path, **only))
    run_study(study, plan_runs(study), data=[clips], test=clips, output=out)
    told: list[str] = []
    faster = plan_runs(study, {"training.cuda_graph": True, "training.workers": 1})
    run_study(study, faster, data=[clips], test=clips, output=out, report=told.append)
    assert told == ["1/1 affine-npmr-seed0: finished before"]
    changed = plan_runs(study, {"training.learning_rate": 0.5})
    with pytest.raises(InputError, match="other settings"):
        run_study(study, changed, data=[clips], test=clips, output=out)


def test_runs_are_chosen_by_name_and_seed(tmp_path: Path) -> None:
    runs = plan_runs(load_study(_file(tmp_path)), {"training.steps": 7})
    assert {run.config.training.steps for run in runs} == {7}
    assert [run.name for run in chosen_runs(runs, variants="affine", seeds="1,0")] == ["affine-seed0", "affine-seed1"]
    assert [run.name for run in chosen_runs(runs, variants=None, seeds="1")] == ["affine-seed1"]
    with pytest.raises(InputError, match="no 'npmr': choose among affine, affine-npmr"):
        chosen_runs(runs, variants="affine, npmr", seeds=None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": {}}, "variant: unknown key"),
        ({"variants": {}, "compare": {}}, "variants"),
        ({"variants": {"../up": {}}}, "names a folder"),
        ({"variants": {"a": {"settings": {"network.nothing": 1}}}, "compare": {}}, "variant a: .*unknown key"),
        ({"seeds": []}, "seeds"),
        ({"compare": {"affine-npmr": "npmr"}}, "compare names 'npmr'"),
        ({"variants": {"affine": {"settings": {}, "sede": 1}}}, "variants.affine.sede: unknown key"),
    ],
)
def test_wrong_files(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        plan_runs(load_study(_file(tmp_path, **changes)))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the study"):
        load_study(tmp_path / "none.yaml")


def test_interrupted_run_goes_on_from_its_checkpoint(clips: Path, tmp_path: Path) -> None:
    from mrfa.training.run import train

    study = load_study(_file(tmp_path, variants={"affine-npmr": None}, compare={}))
    (run,) = plan_runs(study, {"training.steps": 2})
    out = tmp_path / "out"
    train(run.config, data=clips, output=out / run.name, cache=out / "cache", time_limit=1e-6)
    card = out / run.name / "model" / "README.md"
    assert "for 1 steps" in card.read_text()
    run_study(study, [run], data=[clips], test=clips, output=out)
    assert "for 2 steps" in card.read_text() and len(list((out / "cache").iterdir())) == 2


def _result(variant: str, seed: int, values: dict[str, float], coarse: float = 0.0, steps: int = 5) -> Result:
    clips = {
        name: ClipFigures(name[0], {"source": {"L1": 1.0}, "coarse": {"L1": value + coarse}, "result": {"L1": value}})
        for name, value in values.items()
    }
    return Result(variant, seed, {"steps": steps}, 1.0, clips)


def test_differences_are_taken_clip_by_clip_and_averaged_over_people() -> None:
    # Clips differ a lot, variants by 0.01 in every clip: the interval of the difference has no width.
    reference = _result("a", 0, {"p0": 0.1, "p1": 0.5, "q0": 0.9})
    seeds = [_result("b", 0, {"p0": 0.08, "p1": 0.48, "q0": 0.88}), _result("b", 1, {"p0": 0.1, "p1": 0.5, "q0": 0.9, "r0": 0})]
    assert difference(seeds, [reference], "L1") == pytest.approx((-0.01, -0.01, -0.01))
    # Two clips of one person count as much as the one of another.
    figure = mean_figure(reference, "L1")
    assert figure is not None and figure.mean == pytest.approx(0.6) and (figure.low, figure.high) == pytest.approx((0.3, 0.9))
    assert difference(seeds, [reference], "PSNR") is None
    assert difference(seeds[:1], seeds[:1], "L1", "result", "source").mean == pytest.approx(-0.42)  # type: ignore[union-attr]


def test_tables_of_results_alone(tmp_path: Path) -> None:
    study = load_study(_file(tmp_path))
    with pytest.raises(InputError, match="no finished run"):
        finished_runs(tmp_path)
    for result in (_result("affine", 0, {"p0": 0.1}, coarse=0.01), _result("affine-npmr", 0, {"p0": 0.05}, coarse=0.02)):
        (tmp_path / result.variant).mkdir()
        write_result(tmp_path / result.variant / "result.json", result)
    results = finished_runs(tmp_path)
    text = write_reports(study, results, tmp_path).read_text()
    assert "source repeated" in text and "-0.0500 [-0.0500, -0.0500]" in text
    assert "FOMM + NPMR: refined minus coarse (1 seeds) | -0.0200" in text and "FOMM: refined" not in text
    draw_differences(study, results, tmp_path / "differences.png")
    assert read_image(tmp_path / "differences.png").min() == 0
    write_result(tmp_path / "affine" / "result.json", _result("affine", 0, {"p0": 0.1}, steps=6))
    with pytest.raises(InputError, match="budgets differ"):
        finished_runs(tmp_path)
    (tmp_path / "affine" / "result.json").write_text('{"clips": {"a": 1}}')
    with pytest.raises(InputError, match="no result of a study"):
        finished_runs(tmp_path)


def test_examples_show_every_variant(tmp_path: Path) -> None:
    study = load_study(_file(tmp_path))
    results = [_result("affine", 1, {"p0": 0.1}), _result("affine-npmr", 0, {"p0": 0.1})]
    for result, grey in zip(results, (50, 200), strict=True):
        folder = tmp_path / f"{result.variant}-seed{result.seed}"
        folder.mkdir()
        sheet = np.zeros((4 * 128, 4 * 128, 3), np.uint8)
        sheet[:, 3 * 128 :] = grey
        write_image(folder / "examples.png", sheet)
    draw_examples(study, results, tmp_path, tmp_path / "examples.png")
    shown = read_image(tmp_path / "examples.png")
    step = shown.shape[1] // 4 + 1
    assert [int(shown[-64, 64 + number * step].mean()) for number in range(4)] == [0, 0, 50, 200]


@pytest.mark.parametrize(("file", "count"), [("table3-small.yaml", 9), ("table3.yaml", 14)])
def test_documented_studies_have_the_papers_rows(file: str, count: int) -> None:
    runs = plan_runs(load_study(Path(__file__).resolve().parents[1] / "docs" / "studies" / file))
    assert len(runs) == count
    for run in runs:
        paper = load_config(f"table3-{run.variant}")
        assert run.config.network.motion == paper.network.motion
        assert run.config.network.detector.kind == paper.network.detector.kind
        assert run.config.training.part_dropout == paper.training.part_dropout
        if file == "table3.yaml":
            refinement = paper.network.refinement.model_copy(update={"iterations": 5})
            assert run.config.network == paper.network.model_copy(update={"refinement": refinement})
    # One budget, whatever the variant.
    budgets = {(run.config.training.steps, run.config.training.batch_size, run.config.training.milestones) for run in runs}
    assert len(budgets) == 1


def test_study_starts_its_processes_itself(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "started", lambda: True)
    with pytest.raises(InputError, match="without torchrun"):
        run_study(load_study(_file(tmp_path)), [], data=[clips], test=clips, output=tmp_path / "out")


def test_measured_in_processes_as_here_with_identity_where_its_weights_are(
    clips: Path, tiny_network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tiny_network, tmp_path / "model", "# A model\n")
    save_file(IdentityNetwork(EfficientNetLayers()).state_dict(), tmp_path / "identity.safetensors")
    prepared = prepare_clips(clips, tmp_path / "cache", size=64, landmarks=False)[0]
    measuring = Measuring(frames_per_clip=2, metrics=("L1", "PSNR"))
    # No face is in these pictures: any place will do.
    monkeypatch.setattr("benchmarks.study.measure.shared_face_mesh", lambda: lambda picture: np.full((478, 3), picture.mean()))
    with ThreadPoolExecutor(2) as threads:
        one, other = (
            measure(
                tmp_path / "model",
                prepared,
                measuring,
                device="cpu",
                examples=tmp_path / "examples.png",
                weights=tmp_path,
                processes=processes,
            )
            for processes in (None, threads)
        )
    assert one == other
    figures = one["anna_0"].figures
    assert one["anna_0"].person == "anna" and figures.keys() == {"source", "coarse", "result"}
    assert figures["result"].keys() == {"L1", "PSNR", "identity (EfficientNet)"} and figures["result"]["L1"] > 0
