"""Made-up people, whose pose, shape and expression are known, through the transfer from face to face."""

import math

import pytest
import torch
from torch import Tensor

from mrfa.animation.expression import (
    Frames,
    PersonShape,
    eye_distance,
    eye_openings,
    eye_width,
    gaze,
    mouth_opening,
    take_apart,
    with_gaze,
    with_openings,
)
from mrfa.animation.face_motion import (
    FaceMotion,
    Strengths,
    named_places,
    nearest_frame,
    take_apart_alone,
    with_expression,
)
from mrfa.animation.head import (
    HeadPose,
    face_statistics,
    fit_pose,
    pose_weights,
    project,
    rotation_of,
    seen_from_front,
    vector_of,
)
from mrfa.animation.motion import RelativeMotion
from mrfa.animation.settings import MotionSettings
from mrfa.data.guidance import GROUP_INDEX, GROUPS, MIRRORED_GROUPS
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import Config

FREE = 2
MEAN = face_statistics().mean
DEPTHS = MEAN[:, 2]


@pytest.fixture
def tiny_network(tiny_config: Config) -> Network:
    """One whose keypoints have meaning, by its configuration."""
    return Network(tiny_config.network).eval()


def pose(turn: tuple[float, float, float] = (0, 0, 0), scale: float = 0.5, place: tuple[float, float] = (0, 0)) -> HeadPose:
    """Of degrees of nod, turn and roll."""
    vector = torch.tensor([turn], dtype=torch.float64).deg2rad()
    return HeadPose(rotation_of(vector), torch.tensor([scale], dtype=torch.float64), torch.tensor([place], dtype=torch.float64))


def drawn(covariance: Tensor, seed: int, count: int = 1) -> Tensor:
    noise = torch.randn(count, 2 * GROUPS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (noise @ torch.linalg.cholesky(covariance).T).unflatten(1, (GROUPS, 2))


def person(seed: int) -> Tensor:
    return MEAN[:, :2] + drawn(face_statistics().between, seed)[0]


def shown(network: Network, front: Tensor, head: HeadPose) -> Keypoints:
    """Keypoints of a face `[G, 2]` or faces `[B, G, 2]`, with two more without a name at the head's place."""
    front = front if front.ndim == 3 else front[None]
    places = torch.cat([project(front, head, DEPTHS), head.place[:, None].expand(len(front), FREE, 2)], 1)
    size = network.config.image_size
    positions = network.conventions.from_half_pixel(places.float(), (size, size))
    return Keypoints(positions, head.linear.float()[:, None].expand(len(front), GROUPS + FREE, 2, 2))


def parts(network: Network, keypoints: Keypoints, shape: Tensor | None = None):
    size = network.config.image_size
    return take_apart(network.conventions.to_half_pixel(keypoints.positions[:, :GROUPS].double(), (size, size)), shape)


def angles(rotation: Tensor) -> list[float]:
    return vector_of(rotation)[0].rad2deg().tolist()


def test_the_mean_face_is_symmetric_and_upright() -> None:
    mirrored = MEAN[list(MIRRORED_GROUPS)] * torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(mirrored, MEAN, atol=1e-6, rtol=0)
    assert eye_distance(MEAN[:, :2]) == pytest.approx(1, abs=0.02)
    assert gaze(MEAN[:, :2]) == pytest.approx(0, abs=0.01), "looks at the viewer"
    assert abs((pose_weights()[:, None] * MEAN).sum(0)).max() < 0.02


@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -35, 5), (-20, 25, -30), (0, 50, 0)])
def test_a_known_pose_is_found(turn: tuple[float, float, float]) -> None:
    head = pose(turn, 0.4, (0.2, -0.1))
    places = project(MEAN[None, :, :2], head, DEPTHS)
    found = fit_pose(places, MEAN)
    assert angles(found.rotation) == pytest.approx(turn, abs=0.01)
    torch.testing.assert_close(found.scale, head.scale)
    torch.testing.assert_close(found.place, head.place, atol=1e-6, rtol=0)
    torch.testing.assert_close(seen_from_front(places, found, DEPTHS)[0], MEAN[:, :2], atol=1e-4, rtol=0)


