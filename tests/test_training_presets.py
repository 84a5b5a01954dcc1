"""Every training preset of the paper runs, and its settings do what they say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("lightning")

from conftest import TINY, tiny_preset

from mrfa.backbones import feature_layers
from mrfa.config import preset_names
from mrfa.data.guidance import GROUPS
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair
from mrfa.training.config import ObjectiveConfig, PartDropoutConfig, load_config
from mrfa.training.module import TrainingModule, part_dropout
from mrfa.training.objective import Objective
from mrfa.training.passes import all_passes
from mrfa.training.run import train
from mrfa.weights import load_model

TRAINING_PRESETS = [name for name in preset_names() if name.startswith(("voxceleb1-", "celebvhq-"))]


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of torchvision's names and shapes, random values."""
    state = {f"features.{name}": value for name, value in feature_layers("vgg19").state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("preset", TRAINING_PRESETS)
def test_preset_trains(preset: str, clips: Path, cache: Path, vgg_file: Path, tmp_path: Path) -> None:
    settings = {"steps": 2, "workers": 0, "objective__vgg_weights": str(vgg_file)}
    config = tiny_preset(preset, **{f"training__{name}": value for name, value in settings.items()})
    network = load_model(train(config, data=clips, output=tmp_path / "run", cache=cache))
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert (network.background is not None) == preset.startswith("celebvhq")
    steps = {int(value) for name, value in network.state_dict().items() if name.endswith("encoder.first.1.num_batches_tracked")}
    assert steps == {2}


@pytest.mark.parametrize("preset", preset_names())
def test_no_layer_meets_the_fault_of_onednn(preset: str) -> None:
    """The backward pass of narrow strided 1x1 convolutions writes past its memory (uxlfoundation/oneDNN#6035)."""
    for config in (load_config(preset), tiny_preset(preset)):
        with torch.device("meta"):
            layers = [layer for layer in Network(config.network).modules() if isinstance(layer, torch.nn.Conv2d)]
        assert all(layer.in_channels >= 16 for layer in layers if layer.kernel_size == (1, 1) and layer.stride != (1, 1))


def test_dropout_of_parts_rises_stays_and_ends() -> None:
    config = PartDropoutConfig(first=0.1, peak=0.3)
    shares = [0, 0.05, 0.1, 0.3, 0.35, 1]
    assert [part_dropout(config, share) for share in shares] == pytest.approx([0.1, 0.2, 0.3, 0.3, 0, 0])
    assert part_dropout(PartDropoutConfig(), 0.2) == 0


def test_dropout_follows_the_training(tmp_path: Path) -> None:
    module = _module("voxceleb1-thin-plate", tmp_path)
    assert module.network.dense_motion is not None and module.network.dense_motion.dropout == 0
    module.on_train_batch_start({}, 0)  # type: ignore[typeddict-item]
    assert module.network.dense_motion.dropout == 0.1


def test_parts_are_dropped_only_while_training() -> None:
    torch.manual_seed(0)
    network = Network(tiny_preset("voxceleb1-thin-plate").network)
    source, driving = torch.rand(8, 3, 64, 64), torch.rand(8, 3, 64, 64)
    assert network.dense_motion is not None
    network.dense_motion.dropout = 0.5
    with torch.no_grad():
        training, evaluated = network(source, driving).coarse.mask, network.eval()(source, driving).coarse.mask
    assert training is not None and (training[:, 1:] == 0).any() and (training[:, 0] > 0).all()
    assert evaluated is not None and (evaluated > 0).all()


def test_steps_are_recorded_but_while_dropout_rises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a CUDA graph has one dropout: of ten steps the first, and all of another number record."""
    module = _module("voxceleb1-thin-plate", tmp_path)
    monkeypatch.setattr(TrainingModule, "device", torch.device("cuda"))
    module.config = module.config.model_copy(update={"cuda_graph": True})
    monkeypatch.setattr(TrainingModule, "global_step", 0)
    assert not module._can_record()
    for step in (1, 3, 9):
        monkeypatch.setattr(TrainingModule, "global_step", step)
        assert module._can_record()
    module.config = module.config.model_copy(update={"part_dropout": PartDropoutConfig()})
    monkeypatch.setattr(TrainingModule, "global_step", 0)
    assert module._can_record()


class _Waiting(TorchDispatchMode):
    """Collects the operations for which a GPU would have to stop, so that no graph could be recorded."""

    WAIT = ("_local_scalar_dense", "_linalg_check_errors", "nonzero", "masked_select", "lift_fresh")

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, function, types, arguments=(), named=None):  # type: ignore[no-untyped-def]
        self.found |= {str(function) for name in self.WAIT if name in str(function)}
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize(
    "variant", ["npmr", *(name + more for name in ("affine", "thin-plate", "transformer") for more in ("", "-npmr"))]
)
def test_no_gpu_waits_within_a_step(variant: str) -> None:
    config = tiny_preset(f"table3-{variant}", training__objective__image="pyramid")
    network, objective = Network(config.network).train(), Objective(config.training.objective)
    if network.dense_motion is not None:
        network.dense_motion.dropout = config.training.part_dropout.peak
    picture, groups = torch.rand(2, 3, 64, 64), torch.rand(2, GROUPS, 2)
    pair = Pair(picture, picture, picture, groups, groups, torch.ones(2, dtype=torch.bool), torch.zeros_like(picture[:, :1]))
    with _Waiting() as waiting:
        objective(all_passes(network, None, pair, config.training.objective), 0).total.backward()
    assert not waiting.found


def _module(preset: str, tmp_path: Path) -> TrainingModule:
    config = tiny_preset(preset)
    objective = Objective(ObjectiveConfig(image="pyramid"))
    return TrainingModule(Network(config.network), objective, config, total_steps=10, output=tmp_path)


def test_activations_computed_again_give_the_same_gradients(tmp_path: Path) -> None:
    pictures, gradients, kept = torch.rand(2, 2, 3, 64, 64), [], [0, 0]
    for again in (False, True):
        torch.manual_seed(0)
        config = tiny_preset("voxceleb1-transformer", training__checkpoint_activations=again)
        network, objective = Network(config.network), Objective(ObjectiveConfig(image="pyramid"))
        TrainingModule(network, objective, config, total_steps=10, output=tmp_path)

        def keep(value: torch.Tensor, again: bool = again) -> torch.Tensor:
            kept[again] += value.numel()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            output = network(*pictures)
        (output.image.sum() + output.motion.flows[-1].square().sum()).backward()
        gradients.append([parameter.grad for parameter in network.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*gradients, atol=0, rtol=0)
    assert kept[1] < kept[0]


def test_prior_parts_are_clipped_each_by_its_largest_gradient(tmp_path: Path) -> None:
    module = _module("celebvhq-affine", tmp_path)
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 40.0)
    module.configure_gradient_clipping(torch.optim.Adam(module.parameters()), 10.0, "norm")
    largest = {
        name: max(p.grad.abs().max().item() for p in part.parameters() if p.grad is not None)
        for name, part in module.network.named_children()
        if list(part.parameters())
    }
    clipped = {name for name, value in largest.items() if value == pytest.approx(10, rel=1e-3)}
    assert clipped == {"detector", "dense_motion", "background"}
    assert all(value == 40 for name, value in largest.items() if name not in clipped)


def test_discriminator_is_clipped_apart(tmp_path: Path) -> None:
    config = load_config("small", TINY | {"training.gradient_clip": 2.0, "training.objective.adversarial.weight": 0.1})
    module = TrainingModule(
        Network(config.network), Objective(config.training.objective), config, total_steps=10, output=tmp_path
    )
    assert module.discriminators is not None
    for parameter in module.network.parameters():
        parameter.grad = torch.full_like(parameter, 40.0)
    for parameter in module.discriminators.parameters():
        parameter.grad = torch.full_like(parameter, 1e-5)
    module.configure_gradient_clipping(torch.optim.Adam(module.parameters()), 2.0, "norm")
    assert _gradient_norm(module.network) == pytest.approx(2, rel=1e-3)
    assert all((p.grad == 1e-5).all() for p in module.discriminators.parameters() if p.grad is not None)
    for parameter in module.discriminators.parameters():
        parameter.grad = torch.full_like(parameter, 40.0)
    module.configure_gradient_clipping(torch.optim.Adam(module.parameters()), 2.0, "norm")
    assert _gradient_norm(module.discriminators) == pytest.approx(2, rel=1e-3)


def _gradient_norm(part: torch.nn.Module) -> float:
    return float(torch.stack([p.grad.norm() for p in part.parameters() if p.grad is not None]).norm())


def test_rate_drops_tenfold_at_each_milestone(tmp_path: Path) -> None:
    module = _module("voxceleb1-affine", tmp_path)
    settings = module.configure_optimizers()
    optimizer, scheduler = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    assert settings["lr_scheduler"]["interval"] == "step" and optimizer.defaults["betas"] == (0.5, 0.999)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([2e-4] * 6 + [2e-5] * 3 + [2e-6])


def test_only_frozen_weights_are_left_out_of_the_optimiser(tmp_path: Path, vgg_file: Path) -> None:
    config = load_config("small", TINY | {"training.average": 0.9, "training.objective.adversarial.weight": 0.1})
    objective = Objective(ObjectiveConfig(vgg_weights=str(vgg_file)))
    module = TrainingModule(Network(config.network), objective, config, total_steps=10, output=tmp_path)
    learned = {id(p) for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert module.discriminators is not None
    assert learned == {id(p) for part in (module.network, module.discriminators) for p in part.parameters()}


def test_discriminators_have_a_rate_of_their_own(tmp_path: Path) -> None:
    settings = {"training.learning_rate": 1e-3, "training.objective.adversarial": {"weight": 0.1, "rate": 4.0}}
    config = load_config("small", TINY | settings)
    objective = Objective(config.training.objective)
    module = TrainingModule(Network(config.network), objective, config, total_steps=10, output=tmp_path)
    rates = {id(p): group["lr"] for group in module.configure_optimizers()["optimizer"].param_groups for p in group["params"]}
    assert module.discriminators is not None
    assert {rates[id(p)] for p in module.discriminators.parameters()} == {4e-3}
    assert {rates[id(p)] for p in module.network.parameters()} == {1e-3}


def test_resumed_schedule_is_that_of_the_configuration(tmp_path: Path) -> None:
    module = _module("voxceleb1-affine", tmp_path)
    checkpoint: dict[str, Any] = {"lr_schedulers": [{"milestones": {60: 1, 90: 1}, "last_epoch": 5}]}
    module.on_load_checkpoint(checkpoint)
    assert checkpoint["lr_schedulers"] == [{"milestones": {6: 1, 9: 1}, "last_epoch": 5}]


def test_validation_measures_against_repeating_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = load_config("small", TINY | {"training.average": 0.9})
    module = TrainingModule(
        Network(config.network).eval(), Objective(config.training.objective), config, total_steps=10, output=tmp_path
    )
    images, groups = torch.randint(0, 256, (2, 2, 3, 64, 64)).to(torch.uint8), torch.rand(2, 2, GROUPS, 2) - 0.5
    batch: Any = {
        "source": images[0],
        "driving": images[1],
        "source_groups": groups[0],
        "driving_groups": groups[1],
        "found": torch.tensor([True, False]),
    }
    with torch.no_grad():
        output = module.network(images[0] / 255, images[1] / 255)
    # Half way from the source to the driving frame; the first picture's keypoints three and four pixels of 256 away.
    positions = output.driving_keypoints.positions.clone()
    away = torch.tensor([3.0, 4.0]) / 128
    positions[:, :GROUPS] = module.network.conventions.from_half_pixel(groups[1] + away, (64, 64))
    keypoints = output.driving_keypoints._replace(positions=positions)
    output = output._replace(image=(images[0] / 255 + images[1] / 255) / 2, driving_keypoints=keypoints)
    logged: dict[str, float] = {}
    monkeypatch.setattr(module.best_network, "forward", lambda source, driving: output)
    monkeypatch.setattr(module, "log", lambda name, value, **unused: logged.update({name: float(value)}))
    module.validation_step(batch, 0)
    assert logged["validation/picture"] == pytest.approx(0.5, rel=1e-4)
    assert logged["validation/eyes_and_lips"] == pytest.approx(0.5, rel=1e-4)
    assert logged["validation/keypoint_px_of_256"] == pytest.approx(5, rel=1e-3)
    assert 0.2 < logged["validation/sharpness"] < 0.8
