"""Every training preset of the paper runs, and its settings do what they say."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("lightning")

from conftest import tiny_preset

from mrfa.backbones import feature_layers
from mrfa.config import preset_names
from mrfa.network.model import Network
from mrfa.training.augmentation import Pair
from mrfa.training.config import ObjectiveConfig, PartDropoutConfig, load_config
from mrfa.training.dropout import part_dropout
from mrfa.training.module import TrainingModule
from mrfa.training.objective import Objective
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


def _module(preset: str, tmp_path: Path) -> TrainingModule:
    config = tiny_preset(preset)
    objective = Objective(ObjectiveConfig(image="pyramid"))
    return TrainingModule(Network(config.network), objective, config, total_steps=10, output=tmp_path)


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


def test_background_loss_wants_inverse_maps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = _module("celebvhq-affine", tmp_path)
    network = module.network
    assert network.background is not None
    images, groups = torch.rand(2, 2, 3, 64, 64), torch.zeros(2, 0, 2)
    pair = Pair(images[0], images[1], groups, groups, torch.zeros(2, dtype=torch.bool))
    losses = module.objective(network, pair, network(pair.source, pair.driving), 0)
    assert losses.parts["background"].item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        network.background.trunk.fc.bias[2] = 0.5
    losses = module.objective(network, pair, network(pair.source, pair.driving), 0)
    # The shift is there twice, at one of nine entries, weighted by ten.
    assert losses.parts["background"].item() == pytest.approx(10 * 1.0 / 9, rel=1e-4)
