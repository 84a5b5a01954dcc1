from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

Tensors = dict[str, np.ndarray]


def load(folder: Path, name: str) -> Callable[[Tensors], Tensors]:
    module = torch.export.load(folder / f"{name}.pt2").module()

    def run(inputs: Tensors) -> Tensors:
        with torch.inference_mode():
            outputs = module({key: torch.from_numpy(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    return run
