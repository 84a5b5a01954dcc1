from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino

Tensors = dict[str, np.ndarray]


def load(folder: Path, name: str) -> Callable[[Tensors], Tensors]:
    # Where the processor has bfloat16, OpenVINO would compute in it.
    model = openvino.compile_model(folder / f"{name}.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: {output.any_name: value for output, value in model(inputs).items()}
