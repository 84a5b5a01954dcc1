"""The portrait, set in motion by animated crops.

What the network makes is small and soft, and most of a portrait only moves, or does not change at all. So the portrait's own
pixels are shown, moved by the network's flow, wherever at a coarse look they are what the network generated. The generated
picture is left with what the portrait cannot show: uncovered background, teeth, closing lids, the far side of a turn. (The
network's occlusion map weighs features inside of it, and says less: where nothing moves it lies about one half.)

Around the crop hair and shoulders go on. There the portrait follows the flow at the crop's border, less and less with distance;
the background does not: a place of the portrait moves as those do, in the crop, that show it.
"""

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from torch import Tensor

from mrfa.animation.crop import CropBox
from mrfa.data.tensors import to_pictures
from mrfa.network.geometry import Conventions
from mrfa.network.model import Output

LONG_SIDE = 1280

# In sides of the crop: how far beyond it the portrait follows, and how wide inside of it the generated picture fades in, while
# the flow is evened out, as beyond the border it is a guess.
REACH = 0.3
FADE = 0.12

# In sides of the crop: what moves less is noise and stays, what moves more moves fully.
STILL, MOVING = 0.5 / 256, 1.5 / 256

# Difference from the generated picture, of 255, up to which the portrait's pixels are shown, and from which on not.
ALIKE, UNLIKE = 6, 20

# How much more a difference counts for each cell by which the flow changes from cell to cell. There lids close and lips open,
# which must not be half hidden, and the portrait's pixels would be smeared.
STRAIN = 4

# The generated picture's share rises at once, and falls by at most this from frame to frame, so that nothing flickers.
RELEASE = 0.15

# Motion and shares are found on a grid of about so many cells over the crop's side.
CELLS = 128

# Pixels are moved in tiles of this side: those that fit into a processor's cache, and only where anything changes.
TILE = 128


def crop_displacement(output: Output, conventions: Conventions) -> Tensor:
    """How far from each place of animated crops the place lies that it shows, (x, y) in sides of the crop: `[B, h, w, 2]`.

    Args:
        output: of the network, for B frames.
        conventions: of the network.
    """
    displacement = conventions.to_displacement(output.motion.flows[-1])
    side = output.image.shape[-1]
    return (displacement * conventions.pixel_scale((side, side), displacement) / side).permute(0, 2, 3, 1)


