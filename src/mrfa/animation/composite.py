"""What is written of every frame: the portrait in motion, or its crop alone, and beside it what it was made from."""

from collections.abc import Sequence

import cv2
import numpy as np

from mrfa.animation.crop import CropBox, crop_image, whole_picture
from mrfa.animation.ghosts import GhostRemover
from mrfa.animation.portrait import LONG_SIDE, Portrait

COMPARE_HEIGHT = 512
MARK = "AI-generated"


class Canvas:
    """What is written of every frame: the animated crop, in its portrait or alone, and beside it what it was made from.

    Args:
        portrait: uint8 RGB `[H, W, 3]`.
        box: where the crop was taken.
        size: side of the animated crops, in pixels.
        paste_back: show the whole portrait, otherwise the crop.
        compare: show the source's crop before the result.
        with_driver: when comparing, show the driver's picture between both.
        long_side: larger portraits are scaled down to it, in pixels.

    Attributes:
        width, height: of the pictures, in pixels.
        panel_height: side of the driver's pictures, in pixels; 0 where none are shown.
    """

    def __init__(
        self,
        portrait: np.ndarray,
        box: CropBox,
        size: int,
        *,
        paste_back: bool,
        compare: bool,
        with_driver: bool,
        long_side: int = LONG_SIDE,
    ) -> None:
        self._size, self._paste_back, self._long_side = size, paste_back, long_side
        picture, self._place = self._shown(portrait, box)
        self._portrait = Portrait(picture, self._place, long_side=long_side)
        self._without_ghosts: GhostRemover | None = GhostRemover(crop_image(portrait, box, size))
        self.height, self.width = self._portrait.image.shape[:2]
        self.panel_height = 0
        self._source: np.ndarray | None = None
        if compare:
            rows = max(size, min(self.height, COMPARE_HEIGHT)) // 2 * 2
            self._source = crop_image(portrait, box, rows)
            self.panel_height = rows if with_driver else 0
            self.height, self.width = self.unchanged(self._source if with_driver else None).shape[:2]

    def show(self, portrait: np.ndarray, box: CropBox) -> None:
        """Go on with another portrait of the same size, such as the next frame of a video, and its crop.

        From then on no ghosts are looked for: in a video heads move little from where they are.
        """
        self._without_ghosts = None
        picture, place = self._shown(portrait, box)
        if place == self._place:
            self._portrait.show(picture)
        else:
            self._portrait, self._place = Portrait(picture, place, long_side=self._long_side), place
        if self._source is not None:
            self._source = crop_image(portrait, box, len(self._source))

    def draw(self, crop: np.ndarray, displacement: np.ndarray, panel: np.ndarray | None) -> np.ndarray:
        """The picture of the next frame, uint8 `[height, width, 3]`.

        Args:
            crop: the animated crop, uint8 `[size, size, 3]`.
            displacement: of `crop_displacement`, float32 `[h, w, 2]`.
            panel: the driver's, where one is shown.
        """
        if self._without_ghosts is not None:
            crop = self._without_ghosts(crop, displacement)
        return self._compared(self._portrait.paste(crop, displacement), panel)

    def unchanged(self, panel: np.ndarray | None) -> np.ndarray:
        """The picture of a frame in which the portrait stays as it is."""
        return self._compared(self._portrait.image, panel)

    def _shown(self, portrait: np.ndarray, box: CropBox) -> tuple[np.ndarray, CropBox]:
        """What is written without comparing, and where in it the crop lies."""
        if self._paste_back:
            return portrait, box
        return crop_image(portrait, box, self._size), whole_picture(self._size, self._size)

    def _compared(self, picture: np.ndarray, panel: np.ndarray | None) -> np.ndarray:
        if self._source is None:
            return picture
        panels = [self._source, picture] if panel is None else [self._source, panel, picture]
        return side_by_side(panels, len(self._source))


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


def draw_mark(picture: np.ndarray) -> np.ndarray:
    """A copy of a picture, uint8 `[H, W, 3]`, that says in its lower right corner that it is AI-generated."""
    marked = picture.copy()
    height, width = picture.shape[:2]
    # Readable in any size, and never wider than the picture.
    scale = min(max(height / 720, 0.4), width / 300)
    thickness = max(1, round(2 * scale))
    (across, above), below = cv2.getTextSize(MARK, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    margin = below + 2 * thickness
    x, y = width - across - margin, height - below - margin
    left, top = max(0, x - margin), max(0, y - above - margin)
    corner = marked[top:, left:]
    text = np.zeros(corner.shape[:2], np.uint8)
    cv2.putText(text, MARK, (x - left, y - top), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness, cv2.LINE_AA)
    # White on any ground, by its dark edge. OpenCV 5 draws another font, which knows no broader lines for an edge.
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * thickness + 1, 2 * thickness + 1))
    letters, ground = (cv2.merge([values] * 3) for values in (text, 255 - cv2.dilate(text, brush)))
    corner[:] = cv2.add(cv2.multiply(corner, ground, scale=1 / 255), letters)
    return marked
