"""Model folders: `config.yaml`, `model.safetensors` and a model card `README.md`."""

import hashlib
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mrfa.config import Config, dump_config, load_config, preset_names
from mrfa.data.files import replacing
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.official import convert_official

__all__ = ["bundled_models", "convert_official", "detector_fingerprint", "find_model", "fingerprint", "load_model", "save_model"]

WEIGHTS_NAME = "model.safetensors"


def bundled_models() -> Path:
    """Folder of the models that come with the package."""
    return Path(str(resources.files("mrfa"))) / "models"


def find_model(name: str | Path) -> Path:
    """The folder of a model given by path or by the name of a bundled model.

    Raises:
        InputError: neither exists, or the folder holds no model.
    """
    path = Path(name)
    if not path.exists() and (bundled_models() / str(name)).is_dir():
        path = bundled_models() / str(name)
    if path.is_file() and path.name == WEIGHTS_NAME:
        path = path.parent
    if not path.exists() and str(name) in preset_names():
        raise InputError(f"the preset {name} comes without weights: train it, or convert a checkpoint of the authors' code")
    if not path.exists():
        names = sorted(p.name for p in bundled_models().glob("*") if p.is_dir()) if bundled_models().is_dir() else []
        raise InputError(f"no model '{name}': give a model folder" + (f" or one of {', '.join(names)}" if names else ""))
    if not path.is_dir():
        raise InputError(f"{path} is a file: a model is a folder with config.yaml and {WEIGHTS_NAME}")
    for part in ("config.yaml", WEIGHTS_NAME):
        if not (path / part).is_file():
            raise InputError(f"{path} is not a model folder: it has no {part}")
    return path


def load_model(name: str | Path, device: str | torch.device = "cpu") -> Network:
    """Load a model folder or a bundled model.

    Args:
        name: model folder, or the name of a bundled model such as `small`.
        device: where the network goes.

    Returns:
        The network in evaluation mode, in float32.

    Raises:
        InputError: no such model, or its weights do not fit its configuration.
    """
    folder = find_model(name)
    network = Network(load_config(folder).network)
    try:
        state = load_file(folder / WEIGHTS_NAME)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / WEIGHTS_NAME} is not a readable safetensors file: {error}") from None
    _check_fit(network, state, folder)
    network.load_state_dict({key: value.float() if value.is_floating_point() else value for key, value in state.items()})
    return network.to(device).eval()


def save_model(network: Network, config: Config, folder: Path, card: str, *, half: bool = False) -> None:
    """Write a model folder.

    Args:
        network: any device, any mode.
        config: of the network and of its training.
        folder: made where it does not exist.
        card: text of the model card.
        half: store the weights in half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {}
    for key, value in network.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[key] = value.half() if half and value.is_floating_point() else value
    with replacing(folder / WEIGHTS_NAME) as temporary:
        save_file(state, temporary)
    (folder / "config.yaml").write_text(dump_config(config))
    (folder / "README.md").write_text(card)


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


def _check_fit(network: Network, state: dict[str, Tensor], folder: Path) -> None:
    expected = network.state_dict()
    absent = [key for key in expected if key not in state]
    unknown = [key for key in state if key not in expected]
    if absent or unknown:
        what = [f"lacks {absent[0]} and {len(absent) - 1} more"] if absent else []
        what += [f"has the unknown {unknown[0]} and {len(unknown) - 1} more"] if unknown else []
        raise InputError(f"{folder / WEIGHTS_NAME} does not fit its config.yaml: it {' and '.join(what)}")
    for key, value in expected.items():
        if value.shape != state[key].shape:
            got, wanted = list(state[key].shape), list(value.shape)
            raise InputError(f"{folder / WEIGHTS_NAME} does not fit its config.yaml: {key} is {got}, expected {wanted}")
