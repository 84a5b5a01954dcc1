"""The authors' values: weights made from the parameters' names, and what their network computes from these."""

import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHARED
from torch import Tensor

FOLDER = SHARED / "reference"
FILES = {"affine": "fomm", "transformer": "mtia", "tps": "tpsm"}
SALT = "public-A2"


def require() -> Path:
    """The folder of the values; the test is skipped where it is not there."""
    if not FOLDER.is_dir():
        pytest.skip("the authors' values do not lie beside this checkout")
    return FOLDER


def manifest(prior: str) -> dict[str, Any]:
    """Names and shapes of a released checkpoint's entries."""
    return json.loads((require() / f"manifest_{FILES[prior]}.json").read_text())


def expected(prior: str) -> dict[str, Tensor]:
    """What the authors' network computes from `state_dict(prior)`."""
    with np.load(require() / f"expected_{FILES[prior]}.npz") as values:
        return {name: torch.from_numpy(values[name]) for name in values.files if name != "meta"}


def state_dict(prior: str, *, prior_only: bool = False, salt: str = SALT) -> dict[str, Tensor]:
    """Made-up weights under the names of a released checkpoint."""
    filled = _fill()["fill_manifest"](manifest(prior), salt, prior_only=prior_only)
    return {name: torch.from_numpy(value) for name, value in filled.items()}


def pictures(seed: int = 1) -> list[Tensor]:
    """Source, driving and initial driving picture, `[1, 3, 256, 256]` in [0, 1]."""
    return [torch.from_numpy(_fill()["to_tensor_array"](picture)) for picture in _fill()["images"](seed)]


@cache
def _fill() -> dict[str, Any]:
    return runpy.run_path(str(require() / "fill.py"))
