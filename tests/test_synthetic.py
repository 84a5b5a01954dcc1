"""Synthetic heads: what is said to be known about their pictures is so."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.synthesize import app
from benchmarks.synthetic import (
    Expression,
    Pose,
    Rendered,
    State,
    SyntheticHead,
    find_regions,
    pair_motion,
    render,
    talking_sequence,
)
from benchmarks.synthetic.dataset import read_truth, synthesize_clips
from benchmarks.synthetic.identity import PLAIN_LIGHT
from benchmarks.synthetic.landmarks import landmark_vertices
from benchmarks.synthetic.posing import Body, project, to_pixels
from benchmarks.synthetic.rasterise import rasterise
from benchmarks.synthetic.state import euler_degrees
from benchmarks.synthetic.topology import EYE_ROW, MOUTH_ROW, grids, mesh
from mrfa.data.clips import list_clips, read_clip
from mrfa.errors import InputError
from mrfa.faces.landmarks import LANDMARK_GROUPS, FaceLandmarker, group_means

SIZE = 128
SOURCE = State(Pose(yaw=-10, pitch=-3), Expression(smile=0.2), background_x=0.03)
DRIVING = State(Pose(yaw=15, pitch=5, roll=4, x=0.1), Expression(mouth_open=0.5, gaze_x=10, brow_raise=0.5))
BUSY = Expression(0.4, 1.0, 10, -5, 0.7, 0.8, 0.3, 0.9)
GROUPS = list(LANDMARK_GROUPS)


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    """A head whose colours do not depend on the light."""
    return replace(SyntheticHead.draw(8), light=PLAIN_LIGHT)


@pytest.fixture(scope="module")
def source(head: SyntheticHead) -> Rendered:
    return render(head, SOURCE, SIZE)


@pytest.fixture(scope="module")
def driving(head: SyntheticHead) -> Rendered:
    return render(head, DRIVING, SIZE)


def grid(size: int = SIZE) -> np.ndarray:
    """Position of each pixel's centre, (x, y)."""
    return np.stack(np.meshgrid(np.arange(size), np.arange(size)), axis=-1)


def warped(image: np.ndarray, displacement_px: np.ndarray) -> np.ndarray:
    position = (grid(len(image)) + displacement_px).astype(np.float32)
    return cv2.remap(image, position[..., 0], position[..., 1], cv2.INTER_LINEAR)


def test_rasteriser_draws_the_nearer_triangle_at_pixel_centres() -> None:
    points = np.array([[0, 0], [7, 0], [0, 7], [2, 2], [6, 2], [2, 6]], float)
    nearness = np.array([0.1, 0.1, 0.1, 0.2, 0.2, 0.2])
    surface = rasterise(points, nearness, np.array([[0, 1, 2], [3, 4, 5], [3, 5, 4]]), np.zeros(3, bool), (8, 8))
    y, x = np.mgrid[:8, :8]
    expected = np.where((x >= 2) & (y >= 2) & (x + y <= 8), 1, np.where(x + y <= 7, 0, -1))
    assert np.array_equal(surface.triangle, expected)
    assert np.allclose(surface.weights[4, 3], [0.25, 0.25, 0.5])


def test_rasteriser_weights_are_perspective_correct() -> None:
    points = np.array([[0, 0], [8, 0], [0, 8]], float)
    # The second corner is three times as far: half way on the picture is a quarter of the way on the triangle.
    surface = rasterise(points, np.array([3.0, 1.0, 3.0]), np.array([[0, 1, 2]]), np.zeros(1, bool), (9, 9))
    assert np.allclose(surface.weights[0, 4], [0.75, 0.25, 0])


def test_pictures_of_every_size_show_the_same() -> None:
    assert to_pixels(np.array([-1.0, 0.0, 1.0]), 9).tolist() == [0, 4, 8]


def test_a_seed_gives_one_head_and_one_picture(head: SyntheticHead) -> None:
    assert SyntheticHead.draw(3) == SyntheticHead.draw(3)
    assert SyntheticHead.draw(3) != SyntheticHead.draw(4)
    assert np.array_equal(render(head, DRIVING, SIZE).image, render(replace(head), DRIVING, SIZE).image)


def test_no_motion_is_the_identity(driving: Rendered) -> None:
    motion = pair_motion(driving, driving)
    assert motion.displacement_px.shape == (SIZE, SIZE, 2)
    assert np.abs(motion.displacement_px).max() < 1e-3
    assert motion.visible.mean() > 0.999


@pytest.mark.parametrize("seed", [1, 8])
def test_the_warped_source_is_the_driving_picture_where_visible(seed: int) -> None:
    head = replace(SyntheticHead.draw(seed), light=PLAIN_LIGHT)
    source, driving = render(head, SOURCE, 256), render(head, DRIVING, 256)
    motion = pair_motion(source, driving)
    error = np.abs(warped(source.image, motion.displacement_px).astype(float) - driving.image).mean(-1)
    # Where the source shows a surface much smaller, or where one part ends before another, pixels blend.
    position = grid(256) + motion.displacement_px
    across, down = np.gradient(position, axis=1), np.gradient(position, axis=0)
    scale = across[..., 0] * down[..., 1] - across[..., 1] * down[..., 0]
    clean = motion.visible & (scale > 0.5) & (scale < 2)
    assert clean.mean() > 0.7
    still = np.abs(source.image.astype(float) - driving.image).mean(-1)
    for region in (motion.regions.face, motion.regions.background):
        assert error[clean & region].mean() < 2.0
        assert np.percentile(error[clean & region], 95) < 8
    assert error[clean & motion.regions.face].mean() < 0.1 * still[clean & motion.regions.face].mean()


