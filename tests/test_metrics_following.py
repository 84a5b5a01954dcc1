"""How a result follows its driver: faces made by hand, of known openings, poses and jitter."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mrfa.animation.expression import eye_openings, with_openings
from mrfa.animation.head import HeadPose, face_statistics, project, rotation_of
from mrfa.data.guidance import GROUP_INDEX
from mrfa.evaluation.metrics import Frames, Needs, load_metrics
from mrfa.evaluation.metrics.following import (
    BROW,
    EYE,
    LEAST_FRAMES,
    MOUTH,
    brow_height,
    correlation,
    gain,
    head_motion,
    jitter,
    lid_asymmetry,
    relation,
)
from mrfa.evaluation.metrics.head_pose import MEAN_FACE
from mrfa.evaluation.metrics.landmarks import FaceMesh
from mrfa.faces.landmarks import LANDMARK_GROUPS

RIGHT, LEFT = (GROUP_INDEX[f"{side}_upper_lid"] for side in ("right", "left"))


class Meshes(FaceMesh):
    """Landmarks by the first pixel of a picture."""

    def __init__(self, meshes: Sequence[np.ndarray | None]) -> None:
        self.meshes = meshes

    def __call__(self, picture: np.ndarray) -> np.ndarray | None:
        return self.meshes[int(picture[0, 0, 0])]


def frames_of(made: Sequence[np.ndarray | None], true: Sequence[np.ndarray | None]) -> tuple[Frames, Meshes]:
    """Frames whose result and driver have these meshes."""
    pictures = np.zeros((2 * len(true), 8, 8, 3), np.uint8)
    pictures[:, 0, 0, 0] = np.arange(2 * len(true))
    return Frames(pictures[0], pictures[len(true) :], pictures[: len(true)], cross_identity=True), Meshes([*made, *true])


def meshes(
    *, mouth: np.ndarray, eyes: np.ndarray | None = None, brows: np.ndarray | None = None, size: float = 60, turn: float = 10
) -> list[np.ndarray]:
    """Meshes of the mean face in a pose, its mouth and eyes (`[F]` or `[F, 2]`) so far open, its brows so much higher."""
    count = len(mouth)
    front = face_statistics().mean[None, :, :2].repeat(count, 1, 1)
    own = eye_openings(front) if eyes is None else torch.from_numpy(eyes).reshape(count, -1).expand(-1, 2)
    front = with_openings(front, own, torch.from_numpy(mouth))
    if brows is not None:
        names = [f"{side}_brow_{end}" for side in ("right", "left") for end in ("inner", "outer")]
        front[:, [GROUP_INDEX[name] for name in names], 1] -= torch.from_numpy(brows)[:, None]
    rotation = rotation_of(torch.tensor([[0.1, np.radians(turn), 0.2]], dtype=torch.float64)).expand(count, 3, 3)
    pose = HeadPose(rotation, torch.full((count,), size).double(), torch.full((count, 2), 128).double())
    made = np.zeros((count, 478, 3))
    for places, indices in zip(
        project(front, pose, face_statistics().mean[:, 2]).unbind(1), LANDMARK_GROUPS.values(), strict=True
    ):
        made[:, list(indices), :2] = places[:, None]
    return list(made)


WAVE = 0.2 + 0.1 * np.sin(np.arange(12))


@pytest.mark.parametrize(("moved", "quantity"), [("mouth", MOUTH), ("eyes", EYE), ("brows", BROW)])
def test_relations_are_those_of_openings_in_own_units(moved: str, quantity: tuple) -> None:
    other = np.full(12, 0.1)
    drivers = meshes(**{"mouth": other, moved: WAVE})
    # Another size and pose of the head is no opening; of a head that is turned more the fit is not quite exact.
    results = meshes(**{"mouth": other, moved: 0.05 + 0.6 * WAVE}, size=90, turn=-15)
    frames, faces = frames_of(results, drivers)
    assert relation(gain, quantity, faces)(frames) == pytest.approx(np.full(12, 0.6), abs=0.03)
    assert relation(correlation, quantity, faces)(frames) == pytest.approx(np.ones(12), abs=1e-3)
    opposite, faces = frames_of(meshes(**{"mouth": other, moved: 0.5 - WAVE}), drivers)
    assert relation(correlation, quantity, faces)(opposite)[0] == pytest.approx(-1, abs=1e-3)
    still, faces = frames_of(drivers[:1] * 12, drivers)
    for compare in (gain, correlation):
        assert relation(compare, quantity, faces)(still)[0] == pytest.approx(0, abs=1e-9)


def test_raised_brows_are_higher() -> None:
    front = face_statistics().mean[:, :2].clone()
    before = brow_height(front)
    front[[index for name, index in GROUP_INDEX.items() if "brow" in name], 1] -= 0.1  # y points down; the eyes lie about 1 apart
    assert brow_height(front) - before == pytest.approx(0.1, abs=1e-3) and before > 0


def test_a_driver_that_hardly_moves_says_nothing() -> None:
    for quantity in (MOUTH, EYE, BROW):
        for share, known in ((0.8, False), (1.3, True)):
            openings = 0.2 + share * quantity[1] * np.tile([-1.0, 1.0], 6)
            name = {MOUTH: "mouth", EYE: "eyes", BROW: "brows"}[quantity]
            driver = meshes(**{"mouth": np.full(12, 0.1), name: openings})
            frames, faces = frames_of(driver, driver)
            assert np.isfinite(relation(gain, quantity, faces)(frames)).all() == known
    made: list[np.ndarray | None] = [*meshes(mouth=WAVE)]
    made[LEAST_FRAMES:] = [None] * (12 - LEAST_FRAMES)
    frames, faces = frames_of(made, meshes(mouth=WAVE))
    assert relation(gain, MOUTH, faces)(frames)[0] == pytest.approx(1, abs=0.01)
    made[0] = None
    assert np.isnan(relation(gain, MOUTH, Meshes([*made, *meshes(mouth=WAVE)]))(frames)).all()


def test_lids_that_part_more_than_the_drivers() -> None:
    mouth = np.full(3, 0.1)
    alike, wink, half = ([right, left] for right, left in ((0.3, 0.3), (0.05, 0.3), (0.2, 0.3)))
    driver, result = [alike, wink, half], [half, alike, wink]
    frames, faces = frames_of(*(meshes(mouth=mouth, eyes=np.array(eyes)) for eyes in (result, driver)))
    assert lid_asymmetry(faces)(frames) == pytest.approx([0.1, 0, 0.15], abs=0.005)


def test_head_motion_leaves_out_what_lasts() -> None:
    def heads(yaws: Sequence[float]) -> list[np.ndarray]:
        made = np.zeros((len(yaws), 478, 3))
        for mesh, yaw in zip(made, np.radians(yaws), strict=True):
            turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
            mesh[list(MEAN_FACE)] = np.array(list(MEAN_FACE.values())) @ turn.T
        return list(made)

    frames, faces = frames_of([*heads([20, 23, 17, 26]), None], heads([0, 3, -3, 0, 3]))
    values = head_motion(faces)(frames)
    assert values[:4] == pytest.approx([0, 0, 0, 2], abs=1e-6) and np.isnan(values[4])
    nothing, faces = frames_of([None] * 2, heads([1, 2]))
    assert np.isnan(head_motion(faces)(nothing)).all()


def test_jitter_is_a_share_of_the_drivers() -> None:
    mouth = np.full(9, 0.1)
    # What moves evenly does not jitter; a zigzag does.
    zigzag = np.array([[2.0 * number + (-1) ** number, 0, 0] for number in range(9)])[:, None]
    driver = list(np.stack(meshes(mouth=mouth)) + zigzag / 2)
    result: list[np.ndarray | None] = list(np.stack(meshes(mouth=mouth, size=120)) + 2 * zigzag)
    frames, faces = frames_of(result, driver)
    assert jitter(faces)(frames) == pytest.approx(np.full(9, 2.0), rel=1e-3)
    result[4] = None
    assert jitter(Meshes([*result, *driver]))(frames)[0] == pytest.approx(2.0, rel=1e-3)
    steady = [mesh + np.array([number, 0, 0]) for number, mesh in enumerate(meshes(mouth=mouth))]
    frames, faces = frames_of(steady, driver)
    assert jitter(faces)(frames)[0] == pytest.approx(0, abs=1e-6)
    frames, faces = frames_of(driver, steady)
    assert np.isnan(jitter(faces)(frames)).all()


def test_jitter_needs_frames_that_follow_each_other() -> None:
    _, problems = load_metrics(["jitter (mediapipe)"], Needs(all_frames=False))
    assert problems == ["jitter (mediapipe): needs frames that follow each other: --frames-per-clip 0"]
    assert load_metrics(["jitter (mediapipe)"])[0]
    metrics, problems = load_metrics(["L1", "jitter (mediapipe)"], Needs(protocol="reconstruction", all_frames=False))
    assert [metric.name for metric in metrics] == ["L1"] and not problems  # where it means nothing, nothing is said
