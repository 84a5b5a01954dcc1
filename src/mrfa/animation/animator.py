"""The animator: a network, where and how it computes, and the one way from a portrait and driving frames to pictures."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, count, islice
from operator import itemgetter
from pathlib import Path
from typing import Literal, cast, overload

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.face_motion import PoseKind, Strengths, is_of_places
from mrfa.animation.live import BestSoFar
from mrfa.animation.motion import Transfer
from mrfa.animation.pictures import Picture, Pictures, as_batch, check_picture
from mrfa.animation.runtimes import pick_engine
from mrfa.animation.settings import MotionKind, MotionSettings
from mrfa.animation.smoothing import SmoothMotion
from mrfa.data.tensors import to_pictures
from mrfa.devices import pick_batch_size, pick_device
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network, Output, Source
from mrfa.weights import detector_fingerprint, load_model


class Animator:
    """Animates portraits: the one pipeline of command line, evaluation, figures and benchmark.

    It keeps nothing of what it is given, so several threads may use it at once.

    Example:
        animator = Animator.from_pretrained("small")
        source = animator.encode(portrait)
        for picture in animator.animate(source, frames): ...

    Pictures are NumPy arrays, uint8 RGB `[H, W, 3]`, or tensors in [0, 1], `[3, H, W]`, of any size: of each the middle square
    is taken, and resized to the network's size.

    Args:
        network: is put into evaluation mode, and onto the device. What is computed is a faster copy, see `for_inference`: later
            changes of the weights do not count.
        device: where to compute; None: where the network is.
        dtype: of the convolutions, `fp32` (None), `bf16` or `fp16`, or torch's names; positions and flows are always float32. Or
            `auto`: the fastest on the device, see `fastest_precision`, if its first pictures are those of float32.
        backend: what computes: `torch`, or `onnxruntime` or `openvino` on the CPU, see `GraphEngine`.
        compile: compile the network with `torch.compile`, which takes its time at the first pictures.
        batch_size: driving frames computed together by `animate`; None: 4 on a CPU, else 16.

    Attributes:
        network, device, batch_size: as given, or as chosen.
        engine: computes.
        size: side of the network's pictures, in pixels.
        name: of the model's folder; None where it came from none.

    Raises:
        InputError: no such device, precision or backend, or a batch size below 1.
    """

    def __init__(
        self,
        network: Network,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        backend: str = "torch",
        compile: bool = False,
        batch_size: int | None = None,
    ) -> None:
        self.device = next(network.parameters()).device if device is None else pick_device(device)
        self.batch_size = pick_batch_size(batch_size, self.device)
        self.network = network.to(self.device).eval()
        self.size = network.config.image_size
        self.name: str | None = None
        self.engine = pick_engine(self.network, dtype, backend=backend, compile=compile)

    @property
    def dtype(self) -> torch.dtype:
        """Of the convolutions. With `auto` it may change at the first pictures, with a warning, to float32."""
        return self.engine.dtype

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path = "small",
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        backend: str = "torch",
        compile: bool = False,
        batch_size: int | None = None,
    ) -> "Animator":
        """An animator with the weights of a bundled model or of a model folder.

        Args:
            name_or_folder: name of a bundled model, or path of a model folder.
            device: where to compute; None: see `pick_device`, and with another backend than torch the CPU.
            dtype: see the class.
            backend: see the class.
            compile: see the class.
            batch_size: see the class.

        Raises:
            InputError: no such model, device or precision, or the model's files are damaged.
        """
        network = load_model(name_or_folder, pick_device("cpu" if device is None and backend != "torch" else device))
        animator = cls(network, dtype=dtype, backend=backend, compile=compile, batch_size=batch_size)
        animator.name = Path(name_or_folder).absolute().name
        return animator

    @property
    def fingerprint(self) -> str:
        """Short name of the keypoint detector: what a motion template keeps beside named places fits this detector alone."""
        return detector_fingerprint(self.network)

    def encode(self, images: Pictures) -> Source:
        """All that depends on the portrait alone, of one portrait or of a batch or list of S portraits.

        Raises:
            ValueError: no pictures as above.
        """
        batch = as_batch(images, self.size, self.device)
        return self.engine.encode(batch)

    def detect(self, images: Pictures | Sequence[Picture | Keypoints]) -> Keypoints:
        """Keypoints of one picture or of a batch or list of B pictures, positions `[B, K, 2]`.

        What is keypoints in a list already, positions `[1, K, 2]`, stays as it is.

        Raises:
            ValueError: no pictures as above.
        """
        if isinstance(images, (list, tuple)) and any(isinstance(image, Keypoints) for image in images):
            return stack_keypoints(x.to(self.device) if isinstance(x, Keypoints) else self.detect(x) for x in images)
        batch = as_batch(cast(Pictures, images), self.size, self.device)
        return self.engine.detect(batch)

    def step(
        self,
        source: Source,
        driving: Pictures | Keypoints,
        *,
        transfer: Transfer | None = None,
        same_video: bool = False,
        coarse_only: bool = False,
    ) -> Output:
        """S portraits in the poses of B driving frames, all at once.

        Args:
            source: what `encode` made of S portraits.
            driving: a picture, a batch or list of pictures, or keypoints, positions `[B, K, 2]`, or for `FaceMotion` the named
                `[B, G, 2]` without maps.
            transfer: what the portraits get of the driver's keypoints, such as `RelativeMotion`: from `[B, K, 2]` to `[B, K, 2]`
                or, portrait by portrait, to `[S * B, K, 2]`. None: the driver's keypoints as they are (absolute motion).
            same_video: portrait and driver are one video: the background moves, too, where the network follows it.
            coarse_only: generate from the coarse motion alone, without its refinement.

        Returns:
            The network's output for a batch of `S * B`, portrait by portrait; its `image` is `[S * B, 3, size, size]` in [0, 1].

        Raises:
            ValueError: no pictures as above, keypoints of another number or kind than the portrait's, or `same_video` without
                pictures.
        """
        if isinstance(driving, Keypoints):
            if same_video:
                raise ValueError("how the background moves is seen in pictures: give these, not keypoints")
            if transfer is None or not is_of_places(self.network, driving):
                check_kind(driving, source.keypoints)
            images, found = None, driving.to(self.device)
        else:
            images = as_batch(driving, self.size, self.device)
            found = self.detect(images)
        portraits = source.image.shape[0]
        count = portraits * found.positions.shape[0]
        with torch.inference_mode():
            background = None
            if images is not None and same_video:
                repeated = images.repeat(portraits, 1, 1, 1)
                background = self.network.follow_background(source, repeated, _tiled(found, count))
            moved = _tiled(found if transfer is None else transfer(found), count)
        return self.engine.animate(source, moved, coarse_only=coarse_only, background=background)

    def draw(self, source: Source, keypoints: Keypoints) -> Output:
        """Each of S portraits at keypoints of its own, positions `[S, K, 2]`, all at once; as `step` gives them.

        Raises:
            ValueError: keypoints of another number or kind than the portraits'.
        """
        check_kind(keypoints, source.keypoints)
        portraits, count = source.image.shape[0], keypoints.positions.shape[0]
        if portraits != count:
            raise ValueError(f"expected as many keypoints as portraits, got {portraits} portraits and keypoints of {count}")
        return self.engine.animate(source, keypoints.to(self.device))

    @overload
    def animate(
        self,
        source: Source,
        frames: Iterable[Tensor],
        *,
        motion: MotionKind = ...,
        strengths: Strengths = ...,
        adapt_scale: bool = ...,
        pose: PoseKind = ...,
        initial: Keypoints | Literal["first", "best"] = ...,
        smooth: float = ...,
        rate: float = ...,
    ) -> Iterator[Tensor]: ...

    @overload
    def animate(
        self,
        source: Source,
        frames: Iterable[np.ndarray | Keypoints],
        *,
        motion: MotionKind = ...,
        strengths: Strengths = ...,
        adapt_scale: bool = ...,
        pose: PoseKind = ...,
        initial: Keypoints | Literal["first", "best"] = ...,
        smooth: float = ...,
        rate: float = ...,
    ) -> Iterator[np.ndarray]: ...

    def animate(
        self,
        source: Source,
        frames: Iterable[Picture | Keypoints],
        *,
        motion: MotionKind = "auto",
        strengths: Strengths = Strengths(),  # noqa: B008 -- a tuple
        adapt_scale: bool = False,
        pose: PoseKind = "relative",
        initial: Keypoints | Literal["first", "best"] = "first",
        smooth: float = 0.0,
        rate: float = 25.0,
    ) -> Iterator[np.ndarray] | Iterator[Tensor]:
        """The portraits in the pose of each driving frame, one by one as they come.

        The first frame is taken at once, and then `batch_size` at a time; no more are held in memory.

        Args:
            source: what `encode` made of S portraits.
            frames: pictures of the driver, or keypoints, positions `[1, K, 2]`.
            motion: `auto`, `relative` or `absolute`, see `MotionSettings`; `auto` learns the driver's shape as frames come.
            strengths: how much of expression, head motion, eyes and lips the portraits get.
            adapt_scale: scale relative motion by the size of the faces.
            pose: `relative`: heads move on from the portrait's pose; `absolute`: they are turned as the driver's.
            initial: the driver's frame that counts as the portrait's pose: its keypoints, positions `[1, K, 2]`, or the `first`,
                or the `best` so far, to which portraits ease over, see `BestSoFar`.
            smooth: steady the driver's motion, 0 (as it is) to 1, which lags by a third of a frame or less; see `SmoothMotion`.
            rate: of the driver, in frames a second, by which smoothing goes.

        Returns:
            For each frame uint8 RGB `[size, size, 3]`, or, where frames are tensors, a tensor `[3, size, size]` in [0, 1] on the
            animator's device; of several portraits `[S, size, size, 3]` or `[S, 3, size, size]`.

        Raises:
            InputError: settings that do not go together, or with the model.
            ValueError: the rate is not above 0, or the first frame or `initial` does not fit. A later frame that does not fit
                raises when its turn comes.
        """
        settings = MotionSettings(motion, strengths, adapt_scale, pose)
        settings.check()
        settings.check_model(self.network)
        steady = SmoothMotion(smooth)
        if not rate > 0:
            raise ValueError(f"expected a rate above 0, got {rate}")
        if motion == "absolute" and initial != "first":
            raise ValueError("initial is where relative motion begins: leave it out with motion='absolute'")
        if isinstance(initial, Keypoints):
            check_kind(initial, source.keypoints)
            initial = initial.to(self.device)
        remaining = iter(frames)
        first = next(remaining, None)
        if first is not None:
            _check_frame(first, source)
        begun = chain(() if first is None else (first,), remaining)
        images = self._animated(source, begun, settings, initial, steady, rate)
        pictures = chain.from_iterable(images) if isinstance(first, Tensor) else chain.from_iterable(map(_to_arrays, images))
        return pictures if source.image.shape[0] > 1 else map(itemgetter(0), pictures)

    def _animated(
        self,
        source: Source,
        frames: Iterator[Picture | Keypoints],
        settings: MotionSettings,
        initial: Keypoints | Literal["first", "best"],
        steady: SmoothMotion,
        rate: float,
    ) -> Iterator[Tensor]:
        """`[B, S, 3, size, size]` for every `batch_size` frames."""
        transfer: Transfer | None = None
        times = (number / rate for number in count())
        while batch := list(islice(frames, self.batch_size)):
            for frame in batch:
                _check_frame(frame, source)
            driving = steady(self.detect(batch), list(islice(times, len(batch))))
            if transfer is None:
                transfer = self._transfer(source, driving, settings, initial)
            image = self.step(source, driving, transfer=transfer).image
            yield image.unflatten(0, (-1, len(batch))).transpose(0, 1)

    def _transfer(
        self, source: Source, driving: Keypoints, settings: MotionSettings, initial: Keypoints | Literal["first", "best"]
    ) -> Transfer | None:
        """What moves portraits by a stream that begins with these frames."""
        begun = initial if isinstance(initial, Keypoints) else driving
        transfer = settings.transfer(self.network, source.keypoints, begun)
        if transfer is None or initial != "best":
            return transfer
        return BestSoFar(transfer, partial(settings.best_start, self.network, source.keypoints))


def _check_frame(frame: Picture | Keypoints, source: Source) -> None:
    """Check that a driving frame is one picture, or keypoints of one frame that go with a source's."""
    if isinstance(frame, Keypoints):
        check_kind(frame, source.keypoints)
        if frame.positions.shape[0] != 1:
            raise ValueError(f"expected keypoints of one frame, [1, K, 2], got those of {frame.positions.shape[0]}")
    else:
        check_picture(frame)