def test_shape_and_expression_are_told_apart() -> None:
    """The more of a person is seen, the nearer comes their shape; of one frame it is nearer than the frame itself."""
    errors = torch.zeros(5)
    for seed in range(10):
        shape = person(seed)
        frames = shape + drawn(face_statistics().within, 100 + seed, 120)
        for place, count in enumerate((0, 1, 12, 120)):
            known = PersonShape()
            known.add(frames[:count])
            errors[place] += (known.estimate() - shape).norm()
        errors[4] += (frames[0] - shape).norm()
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.3 * errors[0] and errors[1] < errors[4]


def test_transfer_to_itself_changes_nothing(tiny_network: Network) -> None:
    face = person(1) + drawn(face_statistics().within, 2)[0]
    face = with_openings(face, torch.tensor([0.2, 0.2]), mouth_opening(face))
    own = shown(tiny_network, face, pose((5, -12, 3), 0.5, (0.1, 0)))
    for clip in (None, own.positions):
        moved = FaceMotion(tiny_network, own, own, clip=clip)(own)
        torch.testing.assert_close(moved.positions, own.positions, atol=2e-3, rtol=0)
        torch.testing.assert_close(moved.affine, own.affine, atol=2e-3, rtol=0)


def test_an_expression_is_the_drivers_on_the_portraits_shape() -> None:
    """Where only the skull moves a place, half of what the picture shows beside the estimated shape stays."""
    portrait, driver = (
        Frames(pose(), person(seed) + drawn(face_statistics().within, 10 + seed)[0], person(seed)) for seed in (1, 2)
    )
    own, its = portrait.front - portrait.shape, driver.front - driver.shape
    moved = {share: with_expression(portrait, driver, Strengths(expression=share)) for share in (0, 0.5, 1, 2)}
    chin, nose = GROUP_INDEX["chin"], GROUP_INDEX["nose_bridge"]
    torch.testing.assert_close(moved[1][chin], (portrait.shape + 0.01 * own + 0.99 * its)[chin])
    torch.testing.assert_close(moved[1][nose], (portrait.shape + 0.5 * own + 0.5 * its)[nose])
    for share in (0.5, 2):
        for place in (chin, nose):
            torch.testing.assert_close(moved[share][place], torch.lerp(portrait.front, moved[1], share)[place])
    torch.testing.assert_close(moved[0][chin], portrait.front[chin])


@pytest.mark.parametrize(("eyes", "lips"), [(1, 1), (0.5, 1), (1, 0.5), (1.5, 2), (0, 0)])
def test_lids_and_lips_have_strengths_of_their_own(eyes: float, lips: float) -> None:
    portrait, driver = (
        Frames(pose(), with_openings(person(seed), torch.tensor([lids, lids]), torch.tensor(mouth)), person(seed))
        for seed, lids, mouth in ((1, 0.2, 0.1), (2, 0.3, 0.2))
    )
    moved = with_expression(portrait, driver, Strengths(eyes=eyes, lips=lips))
    assert eye_openings(moved).tolist() == pytest.approx([0.2 + 0.1 * eyes] * 2, abs=1e-6)
    assert mouth_opening(moved).item() == pytest.approx(0.1 + 0.1 * lips, abs=1e-6)


@pytest.mark.parametrize("share", [0, 0.5, 1, 2])
def test_eyes_look_where_the_drivers_look(share: float) -> None:
    """Whatever the portrait's one picture lets its shape be taken for; and both eyes turn alike."""
    portrait, driver = (
        Frames(pose(), with_gaze(person(seed), torch.tensor(aside)), person(3)) for seed, aside in ((1, 0.2), (2, -0.1))
    )
    moved = with_expression(portrait, driver, Strengths(expression=share))
    assert gaze(moved).item() == pytest.approx(0.2 - 0.3 * share, abs=1e-6)
    shifts = (with_gaze(person(1), torch.tensor(0.3)) - person(1))[[GROUP_INDEX["right_iris"], GROUP_INDEX["left_iris"]]]
    widths = torch.stack([eye_width(person(1), side) for side in ("right", "left")])
    torch.testing.assert_close(shifts[:, 0] / widths, (0.3 - gaze(person(1))).expand(2))


def test_no_strength_closes_more_than_shut() -> None:
    """Nor do lips that open get thicker."""
    portrait, driver = (
        Frames(pose(), with_openings(person(1), torch.tensor([gap, gap]), torch.tensor(gap)), person(1)) for gap in (0.3, 0.05)
    )
    moved = with_expression(portrait, driver, Strengths(eyes=2, lips=2))
    assert [*eye_openings(moved).tolist(), mouth_opening(moved).item()] == pytest.approx([0] * 3, abs=1e-9)
    outer, inner = GROUP_INDEX["lower_lip_outer"], GROUP_INDEX["lower_lip_inner"]
    opened = with_openings(moved, torch.tensor([0.3, 0.3]), torch.tensor(0.4))
    torch.testing.assert_close(opened[outer] - opened[inner], moved[outer] - moved[inner])


