"""Judges on face meshes: known shifts, known rotations, known actions."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic import Expression, Pose, State, SyntheticHead, render
from mrfa.data.landmarks import FaceLandmarker
from mrfa.evaluation.judges import Frames, load_judges
from mrfa.evaluation.judges.expression import ACTIONS, actions
from mrfa.evaluation.judges.face_mesh import FaceMesh
from mrfa.evaluation.judges.head_pose import MEAN_FACE, ard_judge, euler_angles, head_angles
from mrfa.evaluation.judges.mesh_judge import akd_judge


class _Known(FaceMesh):
    """Landmarks by the first pixel of a picture."""

    def __init__(self, meshes: list[np.ndarray | None]) -> None:
        self.meshes = meshes

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        return self.meshes[int(picture[0, 0, 0])]


def _frames(count: int) -> Frames:
    """Generated frame i shows mesh i, the driving frames all show mesh 0."""
    pictures = np.zeros((count, 128, 128, 3), np.uint8)
    generated = pictures.copy()
    generated[:, 0, 0, 0] = np.arange(count)
    return Frames(pictures[0], pictures, generated)


def _mean_face() -> np.ndarray:
    mesh = np.random.default_rng(0).normal(size=(478, 3))
    for index, point in MEAN_FACE.items():
        mesh[index] = point
    return mesh


def _turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """Rz Rx Ry in a frame with y down and z away."""
    y, p, r = np.radians([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    upright = np.diag([1.0, -1.0, -1.0])
    return upright @ about_z @ about_x @ about_y @ upright


def test_a_shift_is_its_length() -> None:
    mesh = _mean_face() * 20 + 60
    judge = akd_judge(_Known([mesh, mesh + np.array([3, 4, 50]), None]))
    values = judge(_frames(3))
    assert values[0] == 0 and values[1] == pytest.approx(5 * 256 / 128) and np.isnan(values[2])
    assert akd_judge(judge.faces, variant="paper")(_frames(2))[1] == pytest.approx(3.5 * 256 / 128)


@pytest.mark.parametrize("angles", [(20, 0, 0), (0, -15, 0), (0, 0, 40), (25, 10, -30)])
def test_a_rotation_is_its_angles(angles: tuple[float, float, float]) -> None:
    face = _mean_face()
    turned = 37 * face @ _turn(*angles).T + [5, -3, 2]
    assert np.allclose(euler_angles(_turn(*angles)), angles)
    assert np.allclose(head_angles(turned), angles, atol=1e-6)
    distance = ard_judge(_Known([face, turned]))(_frames(2))
    assert np.allclose(distance, [0, np.abs(angles).mean()], atol=1e-6)


def test_actions_of_a_face() -> None:
    mesh = _mean_face()[:, :2]
    mesh[[33, 133, 362, 263]] = [[-1, 0], [-0.4, 0], [0.4, 0], [1, 0]]
    mesh[[10, 152]] = [[0, -1.5], [0, 2]]
    mesh[[159, 145, 386, 374]] = [[-0.7, -0.1], [-0.7, 0.1], [0.7, -0.01], [0.7, 0.01]]  # the left eye is closed
    mesh[[105, 334]] = [[-0.7, -0.6], [0.7, -0.6]]
    mesh[[61, 291, 78, 308]] = [[-0.55, 0.9], [0.55, 0.9], [-0.5, 0.9], [0.5, 0.9]]
    mesh[[13, 14]] = [[0, 0.75], [0, 1.05]]  # the mouth is open
    shown = {name for name, present in zip(ACTIONS, actions(mesh), strict=True) if present}
    assert shown == {"left eye closed", "mouth open"}


def test_angles_and_actions_of_synthetic_heads() -> None:
    pytest.importorskip("mediapipe")
    heads = [SyntheticHead.draw(seed) for seed in (1, 2, 3)]
    errors = []
    with FaceLandmarker() as landmarker:
        for head in heads:
            found = []
            for yaw, pitch in ((0, 0), (20, 0), (-15, 10)):
                state = State(pose=Pose(yaw=yaw, pitch=pitch), expression=Expression())
                mesh = landmarker.in_space(render(head, state).image)
                assert mesh is not None
                found.append(head_angles(mesh)[:2])
            errors += [found[1] - found[0] - [20, 0], found[2] - found[0] - [-15, 10]]
            wide = landmarker(render(head, State(pose=Pose(), expression=Expression(mouth_open=0.9))).image)
            assert wide is not None and actions(wide)[ACTIONS.index("mouth open")]
    assert np.abs(errors).mean() < 5


def test_the_same_pictures_are_alike(faces: Path) -> None:
    from mrfa.data.clips import read_clip

    clip = read_clip(sorted((faces / "test").glob("*.mp4"))[0], 256)[:20:10]
    names = ["AKD (mediapipe)", "ARD (mediapipe)", "AUH (mediapipe)", "mouth opening (mediapipe)"]
    judges, problems = load_judges(names)
    assert not problems
    for judge in judges:
        assert np.allclose(judge(Frames(clip[0], clip, clip)), 0)  # type: ignore[operator]
    rolled = np.stack([np.rot90(picture) for picture in clip])
    ard = judges[1](Frames(clip[0], clip, rolled))  # type: ignore[operator]
    assert np.isnan(ard).all() or np.nanmean(ard) > 20
