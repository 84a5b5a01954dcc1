"""What is said and drawn of motion templates."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from test_template_editing import COUNT, moving

from mrfa.animation.head import rotation_of
from mrfa.animation.template_view import (
    FACES,
    LEFT,
    RIGHT,
    SUFFIXES,
    WIDTH,
    count_blinks,
    course_of,
    draw_plot,
    draw_stick_face,
    head_angles,
    summarise,
    write_view,
)
from mrfa.data.guidance import GROUP_INDEX
from mrfa.data.images import read_image
from mrfa.data.video import VideoReader
from mrfa.errors import InputError


def test_angles_are_those_of_the_evaluation() -> None:
    transform = pytest.importorskip("scipy.spatial.transform")
    for yaw, pitch, roll in ((20, 0, 0), (0, 20, 0), (0, 0, 20), (-30, 15, 40)):
        upright = torch.from_numpy(transform.Rotation.from_euler("ZXY", [roll, pitch, yaw], degrees=True).as_matrix())
        signs = torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))
        found = head_angles((signs @ upright @ signs)[None])[0]
        torch.testing.assert_close(found, torch.tensor([yaw, pitch, roll], dtype=torch.float64), atol=1e-6, rtol=0)


def test_signs_of_the_angles() -> None:
    """Where the tip of the nose and the top of the head go, x right, y down, z away."""
    nose, top = torch.tensor([0, 0, -1.0]).double(), torch.tensor([0, -1.0, 0]).double()
    right, down, left_down = (rotation_of(torch.tensor([axis]).double()) for axis in ([0, -0.2, 0], [-0.2, 0, 0], [0, 0, -0.2]))
    assert (right @ nose)[0, 0] > 0 and head_angles(right)[0, 0] > 0
    assert (down @ nose)[0, 1] < 0 and head_angles(down)[0, 1] < 0
    assert (left_down @ top)[0, 0] < 0 and head_angles(left_down)[0, 2] > 0


def test_a_course_tells_what_was_put_in() -> None:
    course = course_of(moving())
    torch.testing.assert_close(course.yaw.diff(), torch.full((COUNT - 1,), -3.0).double(), atol=0.1, rtol=0)
    torch.testing.assert_close(course.mouth.diff(), torch.full((COUNT - 1,), 0.02).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(course.eyes, torch.full((COUNT,), 0.3).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(course.seconds, torch.arange(COUNT).double() / 20)


def test_a_blink_counts_once() -> None:
    openings = [0.3] * 9 + [0.1, 0.16, 0.1, 0.2, 0.3, 0.2, 0.3, 0.05, 0.25]
    assert count_blinks(torch.tensor(openings)) == 2


def test_the_summary_says_what_there_is() -> None:
    lines = summarise(moving())
    assert (lines["frames"], lines["seconds"], lines["frames a second"]) == ("10", "0.50", "20")
    assert (lines["layout"], lines["detector"], lines["blinks"]) == ("mrfa-landmarks-26", "ab", "0")
    assert lines["yaw (degrees)"] == "-27 to +0" and lines["mouth (eye distances)"] == "0.00 to 0.18"
    assert summarise(replace(moving(), detected=None))["detector"] == "any of this layout"
    nameless = summarise(replace(moving(), face=None))
    assert nameless["layout"] == "no named places" and "blinks" not in nameless


def test_what_is_no_face_can_be_looked_at() -> None:
    face = moving().named_face()
    without_eyes = face.places.clone()
    without_eyes[:, [index for name, index in GROUP_INDEX.items() if "eye" in name]] = 0
    blind = replace(moving(), face=face._replace(places=without_eyes))
    assert all(value.isfinite().all() for value in course_of(blind))
    assert draw_plot(blind).shape == draw_plot(moving()).shape


def test_the_stick_face_is_where_its_places_are() -> None:
    places = moving(1).named_face().places[0]
    picture = draw_stick_face(places, 200)
    x, y = ((places[GROUP_INDEX["chin"]] + 1) / 2 * 200 - 0.5).round().int().tolist()
    assert picture.shape == (200, 200, 3) and (picture[y, x] < 128).all() and picture[5, 5].tolist() == [255] * 3
    dark = np.argwhere((picture < 150).all(-1))
    assert abs(dark[:, 0].max() - y) <= 2, "nothing lies below the chin"


def test_the_plot_shows_the_motion() -> None:
    still, turning = (draw_plot(moving(turn=turn)) for turn in (0, 3))
    assert still.shape == turning.shape and still.dtype == np.uint8
    charts = slice((WIDTH - LEFT - RIGHT) // FACES, None)
    assert (still[charts] != turning[charts]).any()
    with pytest.raises(InputError, match="keypoints have no names"):
        draw_plot(replace(moving(), face=None))


def test_views_are_written(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        write_view(moving(), tmp_path / f"view{suffix}")
    assert read_image(tmp_path / "view.png").shape == draw_plot(moving()).shape
    reader = VideoReader(tmp_path / "view.mp4")
    assert [frame.pts * reader.time_base for frame in reader] == [Fraction(number, 20) for number in range(COUNT)]
