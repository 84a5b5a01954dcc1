"""From one face to another: the portrait's own shape, the driver's expression, and the driver's head motion."""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mrfa.animation.expression import (
    Frames,
    PersonShape,
    eye_openings,
    gaze,
    mouth_opening,
    strangeness,
    take_apart,
    with_gaze,
    with_openings,
)
from mrfa.animation.head import HeadPose, face_statistics, held_by_skull, project, rotation_of, vector_of
from mrfa.data.guidance import GROUPS
from mrfa.errors import InputError
from mrfa.network.geometry import invert_2x2
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network

# How the head is held: as it moves from the portrait's pose, or turned as the driver's.
PoseKind = Literal["relative", "absolute"]

STRONGEST = 2.0
# Turns and nods from the portrait's pose are followed up to here, and then less and less, up to `WIDEST_TURN`: further away
# the network draws what it has hardly seen.
EASED_FROM, WIDEST_TURN = math.radians(25), math.radians(40)
# Of how a picture differs from the person's estimated shape, this share is the person, not an expression, where nothing moves but
# with the skull; and of how a driver's maps change, this share is its expression. Measured on portraits driven by other people.
_PERSON, _MAPS_FOLLOW = 0.5, 0.5
# The best start is where pose and expression are near: such a turn, and such a step in distances of the outer eye corners, weigh
# as much as an expression of one deviation.
_TURN_ALIKE, _STEP_ALIKE = math.radians(6), 0.2
# Eyes whose openings differ by less, in eye widths, are taken for alike: the difference is the detector's error. Of drivers who
# did not wink it was at most 0.14, in a turn by 38 degrees 0.19. More is a wink, and from the second value on in full.
_ALIKE, _WINK = 0.12, 0.22


class Strengths(NamedTuple):
    """How much of the driver a portrait gets: 0 keeps the portrait's own, 1 is as the driver, at most 2 exaggerates.

    Attributes:
        expression: all of the face that is neither the head's pose nor an opening.
        head: turns, nods, tilts, steps and nearness.
        eyes: opening of the lids.
        lips: opening of the lips.
    """

    expression: float = 1.0
    head: float = 1.0
    eyes: float = 1.0
    lips: float = 1.0

    def check(self) -> None:
        """Check their range.

        Raises:
            InputError: one is below 0 or above 2.
        """
        for name, value in self._asdict().items():
            if not 0 <= value <= STRONGEST:
                raise InputError(f"the strength of {name} must be 0 to {STRONGEST:g}, got {value:g}")


class Face(NamedTuple):
    """Pictures of faces.

    Attributes:
        keypoints: `[B, K, 2]`.
        frames: what the named ones were taken apart to, in half-pixel normalised places.
    """

    keypoints: Keypoints
    frames: Frames