def test_flow_takes_landmarks_to_landmarks(source: Rendered, driving: Rendered) -> None:
    displacement_px = pair_motion(source, driving).displacement_px
    expected = source.landmarks_px - driving.landmarks_px
    for name in ("nose_tip", "nose_bridge", "forehead", "left_brow_inner", "upper_lip_outer", "lower_lip_outer", "left_iris"):
        index = GROUPS.index(name)
        x, y = np.round(driving.landmarks_px[index]).astype(int)
        assert np.abs(displacement_px[y, x] - expected[index]).max() < 1.5, name


def test_flow_is_the_projection_of_the_same_surface_point(source: Rendered, driving: Rendered, head: SyntheticHead) -> None:
    positions_px = grid() + pair_motion(source, driving).displacement_px
    y, x = np.argwhere(find_regions(driving).face)[::97].T
    corners = source.view.points[mesh().faces[driving.surface.triangle[y, x]]]
    points = (driving.surface.weights[y, x][..., None] * corners).sum(1)
    assert np.abs(to_pixels(project(head, points)[0], SIZE) - positions_px[y, x]).max() < 1e-3
    # And in the driving picture that surface point lies at the pixel's centre.
    own = (driving.surface.weights[y, x][..., None] * driving.view.points[mesh().faces[driving.surface.triangle[y, x]]]).sum(1)
    assert np.abs(to_pixels(project(head, own)[0], SIZE) - grid()[y, x]).max() < 1e-3


def test_visibility_is_symmetric(source: Rendered, driving: Rendered) -> None:
    there, back = pair_motion(source, driving), pair_motion(driving, source)
    # A driving pixel that the source shows leads to a source pixel that leads back.
    y, x = np.argwhere(there.visible & there.regions.face)[::29].T
    column, row = np.round(grid()[y, x] + there.displacement_px[y, x]).astype(int).T
    seen = back.visible[row, column]
    assert seen.mean() > 0.95
    returned = (back.displacement_px[row, column] + there.displacement_px[y, x])[seen]
    assert np.median(np.abs(returned).max(-1)) < 1


def test_the_inside_of_a_closed_mouth_is_not_visible(head: SyntheticHead) -> None:
    closed, opened = render(head, State(), 256), render(head, State(expression=Expression(mouth_open=0.8)), 256)
    motion = pair_motion(closed, opened)
    part = np.isin(_part(opened), [list(grids()).index(name) for name in ("cavity", "tongue", "lower_teeth")])
    assert part.sum() > 100
    assert not motion.visible[part].any()
    assert motion.visible[motion.regions.mouth & ~part].mean() > 0.7


def test_closed_eyes_hide_the_eyeballs(head: SyntheticHead) -> None:
    closed, opened = render(head, State(expression=Expression(1, 1)), 256), render(head, State(), 256)
    eyes = [list(grids()).index(name) for name in ("left_eye", "right_eye")]
    assert not np.isin(_part(closed), eyes).any()
    seen = np.isin(_part(opened), eyes)
    assert seen.sum() > 200
    assert not pair_motion(closed, opened).visible[seen].any()


def _part(rendered: Rendered) -> np.ndarray:
    return np.where(rendered.surface.triangle < 0, -1, mesh().part[rendered.surface.triangle])


def test_the_background_moves_by_its_shift(head: SyntheticHead) -> None:
    still, moved = render(head, State(), SIZE), render(head, State(background_x=0.06, background_y=-0.02), SIZE)
    motion = pair_motion(still, moved)
    assert np.allclose(motion.displacement_px[motion.regions.background], np.array([-0.06, 0.02]) * (SIZE - 1) / 2, atol=1e-5)
    assert np.abs(motion.displacement_px[motion.regions.face]).max() < 1e-3
    # What comes in at the left border lies outside the source.
    assert not motion.visible[:, 0].any()


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, 0, 0), (0, -20, 0), (0, 0, 12), (-25, 10, -15)])
def test_euler_angles_are_those_of_the_drawn_head(head: SyntheticHead, angles: tuple[float, float, float]) -> None:
    turned, still = (Body(head).view(State(pose)).points for pose in (Pose(*angles, x=0.2, z=-0.1), Pose()))
    skull = slice(0, 12 * grids()["head"].columns)
    a, b = (points[skull] - points[skull].mean(0) for points in (still, turned))
    u, _, v = np.linalg.svd(b.T @ a)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ v)]) @ v
    assert np.allclose(euler_degrees(rotation), angles, atol=1e-6)
    assert np.allclose(Pose(*angles).euler, angles)


