"""Pairs of stills: heads in space, turns that carry landmarks along, and what stays in place."""

import math

import pytest
import torch
from conftest import pair_batch
from torch import Tensor

from mrfa.animation.head import face_statistics, rotation_of
from mrfa.data.guidance import GROUP_INDEX, GROUPS, MIRRORED_GROUPS
from mrfa.network.geometry import HALF_PIXEL
from mrfa.training.augmentation import Pair, augment
from mrfa.training.config import AugmentationConfig, StillsConfig
from mrfa.training.pairs import PairBatch
from mrfa.training.stills import AXIS_DEPTH, HEAD_POINTS, head_points, turn

SCALE, PLACE = 0.5, torch.tensor([0.05, -0.1])
NOSE = GROUP_INDEX["nose_tip"]


def _groups(count: int, yaw: float = 0.0) -> Tensor:
    """The mean face turned to a side by an angle in radians, `[count, G, 2]`."""
    turned = face_statistics().mean @ rotation_of(torch.tensor([[0.0, yaw, 0.0]]).double())[0].T
    return (SCALE * turned[:, :2] + PLACE).float().expand(count, GROUPS, 2)


def _batch(pictures: Tensor, groups: Tensor, *, found: bool = True) -> PairBatch:
    """Stills `[B, 3, H, W]`, uint8."""
    count = len(pictures)
    batch = pair_batch((pictures, pictures), (groups, groups))
    batch["found"], batch["still"] = torch.full((count,), found), torch.ones(count, dtype=torch.bool)
    batch["heads"] = head_points(groups) if found else torch.zeros(count, HEAD_POINTS, 3)
    return batch


def _augmented(batch: PairBatch, *, flip: bool = False, turned: float = 15.0, **settings: float) -> Pair:
    stills = StillsConfig(turn=turned, **settings)
    config = AugmentationConfig(horizontal_flip=flip, time_flip=flip, colour_jitter=0, rotation=25, scale=0.1, stills=stills)
    return augment(batch, config)


