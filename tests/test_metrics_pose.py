"""Head pose and expression: known rotations, known actions."""

import numpy as np
import pytest

from benchmarks.synthetic import Expression, Pose, State, SyntheticHead, render
from mrfa.evaluation.metrics.expression import ACTIONS, action_difference, actions
from mrfa.evaluation.metrics.head_pose import MEAN_FACE, angle_difference, head_angles
from mrfa.faces.landmarks import FaceLandmarker


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


@pytest.mark.parametrize("angles", [(20, 0, 0), (0, -15, 0), (0, 0, 40), (25, 10, -30)])
def test_a_rotation_is_its_angles(angles: tuple[float, float, float]) -> None:
    face = _mean_face()
    turned = 37 * face @ _turn(*angles).T + [5, -3, 2]
    assert np.allclose(head_angles(turned), angles, atol=1e-6)
    assert angle_difference(turned, face, 256) == pytest.approx(np.abs(angles).mean(), abs=1e-6)
    assert angle_difference(face, face, 256) == pytest.approx(0, abs=1e-6)


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
    closed = mesh.copy()
    closed[[13, 14]] = [[0, 0.89], [0, 0.91]]
    assert action_difference(closed, mesh, 256) == 1 and action_difference(mesh, mesh, 256) == 0


def test_angles_and_actions_of_synthetic_heads() -> None:
    heads = [SyntheticHead.draw(seed) for seed in (1, 2, 3)]
    errors = []
    landmarker = FaceLandmarker()
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