def test_positive_angles_turn_as_documented(head: SyntheticHead) -> None:
    nose, left_eye, right_eye = (GROUPS.index(name) for name in ("nose_tip", "left_eye_outer", "right_eye_outer"))
    straight = render(head, State(), 64).landmarks_px
    assert render(head, State(Pose(yaw=20)), 64).landmarks_px[nose, 0] > straight[nose, 0] + 1.6
    assert render(head, State(Pose(pitch=20)), 64).landmarks_px[nose, 1] > straight[nose, 1] + 1.6
    tilted = render(head, State(Pose(roll=20)), 64).landmarks_px
    assert tilted[left_eye, 1] < straight[left_eye, 1] - 1.6 < tilted[right_eye, 1]


def test_expressions_move_their_landmarks(head: SyntheticHead) -> None:
    def opening(expression: Expression, upper: str, lower: str) -> float:
        marks = render(head, State(expression=expression), 64).landmarks_px
        return float(marks[GROUPS.index(lower), 1] - marks[GROUPS.index(upper), 1])

    assert opening(Expression(blink_left=1), "left_upper_lid", "left_lower_lid") < 0.03
    assert opening(Expression(blink_left=1), "right_upper_lid", "right_lower_lid") > 1.3
    assert opening(Expression(), "upper_lip_inner", "lower_lip_inner") < 0.03
    assert opening(Expression(mouth_open=1), "upper_lip_inner", "lower_lip_inner") > 3.8


def test_the_skin_is_slit_only_at_eyes_and_mouth(head: SyntheticHead) -> None:
    face = Body(head).face
    points = face(BUSY)
    for row, half_width in ((EYE_ROW, 0.5), (MOUTH_ROW, 0.27)):
        gap = np.abs(points[row] - points[row + 1]).max(-1)
        outside = (np.abs(face.neutral[row, :, 0]) > half_width) | (face.neutral[row, :, 2] < 0)
        assert gap[outside].max() < 1e-12
        assert gap.max() > 0.05


def test_landmarks_follow_the_groups(driving: Rendered) -> None:
    assert driving.landmarks_px.shape == (len(LANDMARK_GROUPS), 2)
    assert len(set(landmark_vertices())) == len(LANDMARK_GROUPS)
    right, left = GROUPS.index("right_mouth_corner"), GROUPS.index("left_mouth_corner")
    assert driving.landmarks_px[right, 0] < driving.landmarks_px[left, 0]


def test_pairs_of_different_heads_are_refused(driving: Rendered) -> None:
    with pytest.raises(ValueError, match="one head"):
        pair_motion(driving, render(SyntheticHead.draw(1), State(), SIZE))


def test_talk_is_smooth_and_depends_on_its_seed_alone() -> None:
    states = talking_sequence(4, 200)
    assert states == talking_sequence(4, 200)
    assert states != talking_sequence(5, 200)
    values = np.stack([state.to_array() for state in states])
    assert np.array_equal(values, np.stack([State.from_array(row).to_array() for row in values]))
    assert np.abs(np.diff(values[:, :6], axis=0)).max() < 4
    blink, opening = values[:, 6], values[:, 10]
    assert blink.max() > 0.9 and np.median(blink) < 0.1
    assert opening.max() > 0.3 and opening.min() < 0.1
    assert talking_sequence(1, 0) == []


def test_a_face_detector_finds_the_face_where_it_is() -> None:
    distances = []
    landmarker = FaceLandmarker()
    for seed, yaw in ((0, 0), (1, 25), (5, -25), (8, 10), (16, -15)):
        picture = render(SyntheticHead.draw(seed), State(Pose(yaw=yaw), Expression(mouth_open=0.3)))
        found = landmarker(picture.image)
        assert found is not None, f"no face in the picture of head {seed}"
        distances.append(np.linalg.norm(group_means(found) - picture.landmarks_px, axis=1))
    assert np.median(distances) < 4


def test_the_command_writes_clips_that_can_be_drawn_again(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    result = CliRunner().invoke(app, [str(folder), "--clips", "2", "--frames", "3", "--size", "64"])
    assert result.exit_code == 0, result.output
    clips = list_clips(folder)
    assert len({clip.identity for clip in clips}) == 2
    for clip in clips:
        frames, truth = read_clip(clip.path, 64), read_truth(clip.path)
        assert len(frames) == len(truth.states) == 3
        drawn = truth.frame(2).image.astype(float)
        assert np.abs(frames[2] - drawn).mean() < 6
    assert sorted(path.suffix for path in folder.iterdir()) == [".mp4", ".mp4", ".safetensors", ".safetensors"]


def test_progress_counts_the_pictures_of_all_clips(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    synthesize_clips(tmp_path, clips=2, frames=2, size=32, truth=False, progress=lambda *state: seen.append(state))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {path.suffix for path in tmp_path.iterdir()} == {".mp4"}


def test_broken_truth_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no truth"):
        read_truth(tmp_path / "a.mp4")
    (tmp_path / "a.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot read"):
        read_truth(tmp_path / "a.mp4")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot make"):
        synthesize_clips(tmp_path / "file", clips=1, frames=1)
