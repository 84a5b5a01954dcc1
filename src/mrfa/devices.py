"""Where and how to compute: one rule for all commands and for Python."""

import torch

from mrfa.errors import InputError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(device: str | torch.device | None = None) -> torch.device:
    """The device of a name; without a name the fastest that there is: CUDA, else Apple's GPU, else the CPU.

    Raises:
        InputError: this machine has no such device; says which it has.
    """
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there = [*cuda, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]
    if device is None:
        return torch.device("cuda" if cuda else there[0])
    if str(device) not in there and not (str(device) == "cuda" and cuda):
        raise InputError(f"there is no device '{device}' here: choose from {', '.join(there)}")
    return torch.device(device)


def fastest_precision(device: torch.device) -> torch.dtype:
    """The type in which a device convolves fastest, of those with float32's range; of older CUDA devices half precision.

    Of a CPU it is bfloat16 where the processor multiplies it itself, with AVX-512 or AMX.
    """
    if device.type == "cuda":
        generation = torch.cuda.get_device_capability(device)[0]
        return torch.bfloat16 if generation >= 8 else torch.float16 if generation == 7 else torch.float32
    if device.type == "cpu" and _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        return torch.bfloat16
    return torch.float32


def _cpu_has(*questions: str) -> bool:
    """Whether one of torch's questions about the processor is answered with yes; not all versions of torch know them."""
    return any(getattr(torch.cpu, question, bool)() for question in questions)


def pick_precision(precision: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The type of a name, or of torch's: `fp32` (the default), `bf16`, `fp16`, or `auto`, the fastest on a device.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(precision, torch.dtype):
        if precision in PRECISIONS.values():
            return precision
    elif precision == "auto":
        return fastest_precision(device)
    elif precision is None or precision in PRECISIONS:
        return PRECISIONS[precision or "fp32"]
    raise InputError(f"there is no precision '{precision}': choose from auto, {', '.join(PRECISIONS)}")


def precision_name(precision: torch.dtype) -> str:
    """The name by which `pick_precision` knows a type."""
    return next(name for name, known in PRECISIONS.items() if known == precision)


def pick_batch_size(batch_size: int | None, device: torch.device) -> int:
    """How many frames are computed together; without a number as many as the device needs to be busy.

    Raises:
        InputError: less than one.
    """
    if batch_size is None:
        return 4 if device.type == "cpu" else 16
    if batch_size < 1:
        raise InputError(f"the batch size must be at least 1, got {batch_size}")
    return batch_size
