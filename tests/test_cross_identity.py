"""Portraits driven by other people while training, and the descriptor that says whose face a picture shows."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY
from safetensors.torch import save_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.identity_network import Faces, measure, train
from mrfa.animation.face_motion import FaceMotion
from mrfa.animation.head import face_statistics
from mrfa.data.guidance import GROUPS
from mrfa.efficientnet import EfficientNetLayers
from mrfa.errors import InputError
from mrfa.identity import HALF, LENGTH, MIDDLE, SIDE, IdentityNetwork, face_crops, load_identity
from mrfa.network.geometry import HALF_PIXEL
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair
from mrfa.training.config import Config, ObjectiveConfig, load_config
from mrfa.training.cross_identity import drive_by_next, transfer_to_next
from mrfa.training.losses.adversarial import Discriminators
from mrfa.training.losses.identity import identity_loss
from mrfa.training.objective import Losses, Objective
from mrfa.training.passes import StepOutputs, all_passes

SETTINGS = {"image": "pyramid", "equivariance_weight": 0, "affine_equivariance_weight": 0, "consistency_weight": 1.0}
KEY = "training.objective.cross_identity"


@pytest.fixture
def network() -> Network:
    """A randomly initialised tiny network whose keypoints have names, in evaluation mode."""
    torch.manual_seed(0)
    return Network(load_config("small", TINY).network).eval()


@pytest.fixture(scope="module")
def identity_file(efficientnet_weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("identity") / "identity.safetensors"
    save_file(IdentityNetwork(EfficientNetLayers(efficientnet_weights)).state_dict(), path)
    return path


def faces(count: int, seed: int = 0) -> Keypoints:
    """Faces of different people, poses and maps, as a network might see them: keypoints `[count, 34, 2]`."""
    random = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=random)

    mean = face_statistics().mean[:, :2].float()
    size, place = 0.35 * torch.exp(0.1 * noise(1, 1)), 0.05 * noise(1, 2)
    named = (mean + 0.02 * noise(GROUPS, 2)) * size + place
    return Keypoints(torch.cat([named, 0.5 * noise(8, 2)], 1), torch.eye(2) + 0.1 * noise(34, 2, 2))


def batch(network: Network, count: int = 3) -> Pair:
    """Pictures of noise, with landmarks where the network happens to find its keypoints."""
    torch.manual_seed(1)
    images = torch.rand(2, count, 3, 64, 64)
    groups = [network.detect(image).positions[:, :GROUPS].detach() for image in images]
    known, nowhere = torch.ones(count, dtype=torch.bool), torch.zeros_like(images[0][:, :1])
    return Pair(images[0], images[1], images[1], groups[0], groups[1], known, nowhere)


def step(network: Network, pair: Pair, discriminators: Discriminators | None = None, **cross: Any) -> tuple[StepOutputs, Losses]:
    adversarial = {"weight": 1.0 if discriminators else 0.0, "warmup_steps": 0}
    config = ObjectiveConfig.model_validate(SETTINGS | {"cross_identity": cross, "adversarial": adversarial})
    outputs = all_passes(network, discriminators, pair, config)
    return outputs, Objective(config)(outputs, 0)


def gradients(module: torch.nn.Module, loss: Tensor) -> dict[str, float]:
    """The largest gradient of each weight that gets one above zero."""
    learned = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(learned.values()), retain_graph=True, allow_unused=True)
    largest = {name: float(value.abs().max()) for name, value in zip(learned, found, strict=True) if value is not None}
    return {name: value for name, value in largest.items() if value > 0}


def test_transfer_is_that_of_animation(network: Network) -> None:
    """But for the shape of a portrait's person, which here is known of two pictures."""
    source, driving = faces(4), faces(4, 1)
    moved = transfer_to_next(network, source, driving)
    for number in range(3):
        one, after = slice(number, number + 1), slice(number + 1, number + 2)
        clip = torch.cat([source.positions[after], driving.positions[after]])
        expected = FaceMotion(network, source.part(one), source.part(after), clip=clip)(driving.part(after))
        torch.testing.assert_close(moved.part(one), expected, atol=0.01, rtol=0)
    assert (moved.positions - source.positions[:3]).abs().max() > 0.05


