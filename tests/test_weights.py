from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.training.config import Config, dump_training, load_config
from mrfa.weights import bundled_models, detector_fingerprint, find_model, fingerprint, load_model, save_model


@pytest.fixture
def folder(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> Path:
    save_model(tiny_network, tmp_path / "model", "# card\n")
    return tmp_path / "model"


def test_round_trip(folder: Path, tiny_network: Network) -> None:
    loaded = load_model(folder)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image, image).image, tiny_network(image, image).image)
    assert detector_fingerprint(loaded) == detector_fingerprint(tiny_network)
    assert not loaded.training


def test_half_precision_halves_the_file(folder: Path, tiny_network: Network, tiny_config: Config, tmp_path: Path) -> None:
    save_model(tiny_network, tmp_path / "half", "", half=True)
    sizes = [(f / "model.safetensors").stat().st_size for f in (folder, tmp_path / "half")]
    assert sizes[1] < 0.65 * sizes[0]
    assert detector_fingerprint(load_model(tmp_path / "half")) == detector_fingerprint(tiny_network)


def test_missing_folder() -> None:
    with pytest.raises(InputError, match="no model 'nowhere'"):
        load_model("nowhere")


def test_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has no model\.safetensors"):
        load_model(folder)


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not at all")
    _trust_weights(folder)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_model(folder)


def test_weights_of_another_network(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(iter(state))
    state["unknown.weight"] = state.pop(name)
    save_file(state, folder / "model.safetensors")
    _trust_weights(folder)
    with pytest.raises(InputError, match=rf"lacks {name}.*unknown unknown.weight"):
        load_model(folder)


def test_weights_of_other_sizes(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in state.items() if tensor.dim() == 4)
    state[name] = state[name][1:].clone()
    save_file(state, folder / "model.safetensors")
    _trust_weights(folder)
    with pytest.raises(InputError, match=rf"{name} is \["):
        load_model(folder)


def test_a_fingerprint_tells_weights_and_their_places_apart() -> None:
    first, second = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    names = {fingerprint(torch.nn.Sequential(*layers)) for layers in ([first, second], [second, first], [torch.nn.ReLU(), first])}
    names |= {fingerprint(first), fingerprint(torch.nn.Sequential(first))}
    assert len(names) == 5


def test_weights_that_are_not_those_of_the_configuration(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    next(tensor for tensor in state.values() if tensor.is_floating_point()).add_(1e-3)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match="SHA-256 differs"):
        load_model(folder)
    _trust_weights(folder)
    load_model(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in state.items() if tensor.dim() > 1)
    state[name].view(-1)[3] = value
    save_file(state, folder / "model.safetensors")
    _trust_weights(folder)
    with pytest.raises(InputError, match=rf"damaged: {name} holds values that are not finite"):
        load_model(folder)


@pytest.mark.parametrize("value", [1e30, -1e12])
def test_weights_beyond_all_measure_are_damage(folder: Path, value: float) -> None:
    """The pictures would be black."""
    state = load_file(folder / "model.safetensors")
    name = next(name for name, tensor in state.items() if tensor.dim() > 1)
    state[name].view(-1)[3] = value
    save_file(state, folder / "model.safetensors")
    _trust_weights(folder)
    with pytest.raises(InputError, match=rf"damaged: {name} holds a value as large as"):
        load_model(folder)


def test_a_network_is_not_built_that_its_weights_do_not_fit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its shapes are, which take no memory."""
    values = yaml.safe_load((folder / "config.yaml").read_text())
    values["network"]["generator"]["widths"] = [4096] * 6
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    built: list[bool] = []
    original = torch.nn.Conv2d.reset_parameters
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda self: built.append(self.weight.is_meta) or original(self))
    with pytest.raises(InputError, match=r"does not fit .*expected \[.*4096"):
        load_model(folder)
    assert built and all(built)


@pytest.mark.parametrize("network", ["3", "[1, 2]", "{detector: 3}", "{generator: {widths: [1]}}", "null"])
def test_configurations_that_are_none(folder: Path, network: str) -> None:
    for version in ("", "format: 2\n", "format: two\n"):
        (folder / "config.yaml").write_text(f"{version}network: {network}\n")
        with pytest.raises(InputError, match=r"config\.yaml"):
            load_model(folder)


def test_a_bundled_name_means_the_bundled_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()
    assert find_model("small") == bundled_models() / "small"
    with pytest.raises(InputError, match="is not a model folder"):
        find_model("./small")
    with pytest.raises(InputError, match="is not a model folder"):
        find_model(Path("small"))
    folder.rename(tmp_path / "mine")
    assert find_model("mine") == Path("mine")


def test_loading_never_reads_the_training(folder: Path, tiny_network: Network, tiny_config: Config) -> None:
    """A loss that is gone or renamed must not take any model with it."""
    (folder / "training.yaml").write_text("training: {objective: {a_loss_of_the_past: 3}}")
    assert load_model(folder).config == tiny_network.config
    with pytest.raises(InputError, match="a_loss_of_the_past: unknown key"):
        load_config(folder)
    save_model(Network(tiny_config.network), folder, "# card\n", training=dump_training(tiny_config))
    assert load_config(folder) == tiny_config


@pytest.mark.parametrize(("compatibility", "coordinates"), [("none", "corner_aligned"), ("official", "official")])
def test_folders_of_the_first_format(folder: Path, compatibility: str, coordinates: str) -> None:
    """They had no format, no checksum, a training section, and another name for the coordinates."""
    values = yaml.safe_load((folder / "config.yaml").read_text())
    del values["format"], values["weights_sha256"], values["network"]["coordinates"]
    values["network"]["compatibility"] = compatibility
    values["training"] = {"steps": 7}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    assert load_model(folder).config.coordinates == coordinates
    config = load_config(folder)
    assert (config.network.coordinates, config.training.steps) == (coordinates, 7)


def test_folders_of_a_later_format_ask_for_a_later_version(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("format: 2", "format: 3"))
    with pytest.raises(InputError, match="has format 3, this version of mrfa reads up to 2"):
        load_model(folder)


def _trust_weights(folder: Path) -> None:
    """Leave out the checksum, as one may by hand."""
    path = folder / "config.yaml"
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(values | {"weights_sha256": None}))


def test_preset_without_weights_says_so() -> None:
    with pytest.raises(InputError, match="preset paper-affine comes without weights"):
        load_model("paper-affine")
