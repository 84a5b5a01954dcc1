"""Reading settings: YAML files, presets, single values from the command line.

A settings file has up to two sections, `network` and `training`. With `extends: NAME` it changes single values of another one.

A preset file may hold several presets under `variants`; `table6.yaml` with a variant `iterations-3` is the preset
`table6-iterations-3`. A variant inherits from the rest of its file, or from what it says it extends.
"""

import os
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mrfa.data.files import check_readable, is_folder
from mrfa.errors import InputError
from mrfa.network.config import DETECTOR_KINDS

# Files of a model folder: what its weights need, and how they were trained, which nothing but a new training reads.
CONFIG_NAME, TRAINING_NAME = "config.yaml", "training.yaml"
# Of `config.yaml`; `read_model_config` knows what older ones mean.
MODEL_FORMAT = 2

# More than any settings have: bytes of a file, levels of sections and lists, characters of a value.
LARGEST_FILE = 2**20
DEEPEST = 16
LONGEST_SCALAR = 1000


def preset_names() -> list[str]:
    """Names of the presets in the package."""
    return sorted(_presets())


def read_settings(name: str | Path, overrides: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], str]:
    """Values of a settings file or preset, those that it extends included, not yet validated.

    Args:
        name: preset name, YAML file, or model folder, of which network and training are taken.
        overrides: values by dotted key, such as `{"training.steps": 100}`.

    Returns:
        The values, and what errors call their origin.

    Raises:
        InputError: unknown name, unreadable YAML, or a key that holds a value where a section is named.
    """
    values, origin = _read(name)
    for key, value in (overrides or {}).items():
        _set(values, key.split("."), value)
    return values, origin


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """`["training.steps=100"]` to `{"training.steps": 100}`; values are read as YAML.

    Raises:
        InputError: an assignment without a key or `=`, or a value that is no YAML.
    """
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"cannot read the setting '{assignment}': write KEY=VALUE, such as training.batch_size=8")
        values[key.strip()] = load_yaml(text, f"the setting {key.strip()}")
    return values


@cache
def _presets() -> dict[str, dict[str, Any]]:
    """Values of every preset as its file has them, `extends` included."""
    presets = {}
    for entry in (resources.files("mrfa") / "presets").iterdir():
        if not entry.name.endswith(".yaml"):
            continue
        name = entry.name.removesuffix(".yaml")
        values = _parse(entry.read_text(), f"preset {name}")
        variants = values.pop("variants", None)
        if variants is None:
            presets[name] = values
            continue
        for variant, changes in variants.items():
            presets[f"{name}-{variant}"] = changes if "extends" in changes else _merge(values, changes)
    return presets


def _read(name: str | Path, extending: tuple[str, ...] = ()) -> tuple[dict[str, Any], str]:
    """Values of a file, a model folder or a preset, with what they inherit, and what errors call it."""
    if str(name) in extending:
        raise InputError(f"'{name}' extends itself: {' -> '.join((*extending, str(name)))}")
    path = Path(name)
    if str(name) in _presets():
        values, origin = deepcopy(_presets()[str(name)]), f"preset {name}"
    elif is_folder(path):
        values, origin = _read_folder(path), str(path)
    elif os.path.lexists(path):
        values, origin = parse_settings(path), str(path)
    else:
        raise InputError(f"no configuration '{name}': give a YAML file, a model folder or one of {', '.join(preset_names())}")
    parent = values.pop("extends", None)
    if parent is None:
        return values, origin
    if not isinstance(parent, str):
        raise InputError(f"{origin}: extends: give one preset, YAML file or model folder")
    return _merge(_read(parent, (*extending, str(name)))[0], values), origin


def read_model_config(folder: Path) -> dict[str, Any]:
    """Content of a model folder's `config.yaml` as the present format has it, not yet validated.

    Format 1, which has no `format`, kept the training's settings in the same file, knew no checksum, and called the
    corner-aligned coordinates `compatibility: none`.

    Raises:
        InputError: the file cannot be read, or its format is of a later version of this package.
    """
    path = folder / CONFIG_NAME
    values = parse_settings(path)
    version = values.get("format", 1)
    if version == 1 and isinstance(values.get("network", {}), dict):
        network = dict(values.get("network", {}))
        official = network.pop("compatibility", "none") == "official"
        network["coordinates"] = "official" if official else "corner_aligned"
        return {**values, "format": MODEL_FORMAT, "network": network}
    if version not in (1, MODEL_FORMAT):
        raise InputError(f"{path} has format {version}, this version of mrfa reads up to {MODEL_FORMAT}: install a newer one")
    return values


def _read_folder(folder: Path) -> dict[str, Any]:
    """Network and training of a model folder."""
    values = read_model_config(folder)
    training = folder / TRAINING_NAME
    if os.path.lexists(training):
        values |= parse_settings(training)
    return {name: values[name] for name in ("network", "training") if name in values}


def parse_settings(path: Path) -> dict[str, Any]:
    """Values of one YAML file as they stand there.

    Raises:
        InputError: it cannot be read, or is not YAML with sections.
    """
    return _parse(read_text(path, "settings file"), str(path))


def read_text(path: Path, kind: str) -> str:
    """A text file that a person wrote, which is never large.

    Args:
        path: of the file.
        kind: what it should be, in the words of the error: `settings file`, ...

    Raises:
        InputError: it cannot be read, is too large, or is not in UTF-8.
    """
    check_readable(path, kind)
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"{path} is no {kind}: it is larger than {LARGEST_FILE} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"cannot read {path}: it is not text in UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _parse(text: str, origin: str) -> dict[str, Any]:
    values = load_yaml(text, origin) or {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InputError(f"{origin} must hold the sections 'network' and 'training'")
    return values


def load_yaml(text: str, origin: str) -> Any:
    """Values of a YAML text, which is looked through before anything is built of it.

    Raises:
        InputError: it is no YAML; or it is nested deeper, or has longer numbers, than any settings, or repeats parts by aliases.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise InputError(f"{origin} is nested more than {DEEPEST} levels deep, which no settings are")
            if isinstance(event, yaml.AliasEvent):
                raise InputError(f"{origin} repeats a part by the alias *{event.anchor}: write it out")
            if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and len(event.value) > LONGEST_SCALAR:
                raise InputError(f"{origin} holds a value of {len(event.value)} characters, which no setting has")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None
    except InputError:
        raise
    except (ValueError, OverflowError) as error:  # of numbers and dates that are none
        raise InputError(f"{origin} is not valid YAML: {error}") from None


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `changes` over those of `base`, section by section; a section of another kind replaces the whole."""
    merged = dict(base)
    for key, value in changes.items():
        before = merged.get(key)
        same = isinstance(value, dict) and isinstance(before, dict) and value.get("kind") in (None, before.get("kind"))
        merged[key] = _merge(before, value) if same and isinstance(before, dict) else deepcopy(value)
    return merged


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise InputError(f"the setting '{key}' holds a value, not a section")
    values[keys[-1]] = value


def explain(error: ValidationError) -> str:
    """One line for the first error: which key, and what is wrong with it."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    # The kind of a detector is no key of the file.
    where = ".".join(part for i, part in enumerate(parts) if not (i and parts[i - 1] == "detector" and part in DETECTOR_KINDS))
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{where}: {what}" if where else what
