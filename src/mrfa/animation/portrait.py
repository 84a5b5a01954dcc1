"""The portrait, set in motion by animated crops.

What the network makes is small and soft, and most of a portrait only moves, or does not change at all. So the portrait's own
pixels are shown, moved by the network's flow, wherever at a coarse look they are what the network generated. The generated
picture is left with what the portrait cannot show: uncovered background, teeth, closing lids, the far side of a turn. (The
network's occlusion map weighs features inside of it, and says less: where nothing moves it lies about one half.)

Around the crop hair and shoulders go on. There the portrait follows the flow at the crop's border, less and less with distance.
"""

import math

import cv2
import numpy as np
from torch import Tensor

from mrfa.animation.crop import CropBox
from mrfa.network.geometry import Conventions
from mrfa.network.model import Output

LONG_SIDE = 1280

# In sides of the crop: how far beyond it the portrait follows, and how wide inside of it the generated picture fades in, while
# the flow is evened out, as beyond the border it is a guess.
REACH = 0.3
FADE = 0.12

# In sides of the crop: what moves less is noise and stays, what moves more moves fully.
STILL, MOVING = 0.5 / 256, 1.5 / 256

# Difference from the generated picture, of 255, up to which the portrait's pixels are shown, and from which on not. With more,
# lids that close in the generated picture would be half open.
ALIKE, UNLIKE = 5, 9

# The generated picture's share rises at once, and falls by at most this from frame to frame, so that nothing flickers.
RELEASE = 0.15

# Motion and shares are found on a grid of about so many cells over the crop's side.
CELLS = 160


def crop_displacement(output: Output, conventions: Conventions) -> Tensor:
    """How far from each place of animated crops the place lies that it shows, (x, y) in sides of the crop: `[B, h, w, 2]`.

    Args:
        output: of the network, for B frames.
        conventions: of the network.
    """
    displacement = conventions.to_displacement(output.motion.flows[-1])
    side = output.image.shape[-1]
    return (displacement * conventions.pixel_scale((side, side), displacement) / side).permute(0, 2, 3, 1)


