"""Pictures of a synthetic head, with all that is known about each pixel."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.landmarks import landmark_vertices
from benchmarks.synthetic.paint import paint_atlas, paint_background, texture_coordinates
from benchmarks.synthetic.posing import Body, View, to_pixels
from benchmarks.synthetic.rasterise import Surface, rasterise
from benchmarks.synthetic.shading import add_catch_lights, light_on
from benchmarks.synthetic.state import Expression, State
from benchmarks.synthetic.topology import mesh

# The background reaches this far beyond the picture, in half pictures.
BACKGROUND_MARGIN = 0.25


@dataclass(frozen=True)
class Rendered:
    """A picture of a synthetic head and its truth.

    Attributes:
        image: uint8 RGB `[H, W, 3]`.
        surface: the triangle that each pixel's centre shows and where in it; the background is -1.
        landmarks_px: float32 `[26, 2]`, one surface point for each group of `mrfa.faces.landmarks.LANDMARK_GROUPS`, in their
            order; (x, y) in pixels, whether visible or not.
        euler: float32 `[3]`, yaw, pitch, roll in degrees, see `Pose`.
        expression: what the face does.
        view: the mesh's vertices as the camera sees them.
        head, state: what was drawn.
    """

    image: np.ndarray
    surface: Surface
    landmarks_px: np.ndarray
    euler: np.ndarray
    expression: Expression
    view: View
    head: SyntheticHead
    state: State


def render(head: SyntheticHead, state: State, size: int = 256) -> Rendered:
    """Draw a head at one moment.

    Args:
        size: side of the picture in pixels.
    """
    view = _body(head).view(state)
    positions_px = to_pixels(view.positions, size)
    faces = mesh()
    surface = rasterise(positions_px, view.nearness, faces.faces, faces.two_sided, (size, size))
    return Rendered(
        image=_colours(head, state, view, surface),
        surface=surface,
        landmarks_px=positions_px[landmark_vertices()].astype(np.float32),
        euler=state.pose.euler,
        expression=state.expression,
        view=view,
        head=head,
        state=state,
    )


@lru_cache(maxsize=16)
def _body(head: SyntheticHead) -> Body:
    return Body(head)


@lru_cache(maxsize=16)
def _atlas(head: SyntheticHead) -> np.ndarray:
    return paint_atlas(head, _body(head).face.neutral)


@lru_cache(maxsize=16)
def _background(head: SyntheticHead, size: int) -> np.ndarray:
    return paint_background(head, size, round(BACKGROUND_MARGIN * size))


def _colours(head: SyntheticHead, state: State, view: View, surface: Surface) -> np.ndarray:
    size = len(surface.triangle)
    background = _shifted_background(head, state, size)
    covered = surface.triangle >= 0
    of_vertices = np.concatenate([texture_coordinates(), light_on(head.light, view, state.expression)], axis=1).astype(np.float32)
    of_triangles = of_vertices[mesh().faces]
    values = np.einsum("hwk,hwkc->hwc", surface.weights, of_triangles[np.maximum(surface.triangle, 0)])
    albedo = cv2.remap(_atlas(head), np.ascontiguousarray(values[..., 0]), np.ascontiguousarray(values[..., 1]), cv2.INTER_LINEAR)
    colour = albedo * values[..., 2:5] + values[..., 5:6]
    add_catch_lights(colour, head, view, surface)
    image = np.where(covered[..., None], np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8), background)
    return _smooth_outlines(image, surface)


def _shifted_background(head: SyntheticHead, state: State, size: int) -> np.ndarray:
    margin = round(BACKGROUND_MARGIN * size)
    step = (size - 1) / 2
    move = np.array([[1, 0, margin - state.background_x * step], [0, 1, margin - state.background_y * step]])
    return cv2.warpAffine(_background(head, size), move, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def _smooth_outlines(image: np.ndarray, surface: Surface) -> np.ndarray:
    """Soften the steps where one part of the mesh ends before another."""
    part = np.where(surface.triangle < 0, 255, mesh().part[surface.triangle]).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    outline = cv2.dilate(part, kernel) != cv2.erode(part, kernel)
    image[outline] = cv2.GaussianBlur(image, (3, 3), 0.7)[outline]
    return image
