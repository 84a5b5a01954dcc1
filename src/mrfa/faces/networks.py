"""The bundled networks, read by OpenCV.

`models/NOTICE` says where they come from. OpenCV reads TensorFlow Lite files but not every operator in them: it lacks the three
with which the mesh with attention looks again at the lips and eyes. So that file is cut at them (`cut`) into parts that OpenCV
reads, and `mesh.py` does what lies between.
"""

import hashlib
import struct
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from mrfa.errors import InputError

SHA256 = {
    "face_detection_short_range": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_detection_full_range": "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3",
    "face_landmark_with_attention": "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
    "selfie_segmentation": "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
}

# Places of the fields that are read in the tables of TensorFlow Lite's schema (schema.fbs).
_MODEL_SUBGRAPHS = 2
_GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 1, 2, 3
_OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 1, 2, 5


@cache
def read_model(name: str) -> bytes:
    """A bundled file's content, one of `SHA256`.

    Raises:
        InputError: the file is absent or not the one that was bundled.
    """
    file = resources.files("mrfa") / "faces" / "models" / f"{name}.tflite"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"the face model {file} cannot be read ({error.strerror}): install mrfa again") from None
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise InputError(f"the face model {file} is damaged: install mrfa again")
    return content


def load_network(model: bytes, outputs: int = 1) -> cv2.dnn.Net:
    """A network of a TensorFlow Lite file's content, on the CPU. It is not thread-safe: one thread at a time may run it.

    Args:
        model: content of a TensorFlow Lite file.
        outputs: how many of its tensors no operator of it reads.

    Raises:
        InputError: OpenCV cannot run it.
    """
    try:
        net = _read_network(model)
        lost = len(net.getUnconnectedOutLayersNames()) < outputs
    except (cv2.error, OSError):  # of its temporary file
        lost = True
    if lost:
        raise InputError(f"OpenCV {cv2.__version__} cannot run the face models: pip install 'opencv-python-headless<5'")
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    return net


def _read_network(model: bytes) -> cv2.dnn.Net:
    """With the engine that knows several outputs: OpenCV 5's other one keeps those of the last operator alone."""
    engine = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    if engine is None:  # OpenCV 4 has no other
        return cv2.dnn.readNetFromTFLite(np.frombuffer(model, np.uint8))
    with tempfile.TemporaryDirectory() as folder:  # OpenCV 5.0 lets nobody choose for what lies in memory
        file = Path(folder) / "model.tflite"
        file.write_bytes(model)
        return cv2.dnn.readNetFromTFLite(str(file), engine)  # type: ignore[call-overload]


def cut(model: bytes, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
    """The part of a model that computes some tensors from others; its weights stay as they are.

    Args:
        model: content of a TensorFlow Lite file with one graph that has at least as many inputs and outputs.
        inputs: numbers of the tensors that are given.
        outputs: numbers of the tensors wanted.
    """
    buffer = bytearray(model)
    graph = _graph(buffer)
    start, count = _vector(buffer, graph, _GRAPH_OPERATORS)
    operators = [_follow(buffer, start + 4 * index) for index in range(count)]
    wanted, kept = set(outputs), []
    for operator in reversed(operators):
        if wanted.intersection(_integers(buffer, operator, _OPERATOR_OUTPUTS)):
            kept.append(operator)
            wanted.update(set(_integers(buffer, operator, _OPERATOR_INPUTS)) - set(inputs))
    for index, operator in enumerate(reversed(kept)):
        struct.pack_into("<I", buffer, start + 4 * index, operator - (start + 4 * index))
    struct.pack_into("<I", buffer, start - 4, len(kept))
    for field, tensors in ((_GRAPH_INPUTS, inputs), (_GRAPH_OUTPUTS, outputs)):
        place, _ = _vector(buffer, graph, field)
        struct.pack_into(f"<I{len(tensors)}i", buffer, place - 4, len(tensors), *tensors)
    return bytes(buffer)


def operator_options(model: bytes, output: int) -> bytes:
    """The custom options of the operator that computes a tensor."""
    graph = _graph(model)
    start, count = _vector(model, graph, _GRAPH_OPERATORS)
    for index in range(count):
        operator = _follow(model, start + 4 * index)
        if output in _integers(model, operator, _OPERATOR_OUTPUTS):
            place, length = _vector(model, operator, _OPERATOR_OPTIONS)
            return bytes(model[place : place + length])
    raise ValueError(f"no operator computes tensor {output}")


def _graph(buffer: bytes | bytearray) -> int:
    place, _ = _vector(buffer, _follow(buffer, 0), _MODEL_SUBGRAPHS)
    return _follow(buffer, place)


def _follow(buffer: bytes | bytearray, place: int) -> int:
    """Where the offset at a place leads to."""
    return int(place + struct.unpack_from("<I", buffer, place)[0])


def _vector(buffer: bytes | bytearray, table: int, field: int) -> tuple[int, int]:
    """Place of the first element, and length, of a table's field that is a vector."""
    layout = table - struct.unpack_from("<i", buffer, table)[0]
    offset = struct.unpack_from("<H", buffer, layout + 4 + 2 * field)[0]
    place = _follow(buffer, table + offset)
    return place + 4, struct.unpack_from("<I", buffer, place)[0]


def _integers(buffer: bytes | bytearray, table: int, field: int) -> tuple[int, ...]:
    place, length = _vector(buffer, table, field)
    return struct.unpack_from(f"<{length}i", buffer, place)
