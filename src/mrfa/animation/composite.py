"""The animated crop back in its portrait, and pictures side by side."""

from collections.abc import Sequence

import cv2
import numpy as np

from mrfa.animation.crop import CropBox, crop_image

LONG_SIDE = 1280
FEATHER = 0.12
COMPARE_HEIGHT = 512


class Portrait:
    """The whole portrait, into which animated crops are pasted with a soft border.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        box: where the crop was taken.
        long_side: larger portraits are scaled down to it, in pixels.
        feather: width of the soft border over the crop's side. Where the crop meets the portrait's own border there is none.

    Attributes:
        image: the portrait as it is written, uint8 `[height, width, 3]` with both sizes even, as videos need.
    """

    def __init__(self, image: np.ndarray, box: CropBox, *, long_side: int = LONG_SIDE, feather: float = FEATHER) -> None:
        height, width = image.shape[:2]
        scale = min(1.0, long_side / max(height, width))
        if scale < 1:
            size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
            self.image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        else:
            # One row or column less is not seen; resampling the whole portrait would be.
            padding = (0, 1 if height == 1 else 0, 0, 1 if width == 1 else 0)
            image = cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE)
            self.image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].copy()
        fx, fy = (self.image.shape[1] / width, self.image.shape[0] / height) if scale < 1 else (1.0, 1.0)
        left, top = round(box.x * fx), round(box.y * fy)
        self._size = max(1, round(box.side * fx)), max(1, round(box.side * fy))
        rows = _weights(top, self._size[1], self.image.shape[0], feather)
        columns = _weights(left, self._size[0], self.image.shape[1], feather)
        y0, y1 = max(top, 0), min(top + self._size[1], self.image.shape[0])
        x0, x1 = max(left, 0), min(left + self._size[0], self.image.shape[1])
        self._target = slice(y0, max(y0, y1)), slice(x0, max(x0, x1))
        self._part = (
            slice(y0 - top, y0 - top + max(0, y1 - y0)),
            slice(x0 - left, x0 - left + max(0, x1 - x0)),
        )
        self._mask = (rows[self._part[0], None] * columns[None, self._part[1]])[..., None]
        self._rest = self.image[self._target].astype(np.float32) * (1 - self._mask)

    def paste(self, crop: np.ndarray) -> np.ndarray:
        """The portrait with a crop, uint8 RGB `[size, size, 3]`, in its place: uint8 `[height, width, 3]`, a new array."""
        smaller = self._size[0] < crop.shape[1]
        resized = cv2.resize(crop, self._size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        result = self.image.copy()
        mixed = self._rest + resized[self._part].astype(np.float32) * self._mask
        result[self._target] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
        return result


class Canvas:
    """What is written of every frame: the animated crop, in its portrait or alone, and beside it what it was made from.

    Args:
        portrait: uint8 RGB `[H, W, 3]`.
        box: where the crop was taken.
        size: side of the animated crops, in pixels.
        paste_back: show the whole portrait, otherwise the crop.
        compare: show the source's crop before the result.
        with_driver: when comparing, show the driver's picture between both.

    Attributes:
        width, height: of the pictures, in pixels.
        panel_height: side of the driver's pictures, in pixels; 0 where none are shown.
    """

    def __init__(
        self, portrait: np.ndarray, box: CropBox, size: int, *, paste_back: bool, compare: bool, with_driver: bool
    ) -> None:
        self._portrait = Portrait(portrait, box) if paste_back else None
        self.height, self.width = size, size
        if self._portrait is not None:
            self.height, self.width = self._portrait.image.shape[:2]
        self.panel_height = 0
        self._source: np.ndarray | None = None
        if compare:
            rows = max(size, min(self.height, COMPARE_HEIGHT)) // 2 * 2
            self._source = crop_image(portrait, box, rows)
            blank = np.zeros((self.height, self.width, 3), np.uint8)
            panels = [self._source, self._source, blank] if with_driver else [self._source, blank]
            self.height, self.width = side_by_side(panels, rows).shape[:2]
            self.panel_height = rows if with_driver else 0

    def draw(self, crop: np.ndarray, panel: np.ndarray | None) -> np.ndarray:
        """The picture of an animated crop, uint8 `[size, size, 3]`, and the driver's panel: uint8 `[height, width, 3]`."""
        picture = crop if self._portrait is None else self._portrait.paste(crop)
        if self._source is None:
            return picture
        panels = [self._source, picture] if panel is None else [self._source, panel, picture]
        return side_by_side(panels, self.height)


def side_by_side(pictures: Sequence[np.ndarray], height: int) -> np.ndarray:
    """Pictures uint8 `[H, W, 3]` beside each other, each scaled to `height`: `[height, W', 3]` with even sizes.

    Args:
        pictures: at least one.
        height: even, in pixels.
    """
    panels = []
    for picture in pictures:
        width = max(2, round(picture.shape[1] * height / picture.shape[0] / 2) * 2)
        if picture.shape[:2] != (height, width):
            smaller = height < picture.shape[0]
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        panels.append(picture)
    return np.ascontiguousarray(np.concatenate(panels, axis=1))


def _weights(start: int, size: int, limit: int, feather: float) -> np.ndarray:
    """Weight of the crop along one axis: a smooth rise at each end that lies inside the portrait; float32 `[size]`."""
    ramp = max(1.0, feather * size)
    position = np.arange(size, dtype=np.float32) + 0.5
    weights = np.ones(size, np.float32)
    for inside, distance in ((start > 0, position), (start + size < limit, size - position)):
        if inside:
            step = np.clip(distance / ramp, 0, 1)
            weights *= step * step * (3 - 2 * step)
    return weights