def test_head_has_the_pose_of_its_landmarks() -> None:
    mean = face_statistics().mean.float()
    front = head_points(_groups(1))[0]
    torch.testing.assert_close(front[:GROUPS, 2], SCALE * mean[:, 2], atol=1e-3, rtol=0)
    torch.testing.assert_close(front[GROUPS:, 2], torch.full((HEAD_POINTS - GROUPS,), SCALE * AXIS_DEPTH), atol=1e-3, rtol=0)
    turned = head_points(_groups(1, yaw=0.3))[0]
    assert torch.equal(turned[:GROUPS, :2], _groups(1, yaw=0.3)[0])
    expected = SCALE * (math.cos(0.3) * mean[:, 2] - math.sin(0.3) * mean[:, 0])
    torch.testing.assert_close(turned[:GROUPS, 2], expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", ["nose_tip", "left_eye_outer", "chin", "right_jaw", "upper_lip_outer", "forehead"])
def test_landmarks_of_turned_stills_follow_the_picture(name: str) -> None:
    """A spot drawn at a landmark is found where the moved landmark says, in both pictures, flipped or not."""
    torch.manual_seed(1)
    count, size, index = 12, 96, GROUP_INDEX[name]
    groups = _groups(count)
    spots = HALF_PIXEL.heatmaps(groups[:, index : index + 1], (size, size), 0.002).expand(-1, 3, -1, -1)
    pair = _augmented(_batch((spots * 255).to(torch.uint8), groups), flip=True)
    grid = HALF_PIXEL.grid(size, size, spots)
    other = MIRRORED_GROUPS[index]  # the same place in mirrored pictures
    for picture, moved in ((pair.source, pair.source_groups), (pair.driving, pair.driving_groups)):
        weight = picture.mean(1).clamp_min(0.1) - 0.1
        centre = (weight[..., None] * grid).sum((1, 2)) / weight.sum((1, 2))[:, None]
        away = torch.minimum((centre - moved[:, index]).norm(dim=1), (centre - moved[:, other]).norm(dim=1))
        assert away.max() < 0.03
    if name == "nose_tip":
        assert (pair.source_groups[:, index] - pair.driving_groups[:, index]).norm(dim=1).mean() > 0.05


def test_mirrored_heads_turn_where_they_are() -> None:
    torch.manual_seed(0)
    groups = _groups(60) * 0.5 + torch.tensor([0.45, 0.0])
    config = AugmentationConfig(time_flip=False, colour_jitter=0)
    pair = augment(_batch(torch.zeros(60, 3, 16, 16, dtype=torch.uint8), groups), config)
    moves = (pair.source_groups - pair.driving_groups)[:, NOSE].norm(dim=1)
    mirrored = pair.source_groups[:, NOSE, 0] < 0
    assert 10 < mirrored.sum() < 50 and 0.7 < moves[mirrored].mean() / moves[~mirrored].mean() < 1.4


def test_nose_turns_and_background_stays() -> None:
    torch.manual_seed(0)
    heads = head_points(_groups(16))
    field = turn(heads, StillsConfig(turn=15, shift=0))
    assert (field != 0).flatten(1).any(1).all()

    def moves(points: Tensor) -> Tensor:
        return HALF_PIXEL.sample(field, points[:, None], "border")[:, :, 0].norm(dim=1).mean(0)

    nose, crown = moves(heads[:, NOSE : NOSE + 1, :2])[0], moves(heads[:, GROUPS : GROUPS + 1, :2])[0]
    assert nose > 0.08 and crown < 0.7 * nose
    # Nothing comes in over the edges, and the corners stay.
    across = torch.cat([field[:, 1, 0], field[:, 1, -1], field[:, 0, :, 0], field[:, 0, :, -1]], 1)
    corners = field[:, :, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert across.abs().max() < 0.01 and corners.abs().max() < 0.01
    # At 15 degrees the nose, the farthest before the axis, moves by at most this.
    assert nose < SCALE * 1.3 * math.radians(15)


def test_turns_are_as_large_as_the_setting_says() -> None:
    torch.manual_seed(0)
    heads = head_points(_groups(1)).expand(24, -1, -1)
    at_nose = [turn(heads, StillsConfig(turn=angle, shift=0))[:, 0, 24, 24].abs().max() for angle in (0.0, 5.0, 15.0)]
    assert at_nose[0] < 1e-3 and 2.2 < at_nose[2] / at_nose[1] < 3.8
    shifted = turn(heads, StillsConfig(turn=0, shift=0.05))[:, :, 24, 24].abs().amax()
    assert 0.07 < shifted < 0.11


def test_warps_that_would_fold_are_not_made() -> None:
    torch.manual_seed(0)
    heads = torch.rand(8, HEAD_POINTS, 3)
    assert (turn(heads, StillsConfig(turn=30)) == 0).flatten(1).all(1).any()


def test_one_picture_of_the_pair_is_the_still_itself() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)
    batch, still = _batch(pictures, _groups(20)), pictures.float() / 255
    config = AugmentationConfig(horizontal_flip=False, time_flip=False, colour_jitter=0)
    pair = augment(batch, config)
    torch.testing.assert_close(pair.source, still, atol=1e-4, rtol=0)
    assert ((pair.driving - still).abs().mean((1, 2, 3)) > 0.02).all() and torch.equal(pair.target, pair.driving)
    pair = augment(batch, config.model_copy(update={"time_flip": True}))
    kept = torch.stack([(picture - still).abs().amax((1, 2, 3)) < 1e-4 for picture in (pair.source, pair.driving)])
    assert (kept.sum(0) == 1).all() and kept.any(1).all()


def test_stills_without_a_face_are_bent_alone() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    batch = _batch(pictures, torch.zeros(4, GROUPS, 2), found=False)
    assert torch.isfinite(_augmented(batch).driving).all() and not _augmented(batch).found.any()
    unbent = _augmented(batch, bend=0.0)
    torch.testing.assert_close(unbent.source, unbent.driving)
    bent = _augmented(batch)
    assert ((bent.source - bent.driving).abs().mean((1, 2, 3)) > 0.01).all()


def test_clips_are_left_alone_beside_stills() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    batch = _batch(pictures, _groups(4))
    batch["still"] = torch.tensor([True, False, True, False])
    pair = _augmented(batch)
    same = (pair.source - pair.driving).abs().amax((1, 2, 3)) < 1e-4
    assert same.tolist() == [False, True, False, True]
