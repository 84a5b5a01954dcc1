"""Made-up people, whose pose, shape and expression are known, through the transfer from video to video."""

import pytest
import torch
from test_face_motion import FREE, angles, drawn, parts, person, pose, shown
from torch import Tensor

from mrfa.animation.animator import Animator
from mrfa.animation.expression import eye_openings, mouth_opening, with_openings
from mrfa.animation.expression_motion import ExpressionMotion
from mrfa.animation.face_motion import Strengths
from mrfa.animation.head import HeadPose, face_statistics, rotation_of
from mrfa.data.guidance import GROUPS
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config

OPEN_EYES = (0.25, 0.25)


@pytest.fixture
def tiny_network(tiny_config: Config) -> Network:
    """One whose keypoints have meaning, by its configuration."""
    return Network(tiny_config.network).eval()


def poses(turns: list[float], places: list[float]) -> HeadPose:
    """Of heads that turn to the side by degrees, at places from left to right."""
    vector = torch.tensor([(0.0, turn, 0.0) for turn in turns], dtype=torch.float64).deg2rad()
    place = torch.tensor([(x, 0.0) for x in places], dtype=torch.float64)
    return HeadPose(rotation_of(vector), torch.full((len(turns),), 0.5, dtype=torch.float64), place)


def faces(seed: int, mouths: list[float], eyes: tuple[float, float] = OPEN_EYES) -> Tensor:
    """A person's frames, as far open as told."""
    shape = person(seed).expand(len(mouths), -1, -1)
    return with_openings(shape, torch.tensor(eyes).expand(len(mouths), 2), torch.tensor(mouths))


def test_a_video_by_itself_does_not_change(tiny_network: Network) -> None:
    frames = person(1) + drawn(face_statistics().within, 2, 5)
    frames = with_openings(frames, torch.tensor(OPEN_EYES).expand(5, 2), mouth_opening(frames))
    video = shown(tiny_network, frames, poses([0, 5, 10, -5, -20], [0, 0.1, 0.2, 0, -0.3]))
    moved = ExpressionMotion(tiny_network, video.positions, video.positions, Strengths())(video, video)
    torch.testing.assert_close(moved.positions, video.positions, atol=2e-3, rtol=0)
    assert moved.affine is video.affine


def test_each_frame_takes_its_drivers_expression_and_keeps_its_own_pose(tiny_network: Network) -> None:
    turns, places = [-15.0, 0.0, 15.0], [-0.2, 0.0, 0.1]
    source = shown(tiny_network, faces(1, [0.2, 0.0, 0.3]), poses(turns, places))
    driving = shown(tiny_network, faces(2, [0.0, 0.3, 0.1]), poses([20.0, 10.0, 0.0], [0.3, 0.3, 0.3]))
    moved = ExpressionMotion(tiny_network, source.positions, driving.positions, Strengths())(source, driving)
    found = parts(tiny_network, moved)
    assert mouth_opening(found.front).tolist() == pytest.approx([0.0, 0.3, 0.1], abs=0.02)
    for number in range(3):
        assert angles(found.pose.rotation[number : number + 1]) == pytest.approx((0, turns[number], 0), abs=4)
    assert found.pose.place[:, 0].tolist() == pytest.approx(places, abs=0.02)
    torch.testing.assert_close(moved.positions[:, GROUPS:], source.positions[:, GROUPS:])
    assert moved.positions.shape == (3, GROUPS + FREE, 2)


def test_lips_alone_leave_the_rest_of_the_face(tiny_network: Network) -> None:
    source = shown(tiny_network, faces(1, [0.1, 0.1]), poses([0, 10], [0, 0]))
    driving = shown(tiny_network, faces(2, [0.4, 0.0], (0.0, 0.0)), poses([0, 0], [0, 0]))
    dubbed = ExpressionMotion(tiny_network, source.positions, driving.positions, Strengths(0, 0, 0, 1))(source, driving)
    found = parts(tiny_network, dubbed)
    assert mouth_opening(found.front).tolist() == pytest.approx([0.4, 0.0], abs=0.02)
    assert eye_openings(found.front).min() > 0.2
    moved = (dubbed.positions - source.positions).norm(dim=-1).amax(0) > 1e-3
    assert moved.sum() == 4, "the inner and outer edges of both lips"


def test_the_shape_is_the_videos_own(tiny_network: Network) -> None:
    """What the driver's face always shows is its shape, and not taken."""
    source = shown(tiny_network, faces(1, [0.0] * 60), poses([0] * 60, [0] * 60))
    driving = shown(tiny_network, faces(2, [0.0] * 60), poses([0] * 60, [0] * 60))
    moved = ExpressionMotion(tiny_network, source.positions, driving.positions, Strengths())(source, driving)
    difference = (driving.positions - source.positions)[:, :GROUPS].norm(dim=-1).mean()
    assert (moved.positions - source.positions)[:, :GROUPS].norm(dim=-1).mean() < 0.25 * difference


def test_drivers_of_named_places_alone_do(tiny_network: Network) -> None:
    source = shown(tiny_network, faces(1, [0.0]), pose())
    driving = shown(tiny_network, faces(2, [0.3]), pose())
    motion = ExpressionMotion(tiny_network, source.positions, driving.positions, Strengths())
    named = motion(source, Keypoints(driving.positions[:, :GROUPS], None))
    torch.testing.assert_close(named.positions, motion(source, driving).positions)
    assert named.affine is not None


def test_strengths_are_checked(tiny_network: Network) -> None:
    positions = shown(tiny_network, faces(1, [0.0]), pose()).positions
    with pytest.raises(InputError, match="must be 0 to 2"):
        ExpressionMotion(tiny_network, positions, positions, Strengths(lips=3))


def test_portraits_are_drawn_at_keypoints_of_their_own(tiny_network: Network) -> None:
    animator = Animator(tiny_network)
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    source, driving = animator.encode(pictures), animator.detect(pictures.flip(0))
    together = animator.draw(source, driving).image
    for number in range(3):
        alone = animator.step(animator.encode(pictures[number]), pictures[2 - number]).image
        torch.testing.assert_close(together[number], alone[0], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="3 portraits and keypoints of 2"):
        animator.draw(source, Keypoints(driving.positions[:2], None if driving.affine is None else driving.affine[:2]))