def test_maps_go_with_the_head_and_half_of_the_drivers_change(tiny_network: Network) -> None:
    heads = [pose((3, -8, 4), 0.5), pose((0, 10, -3), 0.3), pose((4, 16, 2), 0.35)]
    source, initial, driving = (shown(tiny_network, person(min(seed, 2)), head) for seed, head in enumerate(heads, 1))
    generator = torch.Generator().manual_seed(0)
    own, before, after = (torch.eye(2) + 0.2 * torch.randn(GROUPS + FREE, 2, 2, generator=generator) for _ in range(3))
    frames = [parts(tiny_network, keypoints).pose.linear[0].float() for keypoints in (source, initial, driving)]

    def changed(change: Tensor, expression: float = 1) -> Tensor:
        """What changes in the portrait's head's frame for a driver whose maps change so in its own."""
        seen = [frame @ inside for frame, inside in zip(frames, (own, before, change @ before), strict=True)]
        given = [k._replace(affine=a[None]) for k, a in zip((source, initial, driving), seen, strict=True)]
        strengths = Strengths(expression=expression)
        moved = FaceMotion(tiny_network, *given[:2], clip=initial.positions, strengths=strengths)(given[2])
        head = (
            parts(tiny_network, moved, take_apart_alone(named_places(tiny_network, source.positions)[0]).shape)
            .pose.linear[0]
            .float()
        )
        assert moved.affine is not None
        return torch.linalg.inv(head) @ moved.affine[0] @ torch.linalg.inv(own)

    identity = torch.eye(2).expand(GROUPS + FREE, 2, 2)
    torch.testing.assert_close(changed(identity), identity, atol=0.02, rtol=0)
    change = after @ torch.linalg.inv(before)
    torch.testing.assert_close(changed(change, expression=0), identity, atol=0.02, rtol=0)
    torch.testing.assert_close(changed(change), (identity + change) / 2, atol=0.03, rtol=0.05)


@pytest.mark.parametrize("live", [False, True])
def test_a_mouth_that_is_open_in_frame_one_opens(tiny_network: Network, live: bool) -> None:
    closed, driver = with_openings(person(1), torch.tensor([0.25, 0.25]), torch.tensor(0.0)), person(2)
    opened = with_openings(driver, torch.tensor([0.25, 0.25]), torch.tensor(0.3))
    source, driving = shown(tiny_network, closed, pose()), shown(tiny_network, opened, pose(scale=0.3, place=(0.2, 0)))
    moved = FaceMotion(tiny_network, source, driving, clip=None if live else driving.positions)(driving)
    assert mouth_opening(parts(tiny_network, moved).front).item() == pytest.approx(0.3, abs=0.02)


def test_a_blink_closes_a_wide_eye_and_a_narrow_one(tiny_network: Network) -> None:
    mouth = torch.tensor(0.0)
    driver = person(2)
    blink = shown(tiny_network, with_openings(driver, torch.tensor([0.04, -0.04]), mouth), pose((0, 15, 0), 0.4))
    look = shown(tiny_network, with_openings(driver, torch.tensor([0.3, 0.3]), mouth), pose((0, 15, 0), 0.4))
    for opening in (0.15, 0.45):
        source = shown(tiny_network, with_openings(person(1), torch.tensor([opening, opening]), mouth), pose())
        moved = FaceMotion(tiny_network, source, look, clip=torch.cat([look.positions, blink.positions]))(blink)
        openings = eye_openings(parts(tiny_network, moved).front)
        assert openings.abs().max() < 0.02, "both eyes close, though the driver's were seen unevenly"


@pytest.mark.parametrize(("right", "kept"), [(0.0, 0.35), (0.18, 0.085), (0.25, 0)])
def test_a_wink_stays_a_wink(tiny_network: Network, right: float, kept: float) -> None:
    """In full where the eyes differ clearly, and less where that may be the detector's error."""
    driver, mouth = person(2), torch.tensor(0.0)
    wink = shown(tiny_network, with_openings(driver, torch.tensor([right, 0.35]), mouth), pose())
    moved = eye_openings(parts(tiny_network, FaceMotion(tiny_network, wink, wink)(wink)).front)[0].tolist()
    assert moved[1] - moved[0] == pytest.approx(kept, abs=0.03)


