"""In which precision pictures are drawn."""

import warnings
from functools import partial

import pytest
import torch
from conftest import tiny_preset
from torch import Tensor

import mrfa.animation.graphs
import mrfa.devices
from mrfa.animation.animator import Animator
from mrfa.animation.engine import CheckedEngine, TorchEngine
from mrfa.animation.graphs import MOST, Graphed
from mrfa.devices import fastest_precision
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output, Source


class Spoilt(TorchEngine):
    """Draws something else."""

    def __init__(self, network: Network, change: float) -> None:
        super().__init__(network, torch.bfloat16)
        self.change = change

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        output = super().animate(source, driving, coarse_only=coarse_only, background=background)
        return output._replace(image=output.image + self.change)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network(tiny_preset("small").network).eval()


def drawn(engine: TorchEngine | CheckedEngine) -> Tensor:
    torch.manual_seed(1)
    source, driving = torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64)
    return engine.animate(engine.encode(source), engine.detect(driving)).image


def test_a_precision_that_draws_the_same_is_kept(network: Network) -> None:
    engine = CheckedEngine(TorchEngine(network, torch.bfloat16), partial(TorchEngine, network, torch.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = drawn(engine)
    assert engine.dtype == torch.bfloat16
    assert torch.equal(image, drawn(TorchEngine(network, torch.bfloat16)))


@pytest.mark.parametrize("change", [0.02, torch.nan])
def test_a_precision_that_draws_something_else_is_left_with_a_warning(network: Network, change: float) -> None:
    exact = TorchEngine(network, torch.float32)
    made: list[TorchEngine] = []
    engine = CheckedEngine(Spoilt(network, change), lambda: made.append(exact) or exact)  # type: ignore[func-returns-value]
    torch.manual_seed(1)
    source, driving = engine.encode(torch.rand(1, 3, 64, 64)), torch.rand(2, 3, 64, 64)
    assert source.features[0].dtype == torch.bfloat16
    keypoints = exact.detect(driving)
    with pytest.warns(UserWarning, match="bf16 does not draw what fp32 does"):
        image = engine.animate(source, keypoints).image
    assert engine.dtype == torch.float32
    torch.testing.assert_close(image, drawn(exact))
    # The source is of before, and is encoded again.
    torch.testing.assert_close(engine.animate(source, keypoints).image, image)
    assert len(made) == 1


@pytest.mark.parametrize(("answer", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_goes_by_the_processor(
    network: Network, monkeypatch: pytest.MonkeyPatch, answer: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(mrfa.devices, "_cpu_has", lambda *questions: answer)
    animator = Animator(network, dtype="auto")
    assert animator.dtype == expected
    assert isinstance(animator.engine, CheckedEngine) == answer
    assert Animator(network).dtype == torch.float32


@pytest.mark.parametrize(("generation", "expected"), [(9, torch.bfloat16), (7, torch.float16), (6, torch.float32)])
def test_auto_on_cuda(monkeypatch: pytest.MonkeyPatch, generation: int, expected: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (generation, 0))
    assert fastest_precision(torch.device("cuda")) == expected
    assert fastest_precision(torch.device("mps")) == torch.float32


def test_what_cannot_be_recorded_is_called_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(mrfa.animation.graphs, "_Graph", refuse)
    double = Graphed(lambda pair, *, more: (2 * pair[0], more))
    pair = (torch.ones(2), None)
    assert double(pair, more=3)[0].tolist() == [2, 2]
    with pytest.warns(UserWarning, match="no CUDA graph can be recorded, .*capturing$"):
        assert double(pair, more=3)[1] == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert double(pair, more=3)[0].tolist() == [2, 2]
        double((torch.ones(3), None), more=3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_graphs_compute_what_the_network_does(network: Network) -> None:
    network = network.cuda()
    plain, graphs = (TorchEngine(network, torch.float32, graphs=graphs) for graphs in (False, True))
    source, driving = torch.rand(1, 3, 64, 64).cuda(), torch.rand(MOST + 2, 3, 64, 64).cuda()
    for count in (*range(1, MOST + 3), 1, 2):
        keypoints = plain.detect(driving[:count])
        one, other = (engine.animate(engine.encode(source), keypoints) for engine in (plain, graphs))
        torch.testing.assert_close(one, other)
    assert isinstance(graphs._animate, Graphed) and list(graphs._animate._graphs.values()).count(None) == MOST - 2
