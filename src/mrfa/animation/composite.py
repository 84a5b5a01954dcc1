"""What is written of every frame: the portrait in motion, or its crop alone, and beside it what it was made from."""

from collections.abc import Sequence

import cv2
import numpy as np

from mrfa.animation.crop import CropBox, crop_image, whole_picture
from mrfa.animation.portrait import Portrait

COMPARE_HEIGHT = 512


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
        if paste_back:
            self._portrait = Portrait(portrait, box)
        else:
            self._portrait = Portrait(crop_image(portrait, box, size), whole_picture(size, size), long_side=size)
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

    def draw(self, crop: np.ndarray, displacement: np.ndarray, panel: np.ndarray | None) -> np.ndarray:
        """The picture of the next frame, uint8 `[height, width, 3]`.

        Args:
            crop: the animated crop, uint8 `[size, size, 3]`.
            displacement: of `crop_displacement`, float32 `[h, w, 2]`.
            panel: the driver's, where one is shown.
        """
        picture = self._portrait.paste(crop, displacement)
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