class FaceMotion:
    """Gives portraits the driver's expression on their own shape, and the driver's head motion from their own pose.

    With shape `s`, face seen from the front `f`, pose `(R, c, t)` of portrait (`p`), driver (`d`) and the driver's initial
    frame (`i`), see `mrfa.animation.head` and `expression`:

        f = s_p + h (f_p - s_p) + (1 - h) (f_d - s_d), then lids and lips as far open as the driver's, and irises as far aside,
            in own eye widths and eye distances
        R = (R_d R_i^T) R_p,   c = c_p c_d / c_i,   t = t_p + (t_d - t_i) c_p / c_i

    With an absolute pose heads are turned as the driver's, `R = R_d`; size and place still go on from the portrait's. The
    expression is absolute: an open mouth opens the portrait's from the first frame on, whatever the initial frame shows. The more
    a place follows the skull, the larger is the share `h` that it keeps of how the portrait differs from its estimated shape:
    there this is the person rather than an expression. Both eyes get the driver's mean opening, and their difference only where
    it is a wink. Keypoints without a name, behind the named ones, move by the driver's shift. Maps change, in the heads' frames,
    by a share `k` of what the driver's do, for the poses' linear maps `L`; the rest belongs to the driver's face:

        A = L (1 + k (L_d^-1 A_d A_i^-1 L_i - 1)) L_p^-1 A_p

    A driver of named places alone, positions `[B, G, 2]` without maps, such as a motion template of another detector, will do:
    then, and with an absolute pose, keypoints without a name are carried by the portrait's head as if they lay in the plane of
    its origin, and, where the driver has no maps, `k = 0`.

    Computed in float64 on the CPU; it waits for the device once a call.

    Args:
        network: one whose first keypoints have meaning, see `has_named_keypoints`.
        source: of S portraits, positions `[S, K, 2]`.
        initial: of the driver's frame whose head pose counts as the portraits', positions `[1, K, 2]` or more.
        clip: positions `[N, K, 2]` of frames of the driver, of which the driver's shape is found; None: it is found as frames
            come, so that each frame depends on those before.
        shape: the driver's, `[G, 2]`, where it is known already; nothing is found then.
        strengths: how much of it the portraits get.
        pose: how the head is turned.

    Attributes:
        eased: frames so far in which the head turned further than a portrait can follow.

    Raises:
        InputError: a strength is out of range.
    """

    def __init__(
        self,
        network: Network,
        source: Keypoints,
        initial: Keypoints,
        *,
        clip: Tensor | None = None,
        shape: Tensor | None = None,
        strengths: Strengths = Strengths(),  # noqa: B008 -- a tuple
        pose: PoseKind = "relative",
    ) -> None:
        strengths.check()
        self._network, self._strengths, self._pose = network, strengths, pose
        self._portraits = [
            Face(source.part(slice(number, number + 1)), take_apart_alone(places))
            for number, places in enumerate(named_places(network, source.positions))
        ]
        self.begin_at(initial)
        self._person: PersonShape | None = PersonShape() if clip is None and shape is None else None
        if shape is None:
            shape = take_apart(self._first if clip is None else named_places(network, clip)).shape
        self._shape = shape.double().cpu()
        self.eased = 0

    def begin_at(self, initial: Keypoints) -> None:
        """Let another of the driver's frames count as the portraits' pose from now on, as at first."""
        self._initial, self._first = initial, named_places(self._network, initial.positions[:1])

    def __call__(self, driving: Keypoints) -> Keypoints:
        """Keypoints for driving frames, positions `[B, K, 2]` or the named `[B, G, 2]`: `[S * B, K, 2]`, portrait by portrait."""
        places = named_places(self._network, driving.positions)
        if self._person is None:
            moved = self._moved(driving, places)
        else:
            alone = [slice(number, number + 1) for number in range(len(places))]
            parts = [self._moved(driving.part(frame), places[frame]) for frame in alone]
            moved = [stack_keypoints(portrait) for portrait in zip(*parts, strict=True)]
        return stack_keypoints(moved)

    def warnings(self) -> list[str]:
        """What the user should know of the frames so far."""
        if not self.eased:
            return []
        degrees = round(math.degrees(EASED_FROM))
        return [f"the head turns more than {degrees} degrees from the portrait's pose in {self.eased} frames, and was held back"]

    def _moved(self, driving: Keypoints, places: Tensor) -> list[Keypoints]:
        """Keypoints of each portrait for frames that are taken apart by what is known of the driver now."""
        frames = take_apart(torch.cat([self._first, places]), self._shape)
        if self._person is not None:
            self._person.add(frames.front[1:])
            self._shape = self._person.estimate()
        frames = frames._replace(shape=self._shape)
        initial, driver = Face(self._initial.part(slice(1)), frames.part(slice(1))), Face(driving, frames.part(slice(1, None)))
        moved = [
            transferred(self._network, portrait, initial, driver, self._strengths, self._pose) for portrait in self._portraits
        ]
        self.eased += int(torch.stack([shares < 1 for _, shares in moved]).any(0).sum())
        return [keypoints for keypoints, _ in moved]


