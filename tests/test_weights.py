from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mrfa.config import Config
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.weights import detector_fingerprint, load_model, save_model


@pytest.fixture
def folder(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> Path:
    save_model(tiny_network, tiny_config, tmp_path / "model", "# card\n")
    return tmp_path / "model"


def test_round_trip(folder: Path, tiny_network: Network) -> None:
    loaded = load_model(folder)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded(image, image).image, tiny_network(image, image).image)
    assert detector_fingerprint(loaded) == detector_fingerprint(tiny_network)
    assert not loaded.training


def test_half_precision_halves_the_file(folder: Path, tiny_network: Network, tiny_config: Config, tmp_path: Path) -> None:
    save_model(tiny_network, tiny_config, tmp_path / "half", "", half=True)
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
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_model(folder)


def test_weights_of_another_network(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = next(iter(state))
    state["unknown.weight"] = state.pop(name)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(InputError, match=rf"lacks {name}.*unknown unknown.weight"):
        load_model(folder)


def test_preset_without_weights_says_so() -> None:
    with pytest.raises(InputError, match="preset paper-affine comes without weights"):
        load_model("paper-affine")
