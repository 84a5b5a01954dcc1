from pathlib import Path

import pytest

from mrfa.config import dump_config, load_config, parse_overrides, preset_names
from mrfa.errors import InputError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path) == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.detector.keypoint=3", "network.detector.keypoint: unknown key"),
        ("network.image_size=100", "multiple of 32"),
        ("training.image_size=96", "too small for the correlation"),
        ("network.refinement.iterations=7", "network.refinement.iterations"),
        ("training.batch_size=many", "training.batch_size"),
        ("nonsense", "KEY=VALUE"),
    ],
)
def test_bad_settings_are_refused(setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        load_config("small", parse_overrides([setting]))
    assert "\n" not in str(error.value)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InputError, match="paper-affine, small"):
        load_config("large")


def test_broken_yaml(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("network: [")
    with pytest.raises(InputError, match="not valid YAML"):
        load_config(path)


def test_settings_are_read_as_yaml() -> None:
    values = parse_overrides(["training.milestones=[0.5, 0.8]", "training.steps=7"])
    config = load_config("small", values)
    assert config.training.milestones == (0.5, 0.8)
    assert config.training.steps == 7
