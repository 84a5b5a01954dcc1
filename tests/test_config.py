from pathlib import Path

import pytest

from mrfa.config import parse_overrides, preset_names
from mrfa.errors import InputError
from mrfa.training.config import dump_config, load_config


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_a_round_trip(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    (tmp_path / "mine.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "mine.yaml") == config


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("network.detector.keypoint=3", "network.detector.keypoint: unknown key"),
        ("network.image_size=160", "multiples of 128, got 160x160"),
        ("training.image_size=320", "multiples of 128, got 320x320"),
        ("network.refinement.iterations=7", "refinement.iterations must be at most 6, .*detail_width adds one"),
        ("training.batch_size=many", "training.batch_size"),
        ("network.detector.kind=rigid", "network.detector: kind must be one of affine, thin_plate, transformer"),
        ("network.detector.residual_levels=6", "residual_levels is 6: 4 blocks have 5 sizes"),
        ("network.motion=non_prior", "no affine maps to correct: set detector.pose_width to 0"),
        ("training.sampling.weights=[1, 0]", "training.sampling.weights: .*above 0"),
        ("network.detector.layout=free", "guidance draws .* say so by network.detector.layout: landmarks"),
        ("network.detector={kind: transformer}", "guidance draws"),
        ("network.correlation.pyramid_levels=6", "multiples of 1024, got 256x256"),
        ("network.motion=none", "network.motion"),
        ("nonsense", "KEY=VALUE"),
    ],
)
def test_bad_settings_are_refused(setting: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        load_config("small", parse_overrides([setting]))
    assert "\n" not in str(error.value)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"one of .*paper-affine.*, small, "):
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