def transferred(
    network: Network,
    portrait: Face,
    initial: Face,
    driver: Face,
    strengths: Strengths = Strengths(),  # noqa: B008 -- a tuple
    pose: PoseKind = "relative",
) -> tuple[Keypoints, Tensor]:
    """What `FaceMotion` says of portraits, the drivers' initial frames and their frames, of B or of one each.

    Computed on the device of the faces, for which nothing waits, in float64.

    Returns:
        The portraits' keypoints `[B, K, 2]`, and the share of each turn away from the viewer that they follow, `[B]`.
    """
    (source, own), (first, begin), (driving, frames) = portrait, initial, driver
    turn, shares = _turn(frames.pose, own.pose if pose == "absolute" else begin.pose, strengths.head)
    size = own.pose.scale / begin.pose.scale
    head = HeadPose(
        turn @ own.pose.rotation,
        own.pose.scale * (frames.pose.scale / begin.pose.scale) ** strengths.head,
        own.pose.place + strengths.head * (frames.pose.place - begin.pose.place) * size[:, None],
    )
    front = with_expression(own, frames, strengths)
    places = project(front, head, face_statistics(front.device).mean[:, 2])
    named = from_half_pixel(network, places).to(source.positions.device)
    unnamed = source.positions[:, GROUPS:]
    if pose == "absolute" or is_of_places(network, driving):
        unnamed = _carried(network, unnamed, own.pose, head)
    else:
        shift = driving.positions[:, GROUPS:] - first.positions[:, GROUPS:]
        unnamed = unnamed + shift * (strengths.head * size * shares).to(shift)[:, None, None]
    maps = None
    if source.affine is not None:
        maps = _in_head(source.affine, own.pose)
        if driving.affine is not None and first.affine is not None:
            maps = _changes(driving.affine, frames.pose, first.affine, begin.pose, strengths.expression) @ maps
        maps = head.linear.to(maps)[:, None] @ maps
    return Keypoints(torch.cat([named, unnamed], 1), maps), shares


def _carried(network: Network, positions: Tensor, before: HeadPose, after: HeadPose) -> Tensor:
    """Keypoints without a name `[B, U, 2]`, moved by the head alone."""
    places = network.conventions.to_half_pixel(positions.to(before.place), network.config.keypoint_size)
    relative = (places - before.place[:, None]) @ invert_2x2(before.linear).transpose(1, 2)
    carried = relative @ after.linear.transpose(1, 2) + after.place[:, None]
    return from_half_pixel(network, carried).to(positions.device)


def _in_head(maps: Tensor, pose: HeadPose) -> Tensor:
    """Maps `[B, K, 2, 2]` as they are in the head's frame."""
    return invert_2x2(pose.linear).to(maps)[:, None] @ maps


def _changes(maps: Tensor, pose: HeadPose, first: Tensor, begin: HeadPose, strength: float) -> Tensor:
    """What portraits' maps get of the change of a driver's since the first, in the head's frame, `[B, K, 2, 2]`."""
    changes = _in_head(maps @ invert_2x2(first), pose) @ begin.linear.to(maps)[:, None]
    return torch.lerp(torch.eye(2, device=maps.device, dtype=maps.dtype), changes, _MAPS_FOLLOW * strength)


def _turn(pose: HeadPose, begin: HeadPose, strength: float) -> tuple[Tensor, Tensor]:
    """How portraits turn, `[B, 3, 3]`, and which share that is of the turn away from the viewer since `begin`, `[B]`."""
    turn = pose.rotation @ begin.rotation.transpose(1, 2)
    roll = torch.atan2(turn[:, 1, 0] - turn[:, 0, 1], turn[:, 0, 0] + turn[:, 1, 1])
    roll_axis = torch.stack([torch.zeros_like(roll), torch.zeros_like(roll), roll], -1)
    away = strength * vector_of(turn @ rotation_of(-roll_axis))
    angle = away.norm(dim=-1).clamp_min(1e-9)
    span = WIDEST_TURN - EASED_FROM
    eased = torch.where(angle > EASED_FROM, EASED_FROM + span * torch.tanh((angle - EASED_FROM) / span), angle)
    shares = eased / angle
    return rotation_of(away * shares[:, None]) @ rotation_of(strength * roll_axis), shares


