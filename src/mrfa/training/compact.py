"""Checkpoints in small files, for training on a machine from which large files cannot come back.

What makes a checkpoint large is kept out: weights travel in half precision, the averaged weights start again from them, and
the optimiser's moments build up again within some hundred steps. The step, the schedule and the draw of pairs go on exactly.
"""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mrfa.data.files import replacing
from mrfa.errors import InputError

PART_BYTES = 16 * 2**20
AVERAGED = "averaged.module."


def write_compact(checkpoint: Path, folder: Path, part_bytes: int = PART_BYTES) -> list[Path]:
    """Write a Lightning checkpoint as `part-00`, `part-01` .. of at most `part_bytes` each.

    Returns:
        The parts.
    """
    content: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = {key: value for key, value in content["state_dict"].items() if not key.startswith("averaged.")}
    content["state_dict"] = {key: _halved(value) for key, value in state.items()}
    for optimizer in content["optimizer_states"]:
        optimizer["state"] = {}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getvalue()
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    parts = []
    for number, start in enumerate(range(0, len(data), part_bytes)):
        parts.append(folder / f"part-{number:02d}")
        with replacing(parts[-1]) as temporary:
            temporary.write_bytes(data[start : start + part_bytes])
    return parts


def read_compact(folder: Path, checkpoint: Path, *, averaged: bool) -> None:
    """Turn the parts back into a checkpoint that Lightning resumes from.

    Args:
        folder: holds the parts.
        checkpoint: written.
        averaged: whether the run averages its weights.

    Raises:
        InputError: a part is missing or damaged.
    """
    data = b"".join(part.read_bytes() for part in sorted(folder.glob("part-*")))
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged archive
        raise InputError(f"the compact checkpoint in {folder} cannot be read, is a part missing? ({error})") from None
    state = {key: value.float() if value.is_floating_point() else value for key, value in content["state_dict"].items()}
    if averaged:
        state |= {AVERAGED + key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    content["state_dict"] = state
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    with replacing(checkpoint) as temporary:
        torch.save(content, temporary)


def _halved(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value