def test_the_head_turns_from_the_portraits_pose_and_keeps_the_shape(tiny_network: Network) -> None:
    shape = person(1)
    source = shown(tiny_network, shape, pose((0, -10, 0), 0.6))
    initial, turned = (shown(tiny_network, person(2), pose((0, turn, 0), 0.3, (place, 0))) for turn, place in ((5, 0), (20, 0.1)))
    moved = FaceMotion(tiny_network, source, initial, clip=initial.positions)(turned)
    found = parts(tiny_network, moved, shape)
    assert angles(found.pose.rotation) == pytest.approx((0, 5, 0), abs=1)
    assert found.pose.scale.item() == pytest.approx(0.6, rel=0.02)
    assert found.pose.place[0, 0].item() == pytest.approx(0.2, abs=0.02), "a step as large as the face"
    unnamed = moved.positions[0, GROUPS:] - source.positions[0, GROUPS:]
    assert unnamed.mean(0).tolist() == pytest.approx([0.2, 0], abs=0.02), "and what has no name with it"
    still = parts(tiny_network, FaceMotion(tiny_network, source, initial, strengths=Strengths(head=0))(turned), shape)
    assert angles(still.pose.rotation) == pytest.approx((0, -10, 0), abs=1)
    width, own = eye_width(found.front, "left").item(), eye_width(shape, "left").item()
    assert width == pytest.approx(own, rel=0.1)


def test_an_absolute_pose_is_the_drivers(tiny_network: Network) -> None:
    shape = person(1)
    source = shown(tiny_network, shape, pose((0, -10, 0), 0.6))
    initial, turned = (shown(tiny_network, person(2), pose((0, turn, 0), 0.3, (place, 0))) for turn, place in ((5, 0), (14, 0.1)))
    moved = FaceMotion(tiny_network, source, initial, shape=person(2), pose="absolute")(turned)
    found = parts(tiny_network, moved, shape)
    assert angles(found.pose.rotation) == pytest.approx((0, 14, 0), abs=3), "and not the portrait's moved on, -1"
    assert found.pose.scale.item() == pytest.approx(0.6, rel=0.02), "the size stays the portrait's"
    unnamed = moved.positions[0, GROUPS:] - source.positions[0, GROUPS:]
    assert unnamed.mean(0).tolist() == pytest.approx([0.2, 0], abs=0.03), "what has no name goes with the head"


@pytest.mark.parametrize("live", [False, True])
def test_named_places_alone_drive(tiny_network: Network, live: bool) -> None:
    """The named keypoints as all of the driver's do, and the rest carried by the head."""
    shape = person(1)
    source = shown(tiny_network, shape, pose((0, -10, 0), 0.6, (0.1, 0.05)))
    source.positions[:, GROUPS:] += torch.tensor([[0.0, 0.3], [-0.2, 0.0]])
    driver = with_openings(person(2), torch.tensor([0.2, 0.2]), torch.tensor(0.2))
    initial, turned = (
        shown(tiny_network, driver, pose((0, turn, roll), 0.3, (place, 0))) for turn, roll, place in ((5, 0, 0), (5, 30, 0.1))
    )
    names_alone = [Keypoints(keypoints.positions[:, :GROUPS], None) for keypoints in (initial, turned)]
    clip = None if live else initial.positions
    by_all = FaceMotion(tiny_network, source, initial, clip=clip)(turned)
    moved = FaceMotion(tiny_network, source, names_alone[0], clip=None if live else names_alone[0].positions)(names_alone[1])
    torch.testing.assert_close(moved.positions[:, :GROUPS], by_all.positions[:, :GROUPS], rtol=0, atol=0)
    # A roll of 30 degrees, and a step of 0.1 on a face twice as large, as all that is fixed to the head does them.
    roll = rotation_of(torch.tensor([[0, 0, math.radians(30)]], dtype=torch.float64))[:, :2, :2].float()
    place = torch.tensor([0.1, 0.05])
    carried = (source.positions[0, GROUPS:] - place) @ roll[0].T + place + torch.tensor([0.2, 0])
    torch.testing.assert_close(moved.positions[0, GROUPS:], carried, atol=5e-3, rtol=0)
    assert source.affine is not None and moved.affine is not None
    torch.testing.assert_close(moved.affine, roll[:, None] @ source.affine, atol=5e-3, rtol=0)


