"""`mrfa convert`: a checkpoint of the authors' code becomes a model folder, without running any code from it."""

import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mrfa.data.files import check_readable, replacing_folder
from mrfa.errors import InputError
from mrfa.weights import convert_official, save_model


def convert_checkpoint(checkpoint: Path, folder: Path, *, prior: str, prior_only: bool = False) -> int:
    """Convert a checkpoint; see `mrfa.weights.convert_official`.

    Args:
        checkpoint: pickled file of the authors' code, or a bare state dict.
        folder: the model folder to write; it must not hold anything yet.
        prior: `affine`, `tps` or `transformer`.
        prior_only: the checkpoint has no refinement.

    Returns:
        Number of the model's parameters.

    Raises:
        InputError: the folder is in use, or the checkpoint cannot be read, would run code, or does not fit.
    """
    _check_folder(folder)
    check_readable(checkpoint, "checkpoint")
    try:
        network = convert_official(read_state_dict(checkpoint), prior=prior, prior_only=prior_only)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = _card(checkpoint, prior, prior_only, parameters)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing_folder(folder) as temporary:
            save_model(network, temporary, card)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None
    return parameters


def _check_folder(folder: Path) -> None:
    try:
        free = not any(folder.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError:
        free = False
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror}") from None
    if not free:
        raise InputError(f"{folder} exists already: give a folder that does not")


def read_state_dict(checkpoint: Path) -> Mapping[str, Any]:
    """The weights in a checkpoint: its entry `model`, or itself where it has none. Nothing in the file is ever executed.

    Raises:
        InputError: no checkpoint, or one that would run code.
    """
    try:
        with warnings.catch_warnings():  # of pickles by another protocol than torch's own
            warnings.simplefilter("ignore")
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked is None:
            raise InputError("refused, for torch cannot read it without the risk of running code from it") from None
        raise InputError(
            f"refused, for it asks to run code when it is read ({asked[1]}): a checkpoint needs tensors alone"
        ) from None
    except Exception:
        # Damaged files fail in many ways inside torch: RuntimeError, EOFError, KeyError, UnicodeDecodeError and others.
        raise InputError("not a checkpoint that torch can read") from None
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise InputError(f"not a checkpoint: it holds a {type(content).__name__} instead of weights by name")
    return content


def _card(checkpoint: Path, prior: str, prior_only: bool, parameters: int) -> str:
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    option = " --prior-only" if prior_only else ""
    return f"""# A model of the authors' code

Motion: {prior} prior, {"alone" if prior_only else "refined"}. {parameters:,} parameters.

- **Origin**: `mrfa convert {checkpoint.name} FOLDER --prior {prior}{option}`; SHA-256 of the checkpoint `{digest}`.
- **Behaviour**: that of the code that it was trained with (`coordinates: official` in `config.yaml`).
- **Data and training**: those of the checkpoint's authors; nothing in the file tells.
- **Quality**: not measured here. `mrfa evaluate reconstruction FOLDER --data CLIPS` does.
- **Licence**: the conversion changes nothing. Whoever made the checkpoint decides who may use it and pass it on.
"""
