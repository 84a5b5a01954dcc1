"""Motion templates: all that a driver is to the network, in one small file.

A driver enters the network only as keypoints and affine maps. These, with their time stamps, drive any portrait later. They
mean something to the keypoint detector alone that made them, so the template carries that detector's fingerprint.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mrfa.data.files import check_readable, replacing
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints

FORMAT = "mrfa-motion"
VERSION = "1"
SUFFIX = ".safetensors"
UNKNOWN_DURATION = -1
# What fits into the 32 bits that mp4 has for a time scale and for the time between two frames; and a bound for time itself.
LARGEST = 2**31 - 1
LATEST = 2**53
# Keypoints lie within [-1, 1], and somewhat beyond where motion was added up; their maps are some units large and never flat.
FARTHEST, STEEPEST, FLATTEST = 16.0, 1e4, 1e-6


@dataclass(frozen=True, eq=False)
class MotionTemplate:
    """Keypoints of every frame of a driver.

    Attributes:
        positions: float32 `[T, K, 2]`, (x, y), normalised to [-1, 1] over the driver's crop.
        affine: float32 `[T, K, 2, 2]`, or None where the prior has none.
        pts: time stamp of each frame in units of `time_base`, rising.
        durations: of each frame in the same unit, or None where the driver does not tell.
        time_base: seconds a unit.
        rate: mean frames a second.
        fingerprint: of the keypoint detector, see `mrfa.weights.detector_fingerprint`.
    """

    positions: Tensor
    affine: Tensor | None
    pts: list[int]
    durations: list[int | None]
    time_base: Fraction
    rate: Fraction
    fingerprint: str

    def __len__(self) -> int:
        return len(self.pts)

    def __iter__(self) -> Iterator[Keypoints]:
        """Keypoints of each frame, positions `[1, K, 2]`."""
        for i in range(len(self)):
            affine = None if self.affine is None else self.affine[i : i + 1]
            yield Keypoints(self.positions[i : i + 1], affine)

    def save(self, path: str | Path) -> None:
        """Write the template to a safetensors file.

        Raises:
            InputError: the folder cannot be written to.
        """
        durations = [UNKNOWN_DURATION if duration is None else duration for duration in self.durations]
        tensors = {
            "positions": self.positions.contiguous(),
            "pts": torch.tensor(self.pts, dtype=torch.int64),
            "durations": torch.tensor(durations, dtype=torch.int64),
        }
        if self.affine is not None:
            tensors["affine"] = self.affine.contiguous()
        metadata = {
            "format": FORMAT,
            "version": VERSION,
            "time_base": str(self.time_base),
            "rate": str(self.rate),
            "detector": self.fingerprint,
        }
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata)

    @classmethod
    def load(cls, path: str | Path) -> "MotionTemplate":
        """Read a template; nothing in the file is ever executed.

        Raises:
            InputError: no such file, it is no motion template, or it holds no frames.
        """
        path = Path(path)
        check_readable(path, "motion template")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                names = file.keys() if metadata.get("format") == FORMAT else []
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is not a motion template: {error}") from None
        if metadata.get("format") != FORMAT:
            raise InputError(f"{path} is not a motion template: make one with  mrfa motion extract DRIVING -o MOTION.safetensors")
        if metadata.get("version") != VERSION:
            raise InputError(f"{path} is a motion template of another version: make it again with  mrfa motion extract")
        try:
            durations = _values(tensors["durations"], torch.int64, 1).tolist()
            template = cls(
                positions=_values(tensors["positions"], torch.float32, 3),
                affine=_values(tensors["affine"], torch.float32, 4) if "affine" in tensors else None,
                pts=_values(tensors["pts"], torch.int64, 1).tolist(),
                durations=[None if value < 0 else value for value in durations],
                time_base=_fraction(metadata["time_base"]),
                rate=_fraction(metadata["rate"]),
                fingerprint=metadata["detector"],
            )
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise InputError(f"{path} is a damaged motion template ({error}): make it again with  mrfa motion extract") from None
        template._check(path)
        return template

    def check_detector(self, fingerprint: str, name: str | Path) -> None:
        """Check that the template's detector is the model's.

        Raises:
            InputError: it is another; `name` says which template.
        """
        if self.fingerprint != fingerprint:
            raise InputError(
                f"{name} was made with another model's keypoints ({self.fingerprint}, this model has {fingerprint}): "
                "make it again from the driving video with  mrfa motion extract --model"
            )

    def _check(self, path: Path) -> None:
        frames = len(self.pts)
        if frames == 0:
            raise InputError(f"{path} holds no frames")
        fits = self.positions.ndim == 3 and self.positions.shape[0] == frames and self.positions.shape[2] == 2
        fits = fits and len(self.durations) == frames and self.time_base > 0 and self.rate > 0
        fits = fits and all(duration is None or duration <= LARGEST for duration in self.durations)
        fits = fits and all(abs(value) <= LATEST for value in (self.pts[0], self.pts[-1]))
        fits = fits and all(0 < later - earlier <= LARGEST for earlier, later in pairwise(self.pts))
        fits = fits and _within(self.positions, FARTHEST)
        if self.affine is not None:
            fits = fits and self.affine.shape == (*self.positions.shape, 2) and _within(self.affine, STEEPEST)
            fits = fits and bool((torch.linalg.det(self.affine).abs() >= FLATTEST).all())
        if not fits:
            raise InputError(f"{path} is a damaged motion template: make it again with  mrfa motion extract")


def _values(tensor: Tensor, dtype: torch.dtype, dimensions: int) -> Tensor:
    """A tensor as `save` writes it."""
    if tensor.dtype != dtype or tensor.ndim != dimensions:
        raise ValueError(f"expected {dtype} of {dimensions} dimensions, got {tensor.dtype} {list(tensor.shape)}")
    return tensor


def _within(values: Tensor, bound: float) -> bool:
    return bool((values.abs() <= bound).all())  # not so where one is no number


def _fraction(text: str) -> Fraction:
    """A fraction as `save` writes it; its own parser would also take 1e999999999, and never come back."""
    if re.fullmatch(r"\d{1,10}(/\d{1,10})?", text) is None:
        raise ValueError(f"'{text[:24]}' is no fraction")
    value = Fraction(text)
    if max(value.numerator, value.denominator) > LARGEST:
        raise ValueError(f"{text} is out of range")
    return value
