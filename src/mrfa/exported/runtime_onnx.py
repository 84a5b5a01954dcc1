from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

Tensors = dict[str, np.ndarray]


def load(folder: Path, name: str) -> Callable[[Tensors], Tensors]:
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    outputs = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(outputs, session.run(outputs, inputs), strict=True))