def test_each_portrait_is_driven_by_the_next_pair(network: Network) -> None:
    pair = batch(network, 4)
    output = network(pair.source, pair.driving)
    crossed = drive_by_next(network, pair, output, 4)
    assert crossed.known.all() and torch.equal(crossed.portrait, pair.source)
    for number, driver in enumerate((1, 2, 3, 0)):
        both = [stack_keypoints(k.part(slice(i, i + 1)) for i in (number, driver)) for k in output[1:3]]
        given = transfer_to_next(network, *both)
        torch.testing.assert_close(crossed.given[number], given.positions[0, :GROUPS], atol=1e-5, rtol=1e-4)
        image = network.animate(network.encode_source(pair.source[number : number + 1]), given).image
        torch.testing.assert_close(crossed.image[number], image[0], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("lost", ["no landmarks", "far from landmarks"])
def test_faces_that_are_not_found_stay_as_they_are(network: Network, lost: str) -> None:
    pair = batch(network, 4)
    if lost == "no landmarks":
        pair.found[2] = False
    else:
        pair.driving_groups[2] += 0.1
    output = network(pair.source, pair.driving)
    crossed = drive_by_next(network, pair, output, 4)
    assert crossed.known.tolist() == [True, False, False, True]
    assert torch.equal(crossed.given[1:3], crossed.own[1:3])
    outputs, losses = step(network, pair, share=1.0, keypoint_weight=1.0)
    assert outputs.crossed is not None
    loss = torch.autograd.grad(losses.parts["cross_keypoints"], outputs.crossed.image)[0].abs().amax((1, 2, 3))
    assert (loss > 0).tolist() == [True, False, False, True]


@pytest.mark.parametrize(("share", "expected"), [(1.0, 4), (0.5, 2), (0.3, 2), (0.01, 1)])
def test_share_of_the_batch(network: Network, share: float, expected: int) -> None:
    outputs, _ = step(network, batch(network, 4), share=share, keypoint_weight=1.0)
    assert outputs.crossed is not None and outputs.crossed_found is not None
    assert len(outputs.crossed.image) == len(outputs.crossed_found) == expected


def test_without_it_nothing_changes(network: Network, identity_file: Path) -> None:
    """Neither where it is off, whatever its weights are, nor do the other losses where it is on."""
    pair = batch(network)
    plain = ObjectiveConfig.model_validate(SETTINGS)
    before = Objective(plain)(all_passes(network, None, pair, plain), 0)
    settings = {"keypoint_weight": 1.0, "identity_weight": 1.0, "identity_weights": str(identity_file)}
    outputs, off = step(network, pair, share=0.0, **settings)
    assert outputs.crossed is None and off.parts.keys() == before.parts.keys() and torch.equal(off.total, before.total)
    _, on = step(network, pair, share=0.5, **settings)
    assert on.parts.keys() - before.parts.keys() == {"cross_keypoints", "cross_identity"}
    assert all(torch.equal(on.parts[name], value) for name, value in before.parts.items())
    assert float(on.total) == pytest.approx(float(sum(on.parts.values())), rel=1e-5)


def test_gradients_reach_what_draws_the_picture_alone(network: Network, identity_file: Path) -> None:
    pair, discriminators = batch(network), Discriminators()
    settings = {"keypoint_weight": 1.0, "identity_weight": 1.0, "identity_weights": str(identity_file), "adversarial_weight": 1.0}
    _, losses = step(network, pair, discriminators, share=1.0, **settings)
    for name in ("cross_keypoints", "cross_identity", "cross_adversarial"):
        reached = {weight.split(".")[0] for weight in gradients(network, losses.parts[name])}
        assert {"encoder", "decoder", "dense_motion"} <= reached, name
        assert "detector" not in reached, name
        assert not gradients(discriminators, losses.parts[name]), name
    assert gradients(discriminators, losses.parts["cross_discriminator"])
    assert not gradients(network, losses.parts["cross_discriminator"])


def test_identity_weights_do_not_learn(identity_file: Path) -> None:
    objective = Objective(
        ObjectiveConfig.model_validate(
            SETTINGS | {"cross_identity": {"share": 0.5, "identity_weight": 1.0, "identity_weights": str(identity_file)}}
        )
    )
    assert objective.identity is not None and not any(weight.requires_grad for weight in objective.parameters())


def test_identity_loss_compares_faces_that_were_found(identity_file: Path) -> None:
    network, places = load_identity(identity_file), faces(3).positions[:, :GROUPS]
    pictures = torch.rand(3, 3, 64, 64)
    found = torch.tensor([True, False, True])
    assert float(identity_loss(network, (pictures, places), (pictures, places), found)) == pytest.approx(0, abs=1e-5)
    other = pictures.clone().requires_grad_()
    loss = identity_loss(network, (other, places), (pictures.flip(0), places.flip(0)), found)
    loss.backward()
    assert float(loss) > 0 and other.grad is not None
    assert other.grad.abs().amax((1, 2, 3)).gt(0).tolist() == [True, False, True]


class _NoWaiting(TorchDispatchMode):
    """Refuses what makes a GPU wait, or cannot be recorded: values that Python reads or makes, and solvers that check."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "lift_fresh", "_linalg_check_errors", "linalg_matrix_exp")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        assert not any(part in name for part in self.FORBIDDEN), f"{name} makes a GPU wait"
        return func(*args, **(kwargs or {}))


def test_nothing_in_it_waits_for_a_gpu(network: Network, identity_file: Path) -> None:
    pair = batch(network)
    settings = {"keypoint_weight": 1.0, "identity_weight": 1.0, "identity_weights": str(identity_file), "adversarial_weight": 1.0}
    config = ObjectiveConfig.model_validate(
        SETTINGS | {"cross_identity": {"share": 1.0} | settings, "adversarial": {"weight": 1.0, "warmup_steps": 0}}
    )
    discriminators, objective = Discriminators(), Objective(config)
    for mode in (nullcontext(), _NoWaiting()):  # the first time tables are made, as before a graph is recorded
        with mode:
            objective(all_passes(network, discriminators, pair, config), 0).total.backward()


def test_crop_shows_a_face_where_the_mean_face_lies() -> None:
    mean = face_statistics().mean[:, :2].float()
    angle = math.radians(20)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    places = (0.3 * mean @ turn + torch.tensor([0.1, -0.05]))[None]
    for number in (0, 12, 20):
        spot = HALF_PIXEL.heatmaps(places[:, number : number + 1], (256, 256), 0.0004)
        crop = face_crops(spot.expand(-1, 3, -1, -1), places)[0, 0]
        found = (crop[..., None] * HALF_PIXEL.grid(SIDE, SIDE, crop)).sum((0, 1)) / crop.sum()
        torch.testing.assert_close(found, (mean[number] - torch.tensor(MIDDLE)) / HALF, atol=0.01, rtol=0)


def test_descriptors_have_length_one(identity_file: Path) -> None:
    described = load_identity(identity_file)(torch.rand(2, 3, SIDE, SIDE))
    assert described.shape == (2, LENGTH)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(2))


def test_wrong_identity_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights at"):
        load_identity(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not weights")
    save_file({"layers.stem.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name in ("text", "other"):
        with pytest.raises(InputError, match="holds no identity network"):
            load_identity(tmp_path / f"{name}.safetensors")


def test_network_is_trained_behind_its_first_blocks_and_measured(efficientnet_weights: dict[str, Tensor]) -> None:
    """Two clips of three people each, whose descriptors hardly differ from clip to clip."""
    torch.manual_seed(0)
    people, clips = torch.arange(3).repeat_interleave(4), torch.arange(6).repeat_interleave(2)
    descriptors = torch.randn(3, LENGTH)[people] + 0.01 * torch.randn(12, LENGTH)
    faces = Faces(torch.randint(0, 255, (12, 3, 140, 140), dtype=torch.uint8), descriptors, people, clips)
    network = IdentityNetwork(EfficientNetLayers(efficientnet_weights))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train(network, faces, steps=2)
    changed = {name.rpartition(".")[0] for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {"describe", "layers.expand.3", "layers.expand.8"} <= changed
    assert not changed & {"layers.stem", "layers.expand.2", "layers.project.2"}
    measured = measure(network, faces)
    assert measured["pairs of one person"] == 12 and measured["pairs of two people"] == 48
    assert measured["of dlib"] == measured["of dlib, too"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({f"{KEY}.share": 0.5, "network.detector.layout": "free", "training.objective.guidance.weight": 0}, "layout: landmarks"),
        ({f"{KEY}.share": 0.5, f"{KEY}.identity_weight": 1}, "identity_weights"),
        ({f"{KEY}.share": 0.5, f"{KEY}.adversarial_weight": 1}, "adversarial.weight"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config("small", settings)


def test_it_needs_landmarks(tiny_config: Config) -> None:
    assert not ObjectiveConfig(image="pyramid").needs_landmarks
    assert ObjectiveConfig.model_validate({"cross_identity": {"share": 0.1}}).needs_landmarks