def drawn_crops(output: Output, conventions: Conventions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each of B frames the animated crop, uint8 `[size, size, 3]`, and its displacement, float32 `[h, w, 2]`, as `paste` takes
    them.

    Args:
        output: of the network, for B frames.
        conventions: of the network.
    """
    displacements = crop_displacement(output, conventions)
    # The first copy waits for the device; both are done then.
    return zip(to_pictures(output.image), displacements.cpu().numpy(), strict=True)


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
        self._long_side = long_side
        self.image, fx, fy = _fitted(image, long_side)
        rows = _Axis(round(box.y * fy), max(1, round(box.side * fy)), self.image.shape[0])
        columns = _Axis(round(box.x * fx), max(1, round(box.side * fx)), self.image.shape[1])
        self._size = np.array([columns.size, rows.size], np.float32)
        self._region = rows.region, columns.region
        self._target, self._part = (rows.target, columns.target), (rows.part, columns.part)
        self._still = np.ascontiguousarray(self.image[self._region])
        self._tiles = [((y, x), (v, u)) for y, v in rows.tiles() for x, u in columns.tiles()]
        self._pixels = grid(np.arange(self._still.shape[1]), np.arange(self._still.shape[0]))
        self._cells = grid(np.arange(columns.cells), np.arange(rows.cells))
        self._cells_a_side = np.array([columns.cells_a_side, rows.cells_a_side], np.float32)
        self._places = grid(columns.places, rows.places)
        beyond = np.hypot(columns.beyond[None], rows.beyond[:, None])
        self._inside = _smooth_step(np.minimum(columns.depth[None], rows.depth[:, None]) / FADE)
        self._inside_xy = _twice(self._inside)
        self._beyond_xy = _twice((1 - _smooth_step(beyond / REACH)) * (1 - self._inside))
        self._share = np.zeros(beyond.shape, np.float32)
        self._coarse = self._coarsened(self._still)

    def show(self, image: np.ndarray) -> None:
        """Go on with another picture of the same size, such as the next frame of a video, uint8 RGB `[H, W, 3]`."""
        self.image, _, _ = _fitted(image, self._long_side)
        self._still = np.ascontiguousarray(self.image[self._region])
        self._coarse = self._coarsened(self._still)

    def paste(self, crop: np.ndarray, displacement: np.ndarray) -> np.ndarray:
        """The portrait as the next frame shows it: uint8 `[height, width, 3]`, a new array.

        Args:
            crop: the animated crop, uint8 RGB `[size, size, 3]`.
            displacement: of `crop_displacement`, float32 `[h, w, 2]`.
        """
        flow, changing = self._flow(displacement)
        self._share = self._generated_share(crop, flow, changing)
        generated = self._in_region(crop)
        shape = generated.shape[1::-1]
        steps, share = cv2.resize(_scaled(flow, self._size), shape), cv2.resize(self._share, shape)
        rest = 1 - share
        result = self.image.copy()
        region = result[self._region]
        for tile, cells in self._tiles:
            blended = self._share[cells].any()
            if blended or flow[cells].any():
                moved = _sample(self._still, cv2.add(self._pixels[tile], steps[tile]))
                region[tile] = cv2.blendLinear(generated[tile], moved, share[tile], rest[tile]) if blended else moved
        return result

    def _coarsened(self, region: np.ndarray) -> np.ndarray:
        """A picture of the region, seen coarsely: one pixel a cell."""
        cells = cv2.resize(region, self._share.shape[::-1], interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(cells, (0, 0), 1)

    def _in_region(self, crop: np.ndarray) -> np.ndarray:
        """The crop at its place in the region, the portrait around it."""
        size = int(self._size[0]), int(self._size[1])
        interpolation = cv2.INTER_AREA if size[0] < crop.shape[1] else cv2.INTER_CUBIC
        generated = self._still.copy()
        generated[self._target] = cv2.resize(crop, size, interpolation=interpolation)[self._part]
        return generated

    def _flow(self, displacement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far from each cell the place lies that it shows, in sides of the crop, and how far its content can be new.

        It can, in [0, 1], where something moves or has moved away.

        Returns:
            `[rows, columns, 2]` and `[rows, columns]`.
        """
        length = cv2.magnitude(displacement[..., 0], displacement[..., 1])
        moves = _smooth_step((length - STILL) / (MOVING - STILL))
        displacement = displacement * _twice(moves)
        moved = _moved_away(displacement, moves)
        flow = sample_sides(displacement, self._places)
        width = tuple(int(FADE * cells) | 1 for cells in self._cells_a_side)
        beyond = cv2.blur(cv2.blur(flow, width), width) * self._beyond_xy
        flow *= self._inside_xy
        beyond *= _twice(cv2.blur(sample_sides(moved, self._places + flow + beyond), (5, 5)))
        changing = _widened(sample_sides(np.minimum(3 * np.maximum(moves, moved), 1), self._places))
        return flow + beyond, changing

    def _generated_share(self, crop: np.ndarray, flow: np.ndarray, changing: np.ndarray) -> np.ndarray:
        """Share of the generated picture in each cell, in [0, 1]."""
        cells = self._cells_a_side
        coarse = cv2.resize(crop, (round(cells[0]), round(cells[1])), interpolation=cv2.INTER_AREA)
        coarse = sample_sides(cv2.GaussianBlur(coarse, (0, 0), 1), self._places)
        flow = _scaled(flow, cells)
        red, green, blue = cv2.split(cv2.absdiff(_sample(self._coarse, self._cells + flow), coarse))
        difference = cv2.max(cv2.max(red, green), blue).astype(np.float32)
        across, down = (cv2.split(cv2.Sobel(flow, cv2.CV_32F, x, 1 - x, scale=1 / 8)) for x in (1, 0))
        difference *= 1 + STRAIN * cv2.magnitude(cv2.magnitude(*across), cv2.magnitude(*down))
        share = _widened(_smooth_step((difference - ALIKE) / (UNLIKE - ALIKE))) * changing
        return np.maximum(share, self._share - RELEASE) * self._inside


def _moved_away(displacement: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """How far the portrait's own places move, in [0, 1], as those do that show them: `[h, w]`.

    What is shown nowhere moves as what lies around it.

    Args:
        displacement: in sides of the crop, `[h, w, 2]`.
        moves: how far it is taken to move, `[h, w]` in [0, 1].
    """
    height, width = moves.shape
    shown = np.rint(grid(np.arange(width), np.arange(height)) + displacement * (width, height)).astype(np.int32)
    x, y = shown[..., 0], shown[..., 1]
    seen = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    places = y[seen] * width + x[seen]
    counts = (np.bincount(places, weights, minlength=height * width) for weights in (moves[seen], None))
    wide = max(height, width) // 3 | 1
    near, all_near = (
        cv2.blur(count, (3, 3)) + 1e-3 * cv2.blur(count, (wide, wide))
        for count in (count.reshape(height, width).astype(np.float32) for count in counts)
    )
    return _smooth_step(2 * near / (all_near + 1e-9) - 0.5)


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
        cells_a_side: their number over the crop, which need not be whole.
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
        self.cells_a_side = self.cells * size / length
        self.places = (((np.arange(self.cells) + 0.5) * (length / self.cells) + first - start) / size).astype(np.float32)
        self.beyond = np.maximum(np.maximum(-self.places, self.places - 1), 0)
        ends = (start > 0, self.places), (start + size < limit, 1 - self.places)
        self.depth = np.min([distance for inside, distance in ends if inside] or [np.ones_like(self.places)], axis=0)

    def tiles(self) -> Iterator[tuple[slice, slice]]:
        """Pixels of the region, a tile's side of them, and the cells that reach into them."""
        length = self.region.stop - self.region.start
        cell = length / self.cells
        for first in range(0, length, TILE):
            last = min(first + TILE, length)
            yield slice(first, last), slice(max(0, int(first / cell) - 1), math.ceil(last / cell) + 1)


def grid(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Positions (x, y), float32 `[len(y), len(x), 2]`."""
    return np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)


def _sample(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """What lies at positions (x, y) in pixels, `[h, w, 2]`; beyond the border its last pixels go on."""
    # OpenCV's types know no positions in one array.
    return cv2.remap(values, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]


def sample_sides(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The same for positions in sides of a picture."""
    return _sample(values, _scaled(places, values.shape[1::-1]) - np.float32(0.5))


def _scaled(positions: np.ndarray, sides: Sequence[float] | np.ndarray) -> np.ndarray:
    """Positions (x, y) times the sides in these directions. NumPy takes several times as long for two numbers in a row."""
    # OpenCV's types know no numbers as its second factor.
    return cv2.multiply(positions, (float(sides[0]), float(sides[1]), 0, 0))  # type: ignore[call-overload]


def _twice(values: np.ndarray) -> np.ndarray:
    """Values `[h, w]` for x and y, `[h, w, 2]`."""
    return cv2.merge([values, values])


def _widened(values: np.ndarray) -> np.ndarray:
    """Values that reach a cell further, and soft."""
    return cv2.blur(cv2.dilate(values, np.ones((3, 3))), (5, 5))


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