def test_a_shape_that_is_known_is_not_looked_for(tiny_network: Network) -> None:
    """Of a driver that always smiles, or of a short part of a clip, it could not be found."""
    corners = [GROUP_INDEX[f"{side}_mouth_corner"] for side in ("right", "left")]
    smile = torch.zeros(GROUPS, 2, dtype=torch.float64)
    smile[corners, 1] = -0.15
    smiling, source = shown(tiny_network, person(2) + smile, pose()), shown(tiny_network, person(1), pose())
    own = take_apart_alone(named_places(tiny_network, source.positions)[0])
    raised = []
    for shape in (person(2).float(), None):
        moved = FaceMotion(tiny_network, source, smiling, clip=smiling.positions, shape=shape)(smiling)
        raised.append((own.shape - parts(tiny_network, moved, own.shape).front[0])[corners, 1].mean().item())
    assert raised[0] == pytest.approx(0.15, abs=0.02) and raised[1] < 0.12


def test_a_driver_leans_and_comes_nearer_in_the_picture(tiny_network: Network) -> None:
    """A portrait that looks aside leans in the picture's plane, as the driver does, and not towards its own shoulder."""
    shape = person(1)
    source = shown(tiny_network, shape, pose((0, 25, 0), 0.4))
    initial, leaning = (shown(tiny_network, person(2), pose((0, 0, roll), scale)) for roll, scale in ((0, 0.5), (30, 0.6)))
    moved = parts(tiny_network, FaceMotion(tiny_network, source, initial, clip=initial.positions)(leaning), shape).pose
    expected = pose((0, 0, 30)).rotation @ pose((0, 25, 0)).rotation
    assert vector_of(moved.rotation @ expected.transpose(1, 2)).norm().rad2deg() < 1.5
    assert moved.scale.item() == pytest.approx(0.48, rel=0.02)


def test_a_live_drivers_shape_becomes_known(tiny_network: Network) -> None:
    """As frames come, what a live driver makes of a portrait nears what it makes where the clip is known."""
    source = shown(tiny_network, person(1), pose())
    fronts = person(2) + drawn(face_statistics().within, 5, 40)
    frames = [shown(tiny_network, front, pose()) for front in fronts]
    known = FaceMotion(tiny_network, source, frames[0], clip=torch.cat([frame.positions for frame in frames]))
    live = FaceMotion(tiny_network, source, frames[0])
    apart = [(live(frame).positions - known(frame).positions).norm().item() for frame in frames]
    assert sum(apart[-5:]) < 0.3 * sum(apart[:5])


def test_another_frame_may_count_as_the_portraits_pose(tiny_network: Network) -> None:
    source, first, other, driving = (
        shown(tiny_network, person(seed), pose((seed, 3 * seed, -seed), 0.5 + seed / 20, (seed / 50, 0))) for seed in range(4)
    )
    clip = torch.cat([first.positions, other.positions, driving.positions])
    motion = FaceMotion(tiny_network, source, first, clip=clip)
    before = motion(driving)
    motion.begin_at(other)
    expected = FaceMotion(tiny_network, source, other, clip=clip)(driving)
    assert (before.positions - expected.positions).abs().max() > 0.01
    assert expected.affine is not None
    torch.testing.assert_close(motion(driving), expected, atol=0, rtol=0)


def test_turns_too_far_are_eased_and_said(tiny_network: Network) -> None:
    source = shown(tiny_network, person(1), pose())
    initial, far = (shown(tiny_network, person(2), pose((0, turn, 0))) for turn in (0, 50))
    motion = FaceMotion(tiny_network, source, initial, clip=initial.positions)
    assert motion.warnings() == []
    moved = motion(far)
    assert 30 < angles(parts(tiny_network, moved, person(1)).pose.rotation)[1] < 40
    assert "in 1 frames" in motion.warnings()[0]


def test_strength_zero_keeps_the_portraits_own(tiny_network: Network) -> None:
    source = shown(tiny_network, person(1) + drawn(face_statistics().within, 3)[0], pose((0, 5, 0)))
    driving = shown(tiny_network, person(2) + drawn(face_statistics().within, 4)[0], pose((0, 20, 0), place=(0.1, 0.1)))
    motion = FaceMotion(tiny_network, source, shown(tiny_network, person(2), pose()), strengths=Strengths(0, 0, 0, 0))
    torch.testing.assert_close(motion(driving).positions, source.positions, atol=2e-3, rtol=0)


