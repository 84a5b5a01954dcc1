"""Model folders: `config.yaml`, `model.safetensors`, a model card `README.md` and, of a training, `training.yaml`.

`config.yaml` holds the format's version, the network's settings and the SHA-256 of the weights: all that loading needs.
"""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrfa.config import CONFIG_NAME, MODEL_FORMAT, TRAINING_NAME, explain, preset_names, read_model_config
from mrfa.data.files import check_readable, is_folder, replacing
from mrfa.errors import InputError
from mrfa.network.config import NetworkConfig, Section
from mrfa.network.model import Network
from mrfa.official import convert_official

__all__ = ["bundled_models", "convert_official", "detector_fingerprint", "find_model", "fingerprint", "load_model", "save_model"]

WEIGHTS_NAME = "model.safetensors"
# Of weights and of the statistics of normalisation, whose variances reach some thousands.
LARGEST_WEIGHT = 1e8


class ModelConfig(Section):
    """The `config.yaml` of a model folder."""

    format: Literal[2] = 2
    weights_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="of the weights file; None: unknown")
    network: NetworkConfig = NetworkConfig()


def bundled_models() -> Path:
    """Folder of the models that come with the package."""
    return Path(str(resources.files("mrfa"))) / "models"


def bundled_names() -> list[str]:
    """Names of the bundled models. One of them means that model even where a folder of the same name is at hand: `./small`."""
    return sorted(entry.name for entry in bundled_models().iterdir() if entry.is_dir()) if bundled_models().is_dir() else []


def find_model(name: str | Path) -> Path:
    """The folder of a model given by path or by the name of a bundled model.

    Raises:
        InputError: neither exists, or the folder holds no model.
    """
    path = Path(name)
    if str(name) in bundled_names() and (isinstance(name, str) or not is_folder(path)):
        path = bundled_models() / str(name)
    if path.name == WEIGHTS_NAME and not is_folder(path):
        path = path.parent
    try:
        inside = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        if str(name) in preset_names():
            raise InputError(
                f"the preset {name} comes without weights: train it, or convert a checkpoint of the authors' code"
            ) from None
        raise InputError(f"no model '{name}': give a model folder or one of {', '.join(bundled_names())}") from None
    except NotADirectoryError:
        raise InputError(f"{path} is a file: a model is a folder with {CONFIG_NAME} and {WEIGHTS_NAME}") from None
    except OSError as error:
        raise InputError(f"cannot read the model folder {path}: {error.strerror}") from None
    for part in (CONFIG_NAME, WEIGHTS_NAME):
        if part not in inside:
            raise InputError(f"{path} is not a model folder: it has no {part}")
        check_readable(path / part, "file")
    return path


def load_model(name: str | Path, device: str | torch.device = "cpu") -> Network:
    """Load a model folder or a bundled model.

    Args:
        name: model folder, or the name of a bundled model such as `small`.
        device: where the network goes.

    Returns:
        The network in evaluation mode, in float32.

    Raises:
        InputError: no such model; or its weights are not those of its configuration, do not fit it, or are damaged.
    """
    folder = find_model(name)
    config, path = _read_config(folder), folder / WEIGHTS_NAME
    if config.weights_sha256 not in (None, _sha256(path)):
        raise InputError(f"{path} is not the file that {CONFIG_NAME} was written for (its SHA-256 differs): copy the model again")
    try:
        # The weights' names and shapes are compared before the network that the configuration asks for takes any memory.
        with safe_open(path, framework="pt") as file:
            shapes = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 -- it has no other way
        _check_fit(config.network, shapes, path)
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from None
    _check_values(state, path)
    network = Network(config.network)
    network.load_state_dict(state)
    return network.to(device).eval()


def save_model(network: Network, folder: Path, card: str, *, half: bool = False, training: str | None = None) -> None:
    """Write a model folder.

    Args:
        network: any device, any mode.
        folder: made where it does not exist.
        card: text of the model card.
        half: store the weights in half precision.
        training: text of `training.yaml`; None: there is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[key] = value.half() if half and value.is_floating_point() else value
    with replacing(folder / WEIGHTS_NAME) as temporary:
        save_file(state, temporary)
    config = ModelConfig(format=MODEL_FORMAT, weights_sha256=_sha256(folder / WEIGHTS_NAME), network=network.config)
    texts = {CONFIG_NAME: yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), "README.md": card}
    for name, text in texts.items() if training is None else [*texts.items(), (TRAINING_NAME, training)]:
        with replacing(folder / name) as temporary:
            temporary.write_text(text)


def detector_fingerprint(network: Network) -> str:
    """Short name of the keypoint detector's weights: motion of one detector does not drive another."""
    return fingerprint(network.detector)


def fingerprint(module: nn.Module) -> str:
    """Short name of a module's weights, the same whether they are kept in full or in half precision."""
    digest = hashlib.sha256()
    for key, value in module.state_dict().items():
        if value.is_floating_point():
            digest.update(key.encode() + value.detach().cpu().half().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read_config(folder: Path) -> ModelConfig:
    values = read_model_config(folder)
    values.pop("training", None)  # of format 1; the settings of a training are no business of loading
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{folder / CONFIG_NAME}: {explain(error)}") from None


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _check_fit(config: NetworkConfig, shapes: dict[str, list[int]], path: Path) -> None:
    """Refuse weights of other names or shapes than the network's."""
    with torch.device("meta"):
        expected = {key: list(value.shape) for key, value in Network(config).state_dict().items()}
    absent = [key for key in expected if key not in shapes]
    unknown = [key for key in shapes if key not in expected]
    if absent or unknown:
        what = [f"lacks {absent[0]} and {len(absent) - 1} more"] if absent else []
        what += [f"has the unknown {unknown[0]} and {len(unknown) - 1} more"] if unknown else []
        raise InputError(f"{path} does not fit its {CONFIG_NAME}: it {' and '.join(what)}")
    for key, wanted in expected.items():
        if wanted != shapes[key]:
            raise InputError(f"{path} does not fit its {CONFIG_NAME}: {key} is {shapes[key]}, expected {wanted}")


def _check_values(state: dict[str, Tensor], path: Path) -> None:
    """Refuse values that no training ends with, and of which nothing but black pictures comes."""
    for key, value in state.items():
        if not torch.isfinite(value).all():
            raise InputError(f"{path} is damaged: {key} holds values that are not finite")
        if value.is_floating_point() and value.numel() and (largest := float(value.abs().max())) > LARGEST_WEIGHT:
            raise InputError(f"{path} is damaged: {key} holds a value as large as {largest:.0e}")
