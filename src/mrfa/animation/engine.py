"""How a network is run: in a precision, on its device, as fast as that goes."""

import warnings
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Protocol

import torch
from torch import Tensor

from mrfa.animation.graphs import Graphed
from mrfa.devices import precision_name
from mrfa.network.inference import for_inference, pack
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output, Source

# Mean difference up to which two pictures in [0, 1] count as the same: two steps of the 255 that a video has. Between bf16 and
# float32 it is a tenth to a half of one.
SAME_PICTURE = 2 / 255


class Engine(Protocol):
    """The three things that are asked of a network. All may be asked by several threads at once."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the convolutions."""
        ...

    def detect(self, images: Tensor) -> Keypoints:
        """See `Network.detect`."""
        ...

    def encode(self, images: Tensor) -> Source:
        """See `Network.encode_source`."""
        ...

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        """See `Network.animate`."""
        ...


class TorchEngine:
    """A copy of a network made fast for inference, on the network's device.

    Args:
        network: stays as it is.
        dtype: of the convolutions.
        compile: compile it with `torch.compile`, which takes its time at the first pictures of each batch size.
        graphs: on CUDA, launch each part as one graph, recorded when a batch size comes again.
    """

    def __init__(self, network: Network, dtype: torch.dtype, *, compile: bool = False, graphs: bool = True) -> None:
        self.dtype = dtype
        self.device = next(network.parameters()).device
        fast = for_inference(network, dtype)
        if self.device.type == "cpu" and not compile:
            pack(fast)
        self._detect, self._encode, self._animate = fast.detect, fast.encode_source, fast.animate
        if compile:
            compiled = partial(torch.compile, dynamic=False)
            self._detect, self._encode = compiled(fast.detect), compiled(fast.encode_source)
            self._animate = compiled(fast.animate)
        if graphs and self.device.type == "cuda":
            self._detect, self._encode, self._animate = Graphed(self._detect), Graphed(self._encode), Graphed(self._animate)

    def detect(self, images: Tensor) -> Keypoints:
        """See `Engine`."""
        with torch.inference_mode(), self._autocast():
            return self._detect(images)

    def encode(self, images: Tensor) -> Source:
        """See `Engine`."""
        with torch.inference_mode(), self._autocast():
            return self._encode(images)

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        """See `Engine`."""
        with torch.inference_mode(), self._autocast():
            return self._animate(source, driving, coarse_only=coarse_only, background=background)

    def _autocast(self) -> torch.autocast:
        half = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype if half else None, enabled=half)


class CheckedEngine:
    """A fast engine whose first pictures are compared with an exact one's, which goes on alone where they differ.

    Args:
        fast: is tried.
        exact: makes the exact engine when it is needed, for the comparison.
    """

    def __init__(self, fast: Engine, exact: Callable[[], Engine]) -> None:
        self._engine, self._exact = fast, exact
        self._checked = False
        self._given_up: torch.dtype | None = None
        self._lock = Lock()

    @property
    def dtype(self) -> torch.dtype:
        """Of the engine that is used."""
        return self._engine.dtype

    def detect(self, images: Tensor) -> Keypoints:
        """See `Engine`."""
        return self._engine.detect(images)

    def encode(self, images: Tensor) -> Source:
        """See `Engine`."""
        return self._engine.encode(images)

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        """See `Engine`."""
        with self._lock:
            if not self._checked:
                self._check(source, driving)
                self._checked = True
        if self._given_up is not None and source.features[0].dtype == self._given_up:  # encoded before the check
            source = self._engine.encode(source.image)
        return self._engine.animate(source, driving, coarse_only=coarse_only, background=background)

    def _check(self, source: Source, driving: Keypoints) -> None:
        exact = self._exact()
        image = self._engine.animate(source, driving).image
        # Of numbers that are not finite, it is not finite either.
        difference = float((image - exact.animate(exact.encode(source.image), driving).image).abs().mean())
        if not difference <= SAME_PICTURE:
            tried, used = precision_name(self.dtype), precision_name(exact.dtype)
            warnings.warn(f"{tried} does not draw what {used} does, but {difference:.3f} of 1 away: {used} is used", stacklevel=4)
            self._given_up, self._engine = self.dtype, exact