def with_expression(portrait: Frames, driver: Frames, strengths: Strengths) -> Tensor:
    """Portraits' faces with the driver's expressions, seen from the front, `[B, G, 2]`; one of the two may be a single frame."""
    own, its = portrait.front - portrait.shape, driver.front - driver.shape
    kept = _PERSON * held_by_skull(own.device)[:, None]
    front = portrait.shape + own + strengths.expression * (1 - kept) * (its - own)
    own_eyes, own_mouth = eye_openings(portrait.front), mouth_opening(portrait.front)
    eyes_open = own_eyes + strengths.eyes * (_together(eye_openings(driver.front)) - own_eyes)
    mouth_open = own_mouth + strengths.lips * (mouth_opening(driver.front) - own_mouth)
    looks = gaze(portrait.front) + strengths.expression * (gaze(driver.front) - gaze(portrait.front))
    return with_gaze(with_openings(front, eyes_open.clamp_min(0), mouth_open.clamp_min(0)), looks)


def has_named_keypoints(network: Network) -> bool:
    """Whether the network's first keypoints are the places of `mrfa.faces.landmarks.LANDMARK_GROUPS`."""
    detector = network.config.detector
    return detector.kind == "affine" and detector.layout == "landmarks"


def is_of_places(network: Network, keypoints: Keypoints) -> bool:
    """Whether keypoints are the named places alone, `[B, G, 2]`, of a network that knows them; its detector gives maps, too."""
    return has_named_keypoints(network) and keypoints.positions.shape[1] == GROUPS and keypoints.affine is None


def named_places(network: Network, positions: Tensor) -> Tensor:
    """The named ones of keypoints `[B, K, 2]`, half-pixel normalised, float64 on the CPU: `[B, G, 2]`."""
    return half_pixel(network, positions[:, :GROUPS])


def half_pixel(network: Network, positions: Tensor) -> Tensor:
    """A network's positions `[..., 2]`, half-pixel normalised, float64 on the CPU."""
    return network.conventions.to_half_pixel(positions.double().cpu(), network.config.keypoint_size).double()


def from_half_pixel(network: Network, places: Tensor) -> Tensor:
    """The inverse of `half_pixel`, float32: positions `[..., 2]` as the network has them."""
    return network.conventions.from_half_pixel(places.float(), network.config.keypoint_size)


def take_apart_alone(places: Tensor) -> Frames:
    """A single picture `[G, 2]` taken apart."""
    return take_apart(places[None], take_apart(places[None]).shape)


def nearest_frame(network: Network, source: Keypoints, clip: Tensor) -> int:
    """The frame of a driver `[N, K, 2]` from which portraits start best.

    Its head's turn and expression are near the portraits', and turn, place and size near the driver's usual ones, the medians:
    from a rare pose the portraits would be away from their own most of the time.
    """
    places = named_places(network, clip)
    pose, front, shape = take_apart(places, take_apart(places).shape)
    usual = rotation_of(vector_of(pose.rotation).median(0, keepdim=True).values)
    moved = torch.cat([pose.place, pose.scale[:, None]], 1)
    step = (moved - moved.median(0).values) / pose.scale.median()
    distance = len(source.positions) * (_apart(pose.rotation, usual) + (step / _STEP_ALIKE).square().sum(1))
    for own in named_places(network, source.positions):
        portrait = take_apart_alone(own)
        distance += _apart(pose.rotation, portrait.pose.rotation)
        distance += strangeness(front - shape, (portrait.front - portrait.shape)[0])
    return int(distance.argmin())


def _apart(rotations: Tensor, other: Tensor) -> Tensor:
    """How far rotations `[B, 3, 3]` are from another, `[1, 3, 3]`, squared, in units of `_TURN_ALIKE`: `[B]`."""
    return (vector_of(rotations @ other.transpose(1, 2)).norm(dim=-1) / _TURN_ALIKE).square()


def _together(openings: Tensor) -> Tensor:
    """Openings of both eyes `[B, 2]`, made alike but for winks."""
    mean = openings.mean(-1, keepdim=True)
    apart = openings - mean
    return mean + apart * ((2 * apart.abs() - _ALIKE) / (_WINK - _ALIKE)).clamp(0, 1)
