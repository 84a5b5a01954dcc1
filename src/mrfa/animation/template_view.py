"""What a motion template does, to look at: a summary in words, a plot over time with stick faces, and a video of them."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mrfa.animation.expression import eye_openings, mouth_opening
from mrfa.animation.template import LAYOUT, MotionTemplate
from mrfa.data.guidance import GROUP_INDEX
from mrfa.data.images import write_image
from mrfa.data.video import VideoWriter
from mrfa.data.video_writer import SUFFIXES as VIDEO_SUFFIXES

SUFFIXES = (".png", ".jpg", ".mp4")
# Eyes that are narrower than this share of their usual opening are closed, and open again above the other.
CLOSED, REOPENED = 0.5, 0.7

WIDTH, LEFT, RIGHT, CHART, AXIS = 1280, 56, 24, 150, 28
# Stick faces in the plot's row, the side of those in the video, and how much of it they fill.
FACES, PREVIEW_SIDE, FILLED = 10, 384, 0.85
# How far beyond the brow's outer end the temple lies, in lengths of the brow.
_TEMPLE = 0.25
PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (210, 210, 210)
BLUE, ORANGE, GREEN, RED, VIOLET = (31, 119, 180), (230, 120, 0), (30, 140, 40), (200, 40, 40), (120, 80, 180)
# cv2 draws at parts of pixels: its coordinates have so many bits behind the point.
_BITS = 4

# Closed curves of a stick face, and straight lines, by the names of their places.
_CURVES = (
    ("forehead", "left_temple", "left_jaw", "chin", "right_jaw", "right_temple"),
    ("right_eye_outer", "right_upper_lid", "right_eye_inner", "right_lower_lid"),
    ("left_eye_outer", "left_upper_lid", "left_eye_inner", "left_lower_lid"),
    ("right_mouth_corner", "upper_lip_outer", "left_mouth_corner", "lower_lip_outer"),
    ("right_mouth_corner", "upper_lip_inner", "left_mouth_corner", "lower_lip_inner"),
)
_LINES = (("right_brow_outer", "right_brow_inner"), ("left_brow_outer", "left_brow_inner"), ("nose_bridge", "nose_tip"))
_DOTS = ("right_iris", "left_iris")


class Course(NamedTuple):
    """What a face does over T frames.

    Attributes:
        seconds: when each frame begins, from the first on, `[T]`.
        yaw, pitch, roll: of the head in degrees, `[T]`: positive to the right of the picture, nose down, and counter-clockwise.
        mouth: opening of the lips in distances of the outer eye corners, `[T]`.
        eyes: mean opening of both eyes, in widths of an eye, `[T]`.
    """

    seconds: Tensor
    yaw: Tensor
    pitch: Tensor
    roll: Tensor
    mouth: Tensor
    eyes: Tensor


def course_of(template: MotionTemplate) -> Course:
    """What a template's face does.

    Raises:
        InputError: the template has no named places.
    """
    frames = template.frames()
    yaw, pitch, roll = head_angles(frames.pose.rotation).unbind(1)
    eyes = eye_openings(frames.front).mean(1)
    return Course(template.seconds(), yaw, pitch, roll, mouth_opening(frames.front), eyes)


def head_angles(rotation: Tensor) -> Tensor:
    """Yaw, pitch and roll of heads `[T, 3, 3]` in degrees, `[T, 3]`; for their signs see `Course`.

    In a frame with x right, y up, z towards the viewer the rotation is Rz(roll) Rx(pitch) Ry(yaw); `HeadPose` has y down, z away.
    """
    yaw = torch.atan2(rotation[:, 2, 0], rotation[:, 2, 2])
    pitch = torch.asin(rotation[:, 2, 1].clamp(-1, 1))
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 1, 1])
    return torch.stack([yaw, pitch, roll], 1).rad2deg()


def count_blinks(eyes: Tensor) -> int:
    """How often eyes close, from their openings `[T]`."""
    usual, closed, blinks = float(eyes.median()), False, 0
    for opening in eyes.tolist():
        if not closed and opening < CLOSED * usual:
            closed, blinks = True, blinks + 1
        elif opening > REOPENED * usual:
            closed = False
    return blinks


def summarise(template: MotionTemplate) -> dict[str, str]:
    """What there is to say of a template, line by line."""
    lines = {
        "frames": str(len(template)),
        "seconds": f"{float(template.length):.2f}",
        "frames a second": f"{float(template.rate):.4g}",
        "layout": "no named places" if template.face is None else LAYOUT,
        "detector": "any of this layout" if template.detected is None else template.detected.fingerprint,
    }
    if template.face is None:
        return lines
    course = course_of(template)
    for name in ("yaw", "pitch", "roll"):
        lines[f"{name} (degrees)"] = _range(getattr(course, name), "+z.0f")
    lines["mouth (eye distances)"] = _range(course.mouth, ".2f")
    lines["eyes (eye widths)"] = _range(course.eyes, ".2f")
    lines["blinks"] = str(count_blinks(course.eyes))
    return lines


def write_view(template: MotionTemplate, path: Path) -> None:
    """Write the plot, or where the suffix is that of a video the stick face's video.

    Raises:
        InputError: the template has no named places, or the file cannot be written.
    """
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        write_image(path, draw_plot(template))
        return
    places, seconds = _close(template.named_face().places), template.seconds()
    with VideoWriter(path, width=PREVIEW_SIDE, height=PREVIEW_SIDE, time_base=template.time_base, rate=template.rate) as writer:
        for number, (pts, duration) in enumerate(zip(template.pts, template.durations, strict=True)):
            picture = draw_stick_face(places[number], PREVIEW_SIDE)
            _label(picture, f"{float(seconds[number]):.2f} s", (10, PREVIEW_SIDE - 12), INK)
            writer.write(picture, pts, duration)


def draw_plot(template: MotionTemplate) -> np.ndarray:
    """Head's angles, mouth and eyes over time below a row of stick faces, uint8 RGB `[H, WIDTH, 3]`.

    Raises:
        InputError: the template has no named places.
    """
    places, course = _close(template.named_face().places), course_of(template)
    side = (WIDTH - LEFT - RIGHT) // FACES
    sheet = np.full((side + 3 * (CHART + AXIS), WIDTH, 3), PAPER, np.uint8)
    length = float(template.length)
    for number in range(FACES):
        begin = torch.tensor(length * (number + 0.5) / FACES, dtype=torch.float64)
        frame = max(0, int(torch.searchsorted(course.seconds, begin, right=True)) - 1)
        sheet[:side, LEFT + number * side : LEFT + (number + 1) * side] = draw_stick_face(places[frame], side)
    angles = {"yaw": (course.yaw, BLUE), "pitch": (course.pitch, ORANGE), "roll (degrees)": (course.roll, GREEN)}
    charts = (angles, {"mouth (eye distances)": (course.mouth, RED)}, {"eyes (eye widths)": (course.eyes, VIOLET)})
    for number, lines in enumerate(charts):
        top = side + number * (CHART + AXIS)
        _draw_chart(sheet[top : top + CHART + AXIS], course.seconds, length, lines)
    return sheet


def draw_stick_face(places: Tensor, side: int) -> np.ndarray:
    """The places of a face `[G, 2]` in [-1, 1] as lines on white, uint8 RGB `[side, side, 3]`."""
    picture = np.full((side, side, 3), PAPER, np.uint8)
    points = dict(zip(GROUP_INDEX, (places.double().numpy() + 1) / 2 * side - 0.5, strict=True))
    for eye in ("right", "left"):
        inner, outer = points[f"{eye}_brow_inner"], points[f"{eye}_brow_outer"]
        points[f"{eye}_temple"] = outer + _TEMPLE * (outer - inner)
    stroke = max(1, side // 160)
    for curve in _CURVES:
        _draw_line(picture, _rounded(np.stack([points[name] for name in curve])), INK, stroke, closed=True)
    for begin, end in _LINES:
        _draw_line(picture, np.stack([points[begin], points[end]]), INK, stroke)
    for name in _DOTS:
        x, y = _fixed(points[name])
        cv2.circle(picture, (int(x), int(y)), max(2, side // 100) << _BITS, BLUE, cv2.FILLED, cv2.LINE_AA, _BITS)
    return picture


def _close(places: Tensor) -> Tensor:
    """Places of a clip `[T, G, 2]` as seen from near: in the smallest square around all of them, but for a margin."""
    low, high = places.amin((0, 1)), places.amax((0, 1))
    return (places - (low + high) / 2) * (2 * FILLED / (high - low).max())


def _draw_chart(sheet: np.ndarray, seconds: Tensor, length: float, lines: dict[str, tuple[Tensor, tuple[int, int, int]]]) -> None:
    """Lines over time with their axes, onto a strip of a sheet."""
    values = torch.cat([value for value, _ in lines.values()])
    low, high = min(0.0, float(values.min())), max(0.1, float(values.max()))
    low, high = low - 0.05 * (high - low), high + 0.2 * (high - low)
    width = WIDTH - LEFT - RIGHT

    def place(time: np.ndarray, value: np.ndarray) -> np.ndarray:
        return np.stack([LEFT + time / length * width, (high - value) / (high - low) * CHART], -1)

    for tick in _ticks(low, high, 4):
        _draw_line(sheet, place(np.array([0, length]), np.array([tick, tick])), FAINT, 1)
        _label(sheet, f"{tick:g}", (12, max(11, int(place(np.zeros(1), np.array([tick]))[0, 1]) + 4)), INK)
    for tick in _ticks(0, length, 12):
        _draw_line(sheet, place(np.array([tick, tick]), np.array([low, high])), FAINT, 1)
        _label(sheet, f"{tick:g} s", (int(place(np.array([tick]), np.zeros(1))[0, 0]) - 8, CHART + 16), INK)
    for number, (name, (value, colour)) in enumerate(lines.items()):
        _draw_line(sheet, place(seconds.numpy(), value.numpy()), colour, 1)
        _label(sheet, name, (LEFT + 6 + 60 * number, 14), colour)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round values in a range, about so many."""
    rough = (high - low) / count
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [round(float(number * step), 9) for number in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def _rounded(points: np.ndarray) -> np.ndarray:
    """A closed curve through points `[N, 2]` (Catmull-Rom)."""
    before, after, next_after = (np.roll(points, -shift, axis=0) for shift in (-1, 1, 2))
    share = np.linspace(0, 1, 12, endpoint=False)[None, :, None]
    begin, slope, end_slope = points[:, None], ((after - before) / 2)[:, None], ((next_after - points) / 2)[:, None]
    end = after[:, None]
    square, cube = share**2, share**3
    curve = begin * (2 * cube - 3 * square + 1) + slope * (cube - 2 * square + share)
    return (curve + end * (3 * square - 2 * cube) + end_slope * (cube - square)).reshape(-1, 2)


def _draw_line(picture: np.ndarray, points: np.ndarray, colour: tuple[int, int, int], stroke: int, closed: bool = False) -> None:
    cv2.polylines(picture, [_fixed(points)], closed, colour, stroke, cv2.LINE_AA, _BITS)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * 2**_BITS).astype(np.int32)


def _label(picture: np.ndarray, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)


def _range(values: Tensor, form: str) -> str:
    return f"{float(values.min()):{form}} to {float(values.max()):{form}}"
