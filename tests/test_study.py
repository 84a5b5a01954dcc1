"""Studies: their file, their runs, what is finished and what goes on."""

import json
from pathlib import Path

import pytest
from conftest import TINY

pytest.importorskip("lightning")

import yaml

from benchmarks.study.differences import differences
from benchmarks.study.plan import load_study, plan_runs
from benchmarks.study.run import run_study
from mrfa.errors import InputError
from mrfa.processes import Processes
from mrfa.training.config import load_config


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
        "evaluation": {"frames_per_clip": 1, "metrics": ["L1"], "baselines": False},
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
    told: list[str] = []
    table = run_study(study, data=clips, test=clips, output=out, report=told.append)
    assert len(told) == 3 and all("L1" in line for line in told)
    text = table.read_text()
    assert "FOMM, seed 1" in text and "FOMM + NPMR, seed 0" in text and "0.0386" in text and "not finished" not in text
    assert (out / "study.csv").is_file()
    assert "affine-npmr minus affine (1 seed against 2 seeds)" in text and (out / "differences.csv").is_file()
    (out / "affine-npmr-seed0" / "summary.json").unlink()
    resumed: list[bool] = []
    from benchmarks.study import run as module

    train = module.train
    monkeypatch.setattr(module, "train", lambda config, **more: (resumed.append(more["resume"]), train(config, **more))[1])
    again: list[str] = []
    run_study(study, data=clips, test=clips, output=out, report=again.append)
    assert resumed == [(out / "affine-npmr-seed0" / "checkpoints" / "last.ckpt").is_file()]
    assert sum("finished before" in line for line in again) == 2
    assert json.loads((out / "affine-npmr-seed0" / "summary.json").read_text())["clips"] == 2


def test_other_settings_are_not_mixed_in(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = {"variants": {"affine-npmr": None}, "compare": {}}
    run_study(load_study(_file(tmp_path, **only)), data=clips, test=clips, output=out)
    changed = load_study(_file(tmp_path, variants={"affine-npmr": {"settings": {"training.learning_rate": 0.5}}}, compare={}))
    with pytest.raises(InputError, match="other settings"):
        run_study(changed, data=clips, test=clips, output=out)


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

    settings = {**yaml.safe_load(_file(tmp_path).read_text())["settings"], "training.steps": 2}
    study = load_study(_file(tmp_path, settings=settings, variants={"affine-npmr": None}, compare={}))
    (run,) = plan_runs(study)
    out = tmp_path / "out"
    train(run.config, data=clips, output=out / run.name, cache=out / "cache", time_limit=1e-6)
    card = out / run.name / "model" / "README.md"
    assert "for 1 steps" in card.read_text()
    run_study(study, data=clips, test=clips, output=out)
    assert "for 2 steps" in card.read_text() and len(list((out / "cache").iterdir())) == 2


def test_differences_are_taken_clip_by_clip(tmp_path: Path) -> None:
    def clips_csv(name: str, figures: list[str]) -> Path:
        path = tmp_path / name
        lines = [f"clip{i},{method},3,{cell}" for i, cell in enumerate(figures) for method in ("source", "result")]
        path.write_text("\n".join(["clip,method,frames,L1", *lines]) + "\n")
        return path

    # Clips differ a lot, variants by 0.01 in every clip: the interval of the difference has no width.
    reference = clips_csv("a", ["0.1", "0.5", "0.9", "0.2"])
    seeds = [clips_csv("b", ["0.08", "0.48", "0.88", ""]), clips_csv("c", ["0.10", "0.50", "0.90", "0.1"])]
    assert differences(seeds, [reference])["L1"] == pytest.approx((-0.01, -0.01, -0.01))
    assert differences([clips_csv("d", [""])], [reference]) == {}


def test_documented_study_has_the_papers_rows() -> None:
    runs = plan_runs(load_study(Path(__file__).resolve().parents[1] / "docs" / "studies" / "table3-small.yaml"))
    assert len(runs) == 9
    for run in runs:
        paper = load_config(f"table3-{run.variant}")
        assert run.config.network.motion == paper.network.motion
        assert run.config.network.detector.kind == paper.network.detector.kind
        assert run.config.training.part_dropout == paper.training.part_dropout
    # One budget, whatever the variant.
    assert len({(run.config.training.steps, run.config.training.batch_size) for run in runs}) == 1


def test_study_starts_its_processes_itself(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "started", lambda: True)
    with pytest.raises(InputError, match="without torchrun"):
        run_study(load_study(_file(tmp_path)), data=clips, test=clips, output=tmp_path / "out")