def check_kind(keypoints: Keypoints, expected: Keypoints) -> None:
    """Check that keypoints are of the number and the kind of others.

    Raises:
        InputError: they are not; says what they are.
    """
    if _kind(keypoints) != _kind(expected):
        raise InputError(f"expected keypoints {_kind(expected)}, as the portrait's are, got {_kind(keypoints)}")


def _kind(keypoints: Keypoints) -> str:
    """Shape and kind of keypoints but for their batch, in words."""
    positions, affine = keypoints
    maps = "no affine maps" if affine is None else f"affine maps {_unbatched(affine)}"
    return f"{_unbatched(positions)} with {maps}"


def _unbatched(tensor: Tensor) -> str:
    return f"[{', '.join(['B', *map(str, tensor.shape[1:])])}]"


def _tiled(keypoints: Keypoints, count: int) -> Keypoints:
    """Keypoints of B frames again for each portrait, `[count, K, 2]`."""
    positions, affine = keypoints
    times = count // positions.shape[0]
    return Keypoints(positions.repeat(times, 1, 1), None if affine is None else affine.repeat(times, 1, 1, 1))


def _to_arrays(images: Tensor) -> np.ndarray:
    """`[B, S, 3, H, W]` in [0, 1] to uint8 RGB `[B, S, H, W, 3]`."""
    return to_pictures(images.flatten(0, 1)).reshape(*images.shape[:2], *images.shape[3:], 3)
