"""The ways in which a benchmark runs a network: straightforwardly, which is its baseline, and as `mrfa animate` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas
from mrfa.animation.crop import crop_image, find_clip_crop, picture_crop
from mrfa.animation.job import animate_file
from mrfa.animation.portrait import drawn_crops
from mrfa.animation.runtimes import BACKENDS
from mrfa.bench.machine import Stopwatch
from mrfa.config import preset_names
from mrfa.data.images import read_image
from mrfa.data.tensors import to_tensor
from mrfa.data.video import VideoReader, VideoWriter
from mrfa.devices import PRECISIONS, fastest_precision, pick_device, precision_name
from mrfa.errors import InputError
from mrfa.faces.finder import FaceFinder
from mrfa.network.model import Network, Output
from mrfa.training.config import load_config
from mrfa.weights import bundled_names, load_model

BASELINE = "straightforward"
COMPILE = "compile"
# Parts of the network's work: the whole of it a frame, or of the portrait once, and of every frame.
FORWARD, ENCODE, DETECT, ANIMATE = "forward", "encode", "detect", "animate"


class Way(Protocol):
    """A way to run a network."""

    name: str

    @property
    def dtype(self) -> torch.dtype:
        """Of the convolutions."""
        ...

    def draw(self, source: np.ndarray, frames: Sequence[np.ndarray]) -> dict[str, float]:
        """Draw a portrait as each of some driving frames shows it, and tell how long each part took, in seconds.

        Args:
            source: the portrait, uint8 RGB `[size, size, 3]` of the network's size.
            frames: likewise.
        """
        ...

    def animate_file(self, portrait: Path, driver: Path, output: Path) -> None:
        """From files to a file."""
        ...

    def example(self, source: np.ndarray, frame: np.ndarray) -> Output:
        """Of one frame, with the driver's keypoints as they are and a still background."""
        ...


class Straightforward:
    """The network as the paper has it, on both pictures of every frame in float32, and one step after the other.

    Args:
        network: on its device.
    """

    name = BASELINE
    dtype = torch.float32

    def __init__(self, network: Network) -> None:
        self._network, self._device = network, next(network.parameters()).device
        self._size = network.config.image_size

    def draw(self, source: np.ndarray, frames: Sequence[np.ndarray]) -> dict[str, float]:
        """See `Way`."""
        still, clock = to_tensor(source[None], self._device), Stopwatch(self._device)
        for frame in frames:
            self._forward(still, frame)
        return {FORWARD: clock.lap()}

    def animate_file(self, portrait: Path, driver: Path, output: Path) -> None:
        """See `Way`. The motion is absolute, which costs nothing."""
        image, reader, find = read_image(portrait), VideoReader(driver), FaceFinder(tracking=True)
        box, _ = picture_crop(image, "auto", portrait)
        place = find_clip_crop(reader)
        canvas = Canvas(image, box, self._size, paste_back=True, compare=False, with_driver=False)
        source = to_tensor(crop_image(image, box, self._size)[None], self._device)
        size, time_base, rate = (canvas.width, canvas.height), reader.time_base, reader.average_rate
        with VideoWriter(output, width=size[0], height=size[1], time_base=time_base, rate=rate) as writer:
            for frame in reader:
                find(frame.image)
                drawn = self._forward(source, crop_image(frame.image, place, self._size))
                crop, displacement = next(drawn_crops(drawn, self._network.conventions))
                writer.write(canvas.draw(crop, displacement, None), frame.pts, frame.duration)

    def example(self, source: np.ndarray, frame: np.ndarray) -> Output:
        """See `Way`."""
        with torch.inference_mode():
            still, moving = (to_tensor(picture[None], self._device) for picture in (source, frame))
            return self._network.animate(self._network.encode_source(still), self._network.detect(moving))

    def _forward(self, source: torch.Tensor, frame: np.ndarray) -> Output:
        with torch.inference_mode():
            return self._network(source, to_tensor(frame[None], self._device))


class Mode:
    """An animator.

    Args:
        name: of the mode.
        animator: the way that `mrfa animate` takes.
    """

    def __init__(self, name: str, animator: Animator) -> None:
        self.name, self._animator = name, animator

    @property
    def dtype(self) -> torch.dtype:
        """Of the convolutions."""
        return self._animator.dtype

    def draw(self, source: np.ndarray, frames: Sequence[np.ndarray]) -> dict[str, float]:
        """See `Way`. The portrait is encoded once."""
        animator, clock = self._animator, Stopwatch(self._animator.device)
        encoded = animator.encode(source)
        seconds = {ENCODE: clock.lap()}
        batches = range(0, len(frames), animator.batch_size)
        found = [animator.detect(frames[begun : begun + animator.batch_size]) for begun in batches]
        seconds[DETECT] = clock.lap()
        for keypoints in found:
            animator.step(encoded, keypoints)
        seconds[ANIMATE] = clock.lap()
        return seconds

    def animate_file(self, portrait: Path, driver: Path, output: Path) -> None:
        """See `Way`."""
        animate_file(portrait, driver, output, model=self._animator)

    def example(self, source: np.ndarray, frame: np.ndarray) -> Output:
        """See `Way`."""
        return self._animator.step(self._animator.encode(source), frame)


def load_network(name: str, device: str | None) -> Network:
    """A model's network, or that of a preset with random weights, which is as fast as a trained one.

    Raises:
        InputError: neither is there, or no such device.
    """
    place = pick_device(device)
    if name in bundled_names() or name not in preset_names():
        return load_model(name, place)
    torch.manual_seed(0)
    return Network(load_config(name).network).to(place).eval()


def default_modes(device: torch.device) -> list[str]:
    """Float32, and the precision that is fastest on a device."""
    return list(dict.fromkeys(["fp32", precision_name(fastest_precision(device))]))


def make_way(network: Network, mode: str, batch_size: int | None) -> Way:
    """A way by its name: the baseline, or what differs from float32 in torch, such as `bf16+compile`, `openvino+bf16`, `fp32`.

    Raises:
        InputError: there is no such mode.
    """
    if mode == BASELINE:
        return Straightforward(network)
    words = mode.split("+")
    unknown = [word for word in words if word not in (*PRECISIONS, *BACKENDS, COMPILE)]
    if unknown:
        known = ", ".join((*PRECISIONS, COMPILE, *BACKENDS))
        raise InputError(f"there is no mode '{unknown[0]}' to measure: choose from {known}, or several with + between them")
    backend = next((word for word in words if word in BACKENDS), "torch")
    precision = next((word for word in words if word in PRECISIONS), None)
    animator = Animator(network, dtype=precision, backend=backend, compile=COMPILE in words, batch_size=batch_size)
    return Mode(mode, animator)
