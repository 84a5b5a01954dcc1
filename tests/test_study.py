"""Studies: their file, their runs, what is finished and what goes on."""

import json
from pathlib import Path

import pytest
from conftest import TINY

pytest.importorskip("lightning")

import yaml

from mrfa.errors import InputError
from mrfa.study.plan import load_study, plan_runs
from mrfa.study.run import run_study


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
        "evaluation": {"frames_per_clip": 1, "judges": ["L1"]},
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


def test_study_trains_judges_and_goes_on(clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, out = load_study(_file(tmp_path)), tmp_path / "out"
    told: list[str] = []
    table = run_study(study, data=clips, test=clips, output=out, report=told.append)
    assert len(told) == 3 and all("L1" in line for line in told)
    text = table.read_text()
    assert "FOMM, seed 1" in text and "FOMM + NPMR, seed 0" in text and "0.0386" in text and "not finished" not in text
    assert (out / "study.csv").is_file()
    (out / "affine-npmr-seed0" / "summary.json").unlink()
    resumed: list[bool] = []
    from mrfa.study import run as module

    train = module.train
    monkeypatch.setattr(module, "train", lambda config, **more: (resumed.append(more["resume"]), train(config, **more))[1])
    again: list[str] = []
    run_study(study, data=clips, test=clips, output=out, report=again.append)
    assert resumed == [(out / "affine-npmr-seed0" / "checkpoints" / "last.ckpt").is_file()]
    assert sum("finished before" in line for line in again) == 2
    assert json.loads((out / "affine-npmr-seed0" / "summary.json").read_text())["clips"] == 2


def test_other_settings_are_not_mixed_in(clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    only = {"variants": {"affine-npmr": None}}
    run_study(load_study(_file(tmp_path, **only)), data=clips, test=clips, output=out)
    changed = load_study(_file(tmp_path, variants={"affine-npmr": {"settings": {"training.learning_rate": 0.5}}}))
    with pytest.raises(InputError, match="other settings"):
        run_study(changed, data=clips, test=clips, output=out)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": {}}, "variant: unknown key"),
        ({"variants": {}}, "variants"),
        ({"variants": {"../up": {}}}, "names a folder"),
        ({"variants": {"a": {"settings": {"network.nothing": 1}}}}, "variant a: .*unknown key"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_wrong_files(changes: dict[str, object], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        plan_runs(load_study(_file(tmp_path, **changes)))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the study"):
        load_study(tmp_path / "none.yaml")
