"""The animator takes a portrait once and is then driven by any number of frames."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.crop import Crop, CropBox, crop_image, parse_crop, picture_crop
from mrfa.animation.motion import transfer_motion
from mrfa.animation.template import stack_keypoints
from mrfa.data.tensors import to_pictures, to_tensor
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Source
from mrfa.weights import detector_fingerprint, load_model


class Animator:
    """Animates a portrait: the one pipeline of command line, evaluation and benchmark.

    Example:
        animator = Animator.from_pretrained("small")
        animator.set_source(portrait)
        for picture in animator.animate(crops): ...

    Args:
        network: in evaluation mode; it stays where it is unless a device is given.
        device: where to compute.

    Attributes:
        network: the network.
        size: side of the crops that go in and come out, in pixels.
        source_crop: where in the portrait the crop was taken.
        source_picture: that crop, uint8 `[size, size, 3]`.
    """

    def __init__(self, network: Network, device: str | torch.device | None = None) -> None:
        self.network = network.eval() if device is None else network.to(device).eval()
        self.size = network.config.image_size
        self.device = next(network.parameters()).device
        self.source_crop: CropBox | None = None
        self.source_picture: np.ndarray | None = None
        self._source: Source | None = None

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path = "small", device: str | torch.device | None = None) -> "Animator":
        """An animator with the weights of a bundled model or of a model folder.

        Args:
            name_or_folder: name of a bundled model, or path of a model folder.
            device: where to compute; a GPU where there is one, unless told otherwise.

        Raises:
            InputError: no such model, or its files are damaged.
        """
        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return cls(load_model(name_or_folder, device))

    @property
    def fingerprint(self) -> str:
        """Short name of the keypoint detector: motion templates fit detectors of the same fingerprint."""
        return detector_fingerprint(self.network)

    @property
    def source_keypoints(self) -> Keypoints:
        """Of the portrait, positions `[1, K, 2]`."""
        return self._require_source().keypoints

    def set_source(self, image: np.ndarray, crop: Crop | str = "auto", name: str | Path = "the source picture") -> None:
        """Take a portrait; all that depends on it alone is computed here, once.

        Args:
            image: uint8 RGB `[H, W, 3]`.
            crop: `auto` finds the face, `none` takes the middle square, a box or `x,y,w,h` takes that.
            name: what errors call the picture.

        Raises:
            InputError: no face found, or the crop lies outside the picture.
        """
        if isinstance(crop, str):
            crop = parse_crop(crop)
        box = picture_crop(image, crop, name)
        picture = crop_image(image, box, self.size)
        with torch.inference_mode():
            self._source = self.network.encode_source(self._tensor([picture]))
        self.source_crop, self.source_picture = box, picture

    def detect(self, image: np.ndarray) -> Keypoints:
        """Keypoints of a square crop, uint8 RGB `[size, size, 3]` or a batch `[B, size, size, 3]`: positions `[B, K, 2]`."""
        images = [image] if image.ndim == 3 else list(image)
        with torch.inference_mode():
            return self.network.detect(self._tensor(images))

    def animate(
        self,
        frames: Iterable[np.ndarray | Keypoints],
        *,
        relative: bool = True,
        adapt_scale: bool = False,
        initial: Keypoints | None = None,
        batch_size: int = 1,
    ) -> Iterator[np.ndarray]:
        """The portrait in the pose of each driving frame, one by one as they come.

        Args:
            frames: square crops of the driver, uint8 RGB `[size, size, 3]`, or their keypoints, positions `[1, K, 2]`.
            relative: add the driver's motion to the portrait's pose, otherwise take the driver's pose.
            adapt_scale: scale relative motion by the size of the faces.
            initial: keypoints of the driver's frame that counts as the portrait's pose; the first frame's by default.
            batch_size: frames computed together; at most so many are held in memory.

        Yields:
            uint8 RGB `[size, size, 3]` for each frame.

        Raises:
            RuntimeError: `set_source` was not called.
        """
        source = self._require_source()
        iterator = iter(frames)
        while batch := list(islice(iterator, batch_size)):
            # The mode is entered for each batch anew: a generator must not leave it on in its caller.
            with torch.inference_mode():
                driving = self._keypoints(batch)
                if initial is None:
                    initial = Keypoints(driving.positions[:1], None if driving.affine is None else driving.affine[:1])
                moved = transfer_motion(source.keypoints, driving, initial, relative=relative, adapt_scale=adapt_scale)
                pictures = to_pictures(self.network.animate(source, moved).image)
            yield from pictures

    def _keypoints(self, batch: list[np.ndarray | Keypoints]) -> Keypoints:
        """Keypoints of crops and of keypoints, which may be mixed, in their order."""
        crops = [item for item in batch if isinstance(item, np.ndarray)]
        if len(crops) == len(batch):
            return self.network.detect(self._tensor(crops))
        parts = [self.detect(item) if isinstance(item, np.ndarray) else self._moved(item) for item in batch]
        return stack_keypoints(parts)

    def _moved(self, keypoints: Keypoints) -> Keypoints:
        affine = keypoints.affine
        return Keypoints(keypoints.positions.to(self.device), None if affine is None else affine.to(self.device))

    def _tensor(self, images: list[np.ndarray]) -> Tensor:
        """Pictures uint8 `[size, size, 3]` as a float tensor `[B, 3, size, size]` in [0, 1]."""
        for image in images:
            if image.shape != (self.size, self.size, 3):
                raise ValueError(f"expected a crop of {self.size}x{self.size}x3, got {'x'.join(map(str, image.shape))}")
        return to_tensor(np.stack(images), self.device)

    def _require_source(self) -> Source:
        if self._source is None:
            raise RuntimeError("give a portrait first: animator.set_source(image)")
        return self._source