@pytest.mark.parametrize(
    ("preset", "settings", "words"),
    [
        ("paper-affine-prior-only", ["network.refinement.update_flow=false"], "prior_only has no refinement for .*update_flow"),
        ("paper-affine-prior-only", ["network.correlation.source_image=false"], "for correlation.source_image to change"),
        ("table4-without-flow", ["network.refinement.update_occlusion=false"], "refines nothing: set motion to prior_only"),
        ("paper-npmr", ["network.background=predicted"], "no part flows, so no background"),
        ("paper-transformer", ["network.motion=non_prior"], "detector.kind must be affine, not transformer"),
        ("paper-transformer", ["network.detector.width=90"], "network.detector: .*multiple of 4 and of heads"),
        ("paper-thin-plate", ["network.detector.width=15"], "network.detector: .*at least 16, got 15: .*oneDNN#6035"),
        ("paper-thin-plate", ["network.detector.keypoints=10"], "network.detector.keypoints: unknown key"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(preset: str, settings: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_config(preset, parse_overrides(settings))


def test_detectors_without_a_kind_are_affine(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("network: {detector: {keypoints: 7}}")
    detector = load_config(tmp_path / "old.yaml").network.detector
    assert (detector.kind, detector.keypoints) == ("affine", 7)


def test_files_inherit_from_presets_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: voxceleb1-thin-plate\ntraining: {epochs: 7, objective: {image: pyramid}}")
    (tmp_path / "b.yaml").write_text(f"extends: {tmp_path / 'a.yaml'}\ntraining: {{batch_size: 3}}")
    config = load_config(tmp_path / "b.yaml")
    assert config.network == load_config("paper-thin-plate").network
    assert (config.training.epochs, config.training.batch_size) == (7, 3)
    assert (config.training.objective.image, config.training.objective.affine_equivariance_weight) == ("pyramid", 0)


def test_a_detector_of_another_kind_inherits_nothing(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: paper-affine\nnetwork: {detector: {kind: transformer, keypoints: 30}}")
    assert load_config(tmp_path / "mine.yaml").network.detector.kind == "transformer"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: [small]", "extends: give one preset"),
        ("extends: large", "no configuration 'large'"),
        ("network: 5", "network: Input should be"),
        ("network: {detector: 5}", "network.detector: Input should be"),
        ("network: {detector: {kind: [affine]}}", "network.detector: kind must be one of"),
        ("extends: small\nvariants: {}", "variants: unknown key"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_config(tmp_path / "mine.yaml")


def test_files_that_extend_one_another(tmp_path: Path) -> None:
    a, b = tmp_path / "a.yaml", tmp_path / "b.yaml"
    a.write_text(f"extends: {b}")
    b.write_text(f"extends: {a}")
    with pytest.raises(InputError, match="extends itself"):
        load_config(a)


def test_the_papers_tables() -> None:
    """Each row differs from its neighbours where the paper says so."""
    rows = {name: load_config(name).network for name in preset_names() if name.startswith("table")}
    assert len({network.model_dump_json() for name, network in rows.items() if name.startswith("table4")}) == 5
    assert [rows[f"table5-keypoints-{count}"].detector.keypoints for count in (10, 15, 20)] == [10, 15, 20]
    assert [rows[f"table6-iterations-{count}"].refinement.iterations for count in (3, 4, 5, 6)] == [3, 4, 5, 6]
    alone = {name.removesuffix("-npmr") for name in rows if name.startswith(("table3", "table5")) and f"{name}-npmr" in rows}
    assert len(alone) == 6 and all(rows[name].motion == "prior_only" for name in alone)
    assert all(rows[f"{name}-npmr"].motion == "refined" for name in alone)
    assert rows["table3-npmr"].motion == "non_prior"


def test_the_papers_training() -> None:
    thin_plate, hq = load_config("voxceleb1-thin-plate").training, load_config("celebvhq-transformer")
    assert (thin_plate.milestones, thin_plate.part_dropout.peak) == ((0.7, 0.9), 0.3)
    assert hq.network.background == "predicted"
    assert load_config("voxceleb1-transformer").network.background == "still"
    training = hq.training
    assert (training.batch_size, training.epochs, training.learning_rate, training.betas) == (80, 100, 2e-4, (0.5, 0.999))
    assert (training.milestones, training.clipping, training.gradient_clip) == ((0.6, 0.9), "prior", 10)
    assert (training.objective.image_weight, training.objective.equivariance_weight) == (10, 10)
    assert (training.objective.affine_equivariance_weight, training.objective.background_weight) == (10, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(128, 256)), "not text in UTF-8"),
        ("network: {image_size: 256}".encode("utf-16"), "not text in UTF-8"),
        (b"a\x00b: 1", "not valid YAML"),
        (b"a: " + b"[" * 10000, r"^[^:]*mine\.yaml is nested more than 16 levels"),
        (b"network: {image_size: " + b"9" * 5000 + b"}", "a value of 5000 characters"),
        (b"network: {image_size: 0x" + b"f" * 900 + b"}", "image_size: Input should be"),
        (b"network: {image_size: 99999999999999999999}", "image_size: Input should be"),
        (b"network: {generator: {widths: [9999999, 1, 1, 1, 1, 1]}}", "widths.0: Input should be less than or equal to 4096"),
        (b"network: {detector: {blocks: 1000000}}", "blocks: Input should be less"),
        (b"network: {detector: {temperature: .inf}}", "temperature: Input should be"),
        (b"network: {coarse: {heatmap_variance: .nan}}", "heatmap_variance: Input should be"),
        (b"network: {image_size: 2048}", "image_size must be at most 1024"),
        (b"a: &a [1, 1]\nb: [*a, *a]", "by the alias"),
        (b"a: 2001-99-99", "not valid YAML"),
        (b"? [1]\n: 2", "not valid YAML"),
        (b"1: 2", "must hold the sections"),
        (b"[1, 2]", "must hold the sections"),
        (b"a: !!python/object/apply:os.system [x]", "not valid YAML"),
        (b"x" * 2**20 + b"y", "larger than"),
    ],
)
def test_hostile_settings(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["a=[1,", "a={", "a=2001-99-99", "a=" + "[" * 5000, "a=*b", "a=" + "9" * 5000, "=3", "a"])
def test_broken_settings_of_the_command_line(text: str) -> None:
    with pytest.raises(InputError, match="setting") as caught:
        parse_overrides([text])
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: small\n", encoding="utf-8-sig")
    assert load_config(tmp_path / "mine.yaml") == load_config("small")


def test_a_presets_name_means_the_preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "config.yaml").write_text("network: {image_size: 64}")
    assert load_config("small").network.image_size == 256
