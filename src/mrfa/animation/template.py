"""Motion templates: all that a driver is to the network, in one small file.

A template holds the named places of the driver's face in every frame, and the shape of that face. Head pose and expression are in
them, told apart by `MotionTemplate.frames` when they are asked for, and give the places back exactly (see `mrfa.animation.head`
and `expression`). So a template drives every model that knows these places, and outlives the detector that made it. It also
keeps what that detector alone knows of the frames, its other keypoints and its maps; with these the same detector drives as the
video does. Of a detector whose keypoints have no names, it is all that there is.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mrfa.animation.expression import Frames, take_apart
from mrfa.animation.face_motion import has_named_keypoints
from mrfa.animation.head import HeadPose
from mrfa.data.files import check_readable, replacing
from mrfa.data.guidance import GROUP_INDEX, GROUPS
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.weights import detector_fingerprint

FORMAT = "mrfa-motion"
VERSION = "2"
# Names the places and their order; other places are another layout.
LAYOUT = f"mrfa-landmarks-{GROUPS}"
PLACES = ",".join(GROUP_INDEX)
SUFFIX = ".safetensors"
UNKNOWN_DURATION = -1
# What fits into the 32 bits that mp4 has for a time scale and for the time between two frames; and a bound for time itself.
LARGEST = 2**31 - 1
LATEST = 2**53
# Keypoints lie within [-1, 1], and somewhat beyond where motion was added up; their maps are some units large and never flat.
FARTHEST, STEEPEST, FLATTEST = 16.0, 1e4, 1e-6
# A face is larger than this in its crop.
SMALLEST = 1e-3
# Frames taken apart together, so that memory does not grow with a template's length.
_TOGETHER = 4096


class FaceTrack(NamedTuple):
    """A face whose places have names, of the layout `LAYOUT`.

    Attributes:
        places: float32 `[T, G, 2]`, (x, y) in the driver's crop, half-pixel normalised: -1 and 1 are its outer edges.
        shape: float32 `[G, 2]`, of the person without expression, in the head's frame.
    """

    places: Tensor
    shape: Tensor


class DetectorTrack(NamedTuple):
    """What one keypoint detector alone knows.

    Attributes:
        positions: float32 `[T, U, 2]`, of its keypoints that have no name, as its network has them.
        affine: float32 `[T, K, 2, 2]`, of all its keypoints, the named ones first; None where its prior has no maps.
        fingerprint: of the detector, see `mrfa.weights.detector_fingerprint`.
    """

    positions: Tensor
    affine: Tensor | None
    fingerprint: str


@dataclass(frozen=True, eq=False)
class MotionTemplate:
    """The motion of T frames of a driver.

    Attributes:
        pts: time stamp of each frame in units of `time_base`, rising.
        durations: of each frame in the same unit, or None where the driver does not tell.
        time_base: seconds a unit.
        rate: mean frames a second.
        face: the named places; None where the detector knows no names.
        detected: what fits one detector alone; None where it was lost in editing. One of the two is there.
    """

    pts: list[int]
    durations: list[int | None]
    time_base: Fraction
    rate: Fraction
    face: FaceTrack | None
    detected: DetectorTrack | None

    def __len__(self) -> int:
        return len(self.pts)

    @property
    def length(self) -> Fraction:
        """Seconds from the first frame's beginning to the last one's end."""
        last = self.durations[-1]
        return (self.pts[-1] - self.pts[0]) * self.time_base + (last * self.time_base if last else 1 / self.rate)

    def seconds(self) -> Tensor:
        """When each frame begins, from the first on, float64 `[T]`."""
        pts = torch.tensor(self.pts, dtype=torch.float64)
        return (pts - pts[0]) * float(self.time_base)

    def frames(self) -> Frames:
        """Head pose, face seen from the front, and the person's shape: of all frames, float64.

        Raises:
            InputError: the template has no named places.
        """
        face = self.named_face()
        parts = [take_apart(part.double(), face.shape.double()) for part in face.places.split(_TOGETHER)]
        pose = HeadPose(*(torch.cat(values) for values in zip(*(part.pose for part in parts), strict=True)))
        return Frames(pose, torch.cat([part.front for part in parts]), face.shape.double())

    def named_face(self) -> FaceTrack:
        """The named places.

        Raises:
            InputError: the template has none.
        """
        if self.face is None:
            raise InputError("the template was made with a model whose keypoints have no names, and fits that model alone")
        return self.face

    def keypoints(self, network: Network, name: str | Path) -> Keypoints:
        """Keypoints of all frames as a network has them, positions `[T, K, 2]`; of another detector's template the named ones
        alone, `[T, G, 2]` without maps.

        Args:
            network: whose detector is driven.
            name: what errors call the template.

        Raises:
            InputError: the template is of another detector, and one of the two has no named places.
        """
        fingerprint = detector_fingerprint(network)
        fits = self.detected is not None and self.detected.fingerprint == fingerprint
        if not fits and (self.face is None or not has_named_keypoints(network)):
            made = f", made with the detector {self.detected.fingerprint}," if self.detected is not None else ""
            raise InputError(
                f"{name}{made} does not fit this model's detector {fingerprint}, as not both have named keypoints: "
                "make it again from the driving video with  mrfa motion extract --model"
            )
        sides = network.config.keypoint_size
        named = [] if self.face is None else [network.conventions.from_half_pixel(self.face.places.double(), sides).float()]
        if not fits or self.detected is None:
            return Keypoints(named[0], None)
        return Keypoints(torch.cat([*named, self.detected.positions], 1), self.detected.affine)

    def save(self, path: str | Path) -> None:
        """Write the template to a safetensors file.

        Raises:
            InputError: the folder cannot be written to.
        """
        durations = [UNKNOWN_DURATION if duration is None else duration for duration in self.durations]
        tensors = {"pts": torch.tensor(self.pts, dtype=torch.int64), "durations": torch.tensor(durations, dtype=torch.int64)}
        metadata = {"format": FORMAT, "version": VERSION, "time_base": str(self.time_base), "rate": str(self.rate)}
        if self.face is not None:
            tensors |= {"places": self.face.places, "shape": self.face.shape}
            metadata |= {"layout": LAYOUT, "places": PLACES}
        if self.detected is not None:
            tensors["positions"] = self.detected.positions
            if self.detected.affine is not None:
                tensors["affine"] = self.detected.affine
            metadata["detector"] = self.detected.fingerprint
        with replacing(path) as temporary:
            # Not by save_file, which makes the file private whatever the user's mask.
            temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: str | Path) -> "MotionTemplate":
        """Read a template; nothing in the file is ever executed.

        Raises:
            InputError: no such file, it is no motion template of this version and layout, it is damaged, or holds no frames.
        """
        path = Path(path)
        check_readable(path, "motion template")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                _check_kind(path, metadata)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no dictionary
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is not a motion template: {error}") from None
        try:
            template = _template(tensors, metadata)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise _damaged(path, f" ({error})") from None
        if len(template) == 0:
            raise InputError(f"{path} holds no frames")
        frames, named = len(template), 0 if template.face is None else GROUPS
        fits = template.face is not None or template.detected is not None
        fits = fits and time_fits(template)
        fits = fits and (template.face is None or _face_fits(template.face, frames))
        fits = fits and (template.detected is None or _detected_fits(template.detected, frames, named))
        if not fits:
            raise _damaged(path)
        return template


def _check_kind(path: Path, metadata: dict[str, str]) -> None:
    again = "make it again from the driving video with  mrfa motion extract"
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path} is not a motion template: make one with  mrfa motion extract DRIVING -o MOTION.safetensors")
    if metadata.get("version") != VERSION:
        version = metadata.get("version", "")[:8]
        raise InputError(f"{path} is a motion template of version {version}, and not of {VERSION}: {again}")
    if "layout" in metadata and (metadata["layout"], metadata.get("places")) != (LAYOUT, PLACES):
        layout = metadata["layout"][:40]
        raise InputError(f"the places of {path} are of another layout ({layout}) than those of this program ({LAYOUT}): {again}")


def _template(tensors: dict[str, Tensor], metadata: dict[str, str]) -> MotionTemplate:
    """What `save` wrote; its kinds and numbers of dimensions are checked."""
    face = detected = None
    if "layout" in metadata:
        face = FaceTrack(_values(tensors["places"], torch.float32, 3), _values(tensors["shape"], torch.float32, 2))
    if "detector" in metadata:
        affine = _values(tensors["affine"], torch.float32, 4) if "affine" in tensors else None
        if re.fullmatch(r"[0-9a-f]{1,64}", metadata["detector"]) is None:
            raise ValueError(f"'{metadata['detector'][:24]}' is no detector")
        detected = DetectorTrack(_values(tensors["positions"], torch.float32, 3), affine, metadata["detector"])
    return MotionTemplate(
        pts=_values(tensors["pts"], torch.int64, 1).tolist(),
        durations=[None if value < 0 else value for value in _values(tensors["durations"], torch.int64, 1).tolist()],
        time_base=_fraction(metadata["time_base"]),
        rate=_fraction(metadata["rate"]),
        face=face,
        detected=detected,
    )


def time_fits(template: MotionTemplate) -> bool:
    """Whether time stamps rise, and fit into what a video has for them."""
    pts, durations = template.pts, template.durations
    return (
        len(durations) == len(pts)
        and all(value > 0 and max(value.numerator, value.denominator) <= LARGEST for value in (template.time_base, template.rate))
        and all(duration is None or duration <= LARGEST for duration in durations)
        and all(abs(value) <= LATEST for value in (pts[0], pts[-1]))
        and all(0 < later - earlier <= LARGEST for earlier, later in pairwise(pts))
    )


def _face_fits(face: FaceTrack, frames: int) -> bool:
    places, shape = face
    if places.shape != (frames, GROUPS, 2) or shape.shape != (GROUPS, 2):
        return False
    extents = (places.amax(1) - places.amin(1)).amax(1)
    return _within(places, FARTHEST) and _within(shape, FARTHEST) and bool((extents >= SMALLEST).all())


def _detected_fits(detected: DetectorTrack, frames: int, named: int) -> bool:
    positions, affine, _ = detected
    if positions.shape[0] != frames or positions.shape[2] != 2 or not _within(positions, FARTHEST):
        return False
    if affine is None:
        return True
    if affine.shape != (frames, named + positions.shape[1], 2, 2) or not _within(affine, STEEPEST):
        return False
    return bool((torch.linalg.det(affine).abs() >= FLATTEST).all())


def _damaged(path: Path, why: str = "") -> InputError:
    return InputError(f"{path} is a damaged motion template{why}: make it again with  mrfa motion extract")


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
    return Fraction(text)