class Portrait:
    """The whole portrait. Crops come in the order of their frames.

    Args:
        image: uint8 RGB `[H, W, 3]`.
        box: where the crop was taken.
        long_side: larger portraits are scaled down to it, in pixels.

    Attributes:
        image: the portrait as it is written, uint8 `[height, width, 3]` with both sizes even, as videos need.
    """

    def __init__(self, image: np.ndarray, box: CropBox, *, long_side: int = LONG_SIDE) -> None:
        self.image, fx, fy = _fitted(image, long_side)
        rows = _Axis(round(box.y * fy), max(1, round(box.side * fy)), self.image.shape[0])
        columns = _Axis(round(box.x * fx), max(1, round(box.side * fx)), self.image.shape[1])
        self._size = np.array([columns.size, rows.size], np.float32)
        self._region = rows.region, columns.region
        self._target, self._part = (rows.target, columns.target), (rows.part, columns.part)
        self._still = np.ascontiguousarray(self.image[self._region])
        height, width = self._still.shape[:2]
        self._pixels = _grid(np.arange(width), np.arange(height))
        self._cells = _grid(np.arange(columns.cells), np.arange(rows.cells))
        self._cell = np.array([width / columns.cells, height / rows.cells], np.float32)
        self._places = _grid(columns.places, rows.places)
        beyond = np.hypot(columns.beyond[None], rows.beyond[:, None])
        self._follow = (1 - _smooth_step(beyond / REACH))[..., None]
        self._inside = _smooth_step(np.minimum(columns.depth[None], rows.depth[:, None]) / FADE)
        self._width = max(1, round(FADE * columns.size / self._cell[0])), max(1, round(FADE * rows.size / self._cell[1]))
        self._coarse = self._coarsened(self._still)
        self._share = np.zeros(self._inside.shape, np.float32)

    def paste(self, crop: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """The portrait as the next frame shows it: uint8 `[height, width, 3]`, a new array.

        Args:
            crop: the animated crop, uint8 RGB `[size, size, 3]`.
            displacement: of `crop_displacement`, float32 `[h, w, 2]`.
        """
        generated = self._in_region(crop)
        motion = self._motion(displacement)
        self._share = self._generated_share(generated, motion)
        result = self.image.copy()
        touched = self._touched(motion)
        if touched is None:
            return result
        shape = generated.shape[1::-1]
        positions = self._pixels[touched] + cv2.resize(motion, shape)[touched]
        moved = _sample(self._still, positions)
        weights = cv2.resize(self._share, shape)[touched]
        result[self._region][touched] = cv2.blendLinear(generated[touched], moved, weights, 1 - weights)
        return result

    def _in_region(self, crop: np.ndarray) -> np.ndarray:
        """The crop at its place in the region, the portrait around it."""
        size = int(self._size[0]), int(self._size[1])
        smaller = size[0] < crop.shape[1]
        resized = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
        generated = self._still.copy()
        generated[self._target] = resized[self._part]
        return generated

    def _motion(self, displacement: np.ndarray) -> np.ndarray:
        """How far from each cell the portrait's pixel lies that it shows, in pixels, `[rows, columns, 2]`."""
        places = self._places * np.array(displacement.shape[1::-1], np.float32) - 0.5
        motion = _sample(displacement, places)
        length = cv2.magnitude(motion[..., 0], motion[..., 1])
        motion *= _smooth_step((length - STILL) / (MOVING - STILL))[..., None]
        even = cv2.blur(cv2.blur(motion, self._width), self._width)
        motion = even + (motion - even) * self._inside[..., None]
        return motion * self._follow * self._size

    def _generated_share(self, generated: np.ndarray, motion: np.ndarray) -> np.ndarray:
        """Share of the generated picture in each cell, in [0, 1]."""
        positions = self._cells + motion / self._cell
        moved = _sample(self._coarse, positions)
        difference = cv2.absdiff(moved, self._coarsened(generated)).max(-1).astype(np.float32)
        unlike = cv2.blur(cv2.dilate(_smooth_step((difference - ALIKE) / (UNLIKE - ALIKE)), np.ones((3, 3))), (5, 5))
        return np.maximum(unlike, self._share - RELEASE) * self._inside

    def _touched(self, motion: np.ndarray) -> tuple[slice, slice] | None:
        """Rows and columns of the region where anything differs from the portrait; None: nowhere."""
        changed = motion.any(-1) | (self._share > 0)
        x, y, width, height = cv2.boundingRect(changed.astype(np.uint8))
        if width == 0:
            return None
        # Cells reach into their neighbours, as they are resized linearly.
        (cell_x, cell_y) = self._cell
        columns = slice(max(0, int((x - 1) * cell_x)), math.ceil((x + width + 1) * cell_x))
        rows = slice(max(0, int((y - 1) * cell_y)), math.ceil((y + height + 1) * cell_y))
        return rows, columns

    def _coarsened(self, region: np.ndarray) -> np.ndarray:
        """A picture of the region, seen coarsely: one pixel a cell."""
        cells = cv2.resize(region, self._inside.shape[::-1], interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(cells, (0, 0), 1)


class _Axis:
    """Rows or columns of the portrait around the crop.

    Args:
        start: of the crop, in pixels of the portrait.
        size: of the crop, in pixels.
        limit: size of the portrait.

    Attributes:
        size: as given.
        region: the pixels that may move.
        target, part: where the crop lies in the region, and which part of the crop that is.
        cells: their number in the region.
        places: of the cells' centres, float32 `[cells]`, 0 and 1 at the crop's ends.
        beyond: how far they lie outside of the crop.
        depth: how far they lie inside of its ends, those where the portrait goes on.
    """

    def __init__(self, start: int, size: int, limit: int) -> None:
        reach = math.ceil(REACH * size)
        first, last = max(0, min(start - reach, limit - 1)), min(limit, max(start + size + reach, 1))
        begin, end = max(start, 0), max(min(start + size, limit), max(start, 0))
        self.size = size
        self.region = slice(first, last)
        self.target, self.part = slice(begin - first, end - first), slice(begin - start, end - start)
        length = last - first
        self.cells = max(1, round(length * min(1, CELLS / size)))
        self.places = (((np.arange(self.cells) + 0.5) * (length / self.cells) + first - start) / size).astype(np.float32)
        self.beyond = np.maximum(np.maximum(-self.places, self.places - 1), 0)
        ends = (start > 0, self.places), (start + size < limit, 1 - self.places)
        self.depth = np.min([distance for inside, distance in ends if inside] or [np.ones_like(self.places)], axis=0)


def _grid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions (x, y), float32 `[len(y), len(x), 2]`."""
    return np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)


def _sample(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What lies at positions (x, y) in pixels, `[h, w, 2]`; beyond the border its last pixels go on."""
    return cv2.remap(values, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _smooth_step(values: np.ndarray) -> np.ndarray:
    """A smooth rise (Hermite's) from 0 to 1 between 0 and 1."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)


def _fitted(image: np.ndarray, long_side: int) -> tuple[np.ndarray, float, float]:
    """A picture of even sizes, none above `long_side`, and by how much it was scaled in x and y."""
    height, width = image.shape[:2]
    scale = min(1.0, long_side / max(height, width))
    if scale < 1:
        size = max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), size[0] / width, size[1] / height
    # One row or column less is not seen; resampling the whole portrait would be.
    padding = (0, 1 if height == 1 else 0, 0, 1 if width == 1 else 0)
    image = cv2.copyMakeBorder(image, *padding, cv2.BORDER_REPLICATE)
    return image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].copy(), 1.0, 1.0
