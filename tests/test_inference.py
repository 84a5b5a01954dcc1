"""The fast network computes what the plain one does."""

import pytest
import torch
from conftest import tiny_preset
from torch import nn

from mrfa.network.inference import PackedConvolution, for_inference, pack
from mrfa.network.layers import Hourglass, UpBlock
from mrfa.network.model import Network, Output

KINDS = [
    "small",
    "small-stage-free",
    "paper-affine",
    "paper-affine-prior-only",
    "paper-thin-plate",
    "paper-transformer",
    "paper-npmr",
    "table4-without-flow",
    "table4-without-occlusion",
    "table4-without-warped-feature",
    "table6-iterations-3",
    "small-512",
    "paper-512-affine",
]


def trained(preset: str, **settings: object) -> Network:
    """A tiny network none of whose weights and statistics are those it begins with."""
    torch.manual_seed(0)
    network = Network(tiny_preset(preset, **settings).network).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif value.is_floating_point():
                value.add_(0.03 * torch.randn_like(value))
            if name.startswith("decoder") and value.ndim == 4:  # so that coarse features still count in the picture
                value.mul_(3)
    return network


def outputs(network: Network) -> Output:
    torch.manual_seed(1)
    pictures = torch.rand(3, 3, *[network.config.image_size] * 2)
    with torch.inference_mode():
        source = network.encode_source(pictures[:1])
        return network.animate(source, network.detect(pictures[1:]))


def assert_equal(output: Output, expected: Output, tolerance: float = 3e-5) -> None:
    close = {"atol": tolerance, "rtol": 0}
    torch.testing.assert_close(output.image, expected.image, **close)
    torch.testing.assert_close(output.driving_keypoints, expected.driving_keypoints, **close)
    torch.testing.assert_close(output.coarse, expected.coarse, **close)
    torch.testing.assert_close(output.motion, expected.motion, **close)


@pytest.mark.parametrize("preset", KINDS)
def test_it_computes_what_the_network_does(preset: str) -> None:
    network = trained(preset)
    expected = outputs(network)
    fast = for_inference(network)
    assert_equal(outputs(fast), expected)
    norms = [name for name, module in fast.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert all("norm" in name or "merge" in name or "background" in name for name in norms), "norms before a ReLU alone remain"
    assert_equal(outputs(pack(fast)), expected)
    assert any(isinstance(module, PackedConvolution) for module in fast.modules())


def test_the_network_itself_stays_as_it_is() -> None:
    network = trained("small")
    before, names = outputs(network), list(network.state_dict())
    pack(for_inference(network))
    assert list(network.state_dict()) == names and all(parameter.requires_grad for parameter in network.parameters())
    torch.testing.assert_close(outputs(network), before, atol=0, rtol=0)


@pytest.mark.parametrize("bilinear", [False, True])
def test_upsampling_as_a_transposed_convolution_reaches_the_borders(bilinear: bool) -> None:
    block = nn.Sequential(UpBlock(5, 3, bilinear=bilinear)).eval()
    block[0][1][1].running_mean.normal_()
    fast = for_inference(block)  # type: ignore[arg-type]
    x = torch.randn(2, 5, 6, 4)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), block(x), atol=1e-6, rtol=0)


def test_weights_are_laid_out_for_each_size() -> None:
    hourglass = Hourglass(3, width=4, blocks=2, max_width=16).eval()
    fast = pack(for_inference(hourglass))  # type: ignore[arg-type]
    with torch.inference_mode():
        for side in (8, 16, 8, 32):
            x = torch.randn(1, 3, side, side)
            torch.testing.assert_close(fast(x), hourglass(x), atol=1e-5, rtol=0)
    packed = [module for module in fast.modules() if isinstance(module, PackedConvolution)]
    assert packed and all(len(module.packed) == 3 for module in packed)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_it_can_be_traced() -> None:
    class Animate(nn.Module):
        def __init__(self, network: Network) -> None:
            super().__init__()
            self.network = network

        def forward(self, source: torch.Tensor, driving: torch.Tensor) -> torch.Tensor:
            return self.network.animate(self.network.encode_source(source), self.network.detect(driving)).image

    module = Animate(for_inference(trained("small")))
    example = (torch.rand(1, 3, 64, 64), torch.rand(2, 3, 64, 64))
    with torch.no_grad():
        traced = torch.jit.trace(module, example, check_trace=False)
        torch.testing.assert_close(traced(*example), module(*example), atol=1e-5, rtol=0)