def test_portraits_and_frames_are_as_each_alone(tiny_network: Network) -> None:
    sources = [shown(tiny_network, person(seed), pose((0, 5 * seed, 0))) for seed in (1, 2)]
    frames = [
        shown(tiny_network, person(3) + drawn(face_statistics().within, seed)[0], pose((0, 4 * seed, 0))) for seed in (5, 6, 7)
    ]
    both, all_frames = (Keypoints(*(torch.cat(values) for values in zip(*group, strict=True))) for group in (sources, frames))  # type: ignore[arg-type]
    for clip in (None, all_frames.positions):
        together = FaceMotion(tiny_network, both, frames[0], clip=clip)(all_frames)
        assert together.positions.shape == (6, GROUPS + FREE, 2) and together.affine is not None
        for number, source in enumerate(sources):
            alone = FaceMotion(tiny_network, source, frames[0], clip=clip)
            for place, frame in enumerate(frames):
                moved = alone(frame)
                torch.testing.assert_close(moved.positions[0], together.positions[3 * number + place])
                torch.testing.assert_close(moved.affine[0], together.affine[3 * number + place])  # type: ignore[index]


def test_the_best_start_is_near_in_pose_and_expression(tiny_network: Network) -> None:
    mouth, eyes = torch.tensor([0.0, 0.4]), torch.tensor([0.25, 0.25])
    source = shown(tiny_network, with_openings(person(1), eyes, mouth[0]), pose((0, 10, 0)))
    driver = [(mouth[0], -15), (mouth[1], 10), (mouth[0], 10), (mouth[1], -15)]
    clip = [
        shown(tiny_network, with_openings(person(2), eyes, opening), pose((0, turn, 0))).positions for opening, turn in driver
    ]
    assert nearest_frame(tiny_network, source, torch.cat(clip)) == 2


@pytest.mark.parametrize("way", ["turn", "step", "size"])
def test_the_best_start_is_no_rare_pose(tiny_network: Network, way: str) -> None:
    """Of a driver whose head is but for a moment as the portrait's, this moment is not the best start."""
    source = shown(tiny_network, person(1), pose())
    aside = [2, -2] * 5
    heads = {
        "turn": [pose((turn, 0, 0)) for turn in (0, -8, *[-20] * 9)],
        "step": [pose(), *(pose((turn, 0, 0), place=(0.1, 0)) for turn in aside)],
        "size": [pose(), *(pose((turn, 0, 0), scale=0.4) for turn in aside)],
    }
    clip = [shown(tiny_network, person(2), head).positions for head in heads[way]]
    assert nearest_frame(tiny_network, source, torch.cat(clip)) != 0


def test_models_whose_keypoints_have_no_meaning_keep_relative_motion(tiny_network: Network) -> None:
    keypoints = shown(tiny_network, person(1), pose())
    assert isinstance(MotionSettings().transfer(tiny_network, keypoints, keypoints), FaceMotion)
    detector = tiny_network.config.detector.model_copy(update={"layout": "free"})
    tiny_network.config = tiny_network.config.model_copy(update={"detector": detector})
    assert isinstance(MotionSettings().transfer(tiny_network, keypoints, keypoints), RelativeMotion)
    assert MotionSettings("absolute").transfer(tiny_network, keypoints, keypoints) is None
    with pytest.raises(InputError, match="need a model that knows"):
        MotionSettings(strengths=Strengths(eyes=0.5)).check_model(tiny_network)
    with pytest.raises(InputError, match="need a model that knows"):
        MotionSettings(pose="absolute").check_model(tiny_network)
    with pytest.raises(InputError, match="they do not go with 'relative'"):
        MotionSettings("relative", pose="absolute").check()
    with pytest.raises(InputError, match="must be 0 to 2"):
        MotionSettings(strengths=Strengths(eyes=3)).check()


def test_a_single_frame_is_taken_apart_the_same_way_again() -> None:
    places = project((person(1) + drawn(face_statistics().within, 1)[0])[None], pose((0, 15, 0)), DEPTHS)
    alone = take_apart_alone(places[0])
    torch.testing.assert_close(project(alone.front, alone.pose, DEPTHS), places)
