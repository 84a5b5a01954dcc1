import pytest
import torch
from conftest import TINY, tiny_preset

from mrfa.network.config import AffineDetectorConfig
from mrfa.network.correlation import CorrelationVolume
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.keypoints import AffineDetector, Keypoints, affine_part_flows
from mrfa.network.layers import AntiAliasDownsample, ConvBlock, Double, Halve, Hourglass
from mrfa.network.model import CONVENTIONS, Network
from mrfa.training.config import Config, load_config


def test_paper_preset_has_the_released_models_size() -> None:
    with torch.device("meta"):
        network = Network(load_config("paper-affine").network)
    assert sum(p.numel() for p in network.parameters()) == 116_209_336


def test_output_shapes(tiny_network: Network) -> None:
    source, driving = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = tiny_network(source, driving)
    keypoints = tiny_network.config.detector.keypoints
    assert output.image.shape == (2, 3, 64, 64)
    assert output.image.min() >= 0 and output.image.max() <= 1
    assert output.source_keypoints.positions.shape == (2, keypoints, 2)
    assert output.driving_keypoints.affine is not None
    assert output.driving_keypoints.affine.shape == (2, keypoints, 2, 2)
    assert output.coarse.flow.shape == (2, 16, 16, 2)
    assert output.coarse.mask.shape == (2, keypoints + 1, 16, 16)
    assert output.coarse.mask is not None and torch.allclose(output.coarse.mask.sum(1), torch.ones(2, 16, 16), atol=1e-5)
    assert [flow.shape[1] for flow in output.motion.flows] == [2, 4, 8, 16, 32]
    assert all(o.min() >= 0 and o.max() <= 1 for o in output.motion.occlusions)


@pytest.mark.parametrize("iterations", [3, 4, 5, 6])
def test_number_of_iterations(tiny_config: Config, iterations: int) -> None:
    refinement = tiny_config.network.refinement.model_copy(update={"iterations": iterations})
    network = Network(tiny_config.network.model_copy(update={"refinement": refinement})).eval()
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert len(output.motion.flows) == iterations
    assert output.motion.flows[-1].shape[1] == 2 * 2 ** (iterations - 1)


PRESETS = [
    "paper-affine",
    "paper-thin-plate-prior-only",
    "paper-thin-plate",
    "paper-transformer",
    "paper-npmr",
    *(f"table4-without-{part}" for part in ("flow", "occlusion", "warped-feature", "source-image")),
]


@pytest.mark.parametrize("preset", PRESETS)
def test_variants_animate_and_learn(preset: str) -> None:
    """Every variant gives an output of the same form, to which all its weights contribute."""
    torch.manual_seed(0)
    network = Network(tiny_preset(preset).network)
    # Heads that start at zero or nearly so would hide missing connections.
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    source, driving = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    output = network(source, driving)
    assert output.image.shape == (2, 3, 64, 64) and output.image.isfinite().all()
    assert [flow.shape[1] for flow in output.motion.flows] == [2, 4, 8, 16, 32, 64]
    assert output.coarse.flow.shape == (2, 16, 16, 2) and output.coarse.occlusion.shape == (2, 1, 16, 16)
    output.image.sum().backward()
    assert _without_gradient(network) == _biases_before_norms(network)
    with torch.no_grad():
        network.eval()
        encoded = network.encode_source(source[:1])
        together = network.animate(encoded, network.detect(driving)).image
        alone = network(source[:1], driving[1:]).image
    assert torch.allclose(together[1:], alone, atol=1e-4)


def test_without_flow_update_the_coarse_flow_stays() -> None:
    network = Network(tiny_preset("table4-without-flow").network).eval()
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert torch.allclose(output.motion.flows[3], output.coarse.flow, atol=1e-5)


def test_motion_without_a_prior_starts_from_the_correlation() -> None:
    network = Network(tiny_preset("paper-npmr").network).eval()
    assert network.dense_motion is None
    with torch.no_grad():
        output = network(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    assert output.coarse.mask is None and output.driving_keypoints.affine is None
    assert not output.coarse.occlusion.any()
    assert output.coarse.flow.abs().max() <= 1


def test_background_moves_only_while_training() -> None:
    torch.manual_seed(0)
    network = Network(tiny_preset("celebvhq-affine").network)
    assert network.background is not None
    with torch.no_grad():
        network.background.trunk.fc.bias[2] = 0.5
        source, driving = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
        moving = network(source, driving)
        assert moving.background is not None and moving.background.shape == (2, 3, 3)
        still = network.eval()(source, driving)
        assert still.background is None
        shifted = network.animate(network.encode_source(source), network.detect(driving), background=moving.background)
    difference = (shifted.coarse.flow - still.coarse.flow)[..., 0]
    assert still.coarse.mask is not None and difference.mean() > 0.05


@pytest.mark.parametrize("difference", Conventions._fields)
def test_every_convention_has_an_effect(difference: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each departure alone changes the result, so that none of them can be lost unnoticed."""
    torch.manual_seed(0)
    network = Network(tiny_preset("paper-affine", network__coordinates="corner_aligned").network).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    monkeypatch.setitem(CONVENTIONS, "corner_aligned", CORNER_ALIGNED._replace(**{difference: False}))
    other = Network(network.config)
    with torch.no_grad():
        other.load_state_dict(network.state_dict())
        source, driving = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
        change = (other.eval()(source, driving).image - network(source, driving).image).abs().max()
    assert change > 1e-6


def test_a_source_encoded_once_gives_what_forward_gives(tiny_network: Network) -> None:
    source, driving = torch.rand(1, 3, 64, 64), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        encoded = tiny_network.encode_source(source)
        keypoints = tiny_network.detect(driving)
        background = tiny_network.follow_background(encoded, driving, keypoints)
        got = tiny_network.animate(encoded, keypoints, background=background).image
        expected = tiny_network(source.expand(3, -1, -1, -1), driving).image
    assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 1, 64, 64), r"\[B, 3, H, W\], got \[1, 1, 64, 64\]"), ((1, 3, 64, 48), "multiples of 32, got 48x64")],
)
def test_images_of_other_shapes_are_refused(tiny_network: Network, shape: tuple[int, ...], words: str) -> None:
    for use in (tiny_network.detect, tiny_network.encode_source):
        with pytest.raises(ValueError, match=words):
            use(torch.rand(shape))


@pytest.mark.parametrize("preset", ["small", "paper-affine", "paper-thin-plate", "paper-transformer", "paper-npmr"])
def test_every_size_that_is_accepted_runs(preset: str) -> None:
    config = tiny_preset(preset).network if preset != "small" else load_config("small", TINY).network
    torch.manual_seed(0)
    network = Network(config).eval()
    step = config.size_divisor
    images = torch.rand(2, 1, 3, 2 * step, 3 * step)
    with torch.no_grad():
        assert network(*images).image.shape == images.shape[1:]
    with pytest.raises(ValueError, match=f"multiples of {step}"):
        config.check_image_size(step, step + step // 2)


def test_coarse_only_uses_the_coarse_flow_alone(tiny_network: Network) -> None:
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        source = tiny_network.encode_source(image)
        output = tiny_network.animate(source, source.keypoints, coarse_only=True)
    conventions = tiny_network.conventions
    displacement = output.coarse.flow - conventions.grid(16, 16, image)
    resized = conventions.to_flow(conventions.resize(displacement.permute(0, 3, 1, 2), (32, 32)))
    assert torch.allclose(output.motion.flows[-1], resized, atol=1e-5)


def test_part_flow_of_equal_keypoints_is_the_identity() -> None:
    positions, affine = torch.rand(1, 4, 2) - 0.5, torch.eye(2) + torch.rand(1, 4, 2, 2) * 0.1
    keypoints = Keypoints(positions, affine)
    flows = affine_part_flows(keypoints, keypoints, (6, 6), HALF_PIXEL)
    assert torch.allclose(flows, HALF_PIXEL.grid(6, 6, positions).expand(1, 4, 6, 6, 2), atol=1e-5)


def test_part_flow_follows_equation_1() -> None:
    source = Keypoints(torch.tensor([[[0.3, 0.1]]]), torch.tensor([[[[2.0, 0], [0, 1]]]]))
    driving = Keypoints(torch.tensor([[[-0.2, 0.4]]]), torch.tensor([[[[1.0, 1], [0, 1]]]]))
    z = torch.tensor([1.0, -1.0])
    flow = affine_part_flows(source, driving, (3, 3), CORNER_ALIGNED)[0, 0, 0, 2]
    expected = torch.tensor([0.3, 0.1]) + torch.tensor([[2.0, 0], [0, 1]]) @ torch.linalg.inv(
        torch.tensor([[1.0, 1], [0, 1]])
    ) @ (z - torch.tensor([-0.2, 0.4]))
    assert torch.allclose(flow, expected, atol=1e-5)


def test_mixed_precision_leaves_part_flows_alone() -> None:
    torch.manual_seed(0)
    source, driving = (Keypoints(torch.rand(2, 5, 2) - 0.5, torch.eye(2) + 0.1 * torch.randn(2, 5, 2, 2)) for _ in range(2))
    expected = affine_part_flows(source, driving, (6, 7), HALF_PIXEL)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(affine_part_flows(source, driving, (6, 7), HALF_PIXEL), expected)


def _volume(conventions: Conventions, radius: int = 1) -> tuple[CorrelationVolume, torch.Tensor, torch.Tensor]:
    driving, source = torch.randn(1, 5, 8, 8), torch.randn(1, 5, 8, 8)
    return CorrelationVolume(driving, source, radius=radius, pyramid_levels=1, conventions=conventions), driving, source


def test_lookup_reads_inner_products() -> None:
    """At integer positions the patch holds the inner products themselves, rows and columns in reading order."""
    volume, driving, source = _volume(CORNER_ALIGNED)
    patches = volume.lookup(CORNER_ALIGNED.grid(8, 8, driving)[None])
    assert patches.shape == (1, 18, 8, 8)
    expected = (driving[0, :, 4, 3] * source[0, :, 5, 2]).sum() / 5**0.5
    # Row offset +1, column offset -1: index 2 * 3 + 0.
    assert torch.allclose(patches[0, 6, 4, 3], expected, atol=1e-5)


def test_lookup_below_the_volumes_size_pools_driving_positions() -> None:
    volume, driving, source = _volume(CORNER_ALIGNED)
    patches = volume.lookup(CORNER_ALIGNED.grid(4, 4, driving)[None])
    pooled = driving[0, :, 2:4, 0:2].mean((1, 2))
    corner_left = (pooled * source[0, :, :, 0].transpose(0, 1)).sum(1) / 5**0.5
    # The centre of low-resolution row 1 lies at 1/3 of the source's height: between rows 2 and 3.
    expected = corner_left[2] * (1 - 1 / 3) + corner_left[3] / 3
    assert torch.allclose(patches[0, 4, 1, 0], expected, atol=1e-5)


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED])
def test_lookup_samples_the_volume_and_zero_beyond_it(conventions: Conventions) -> None:
    volume, driving, source = _volume(conventions, radius=2)
    flow = 2.6 * torch.rand(1, 8, 8, 2) - 1.3
    rows = (driving.flatten(2).transpose(1, 2) @ source.flatten(2) / 5**0.5).view(64, 1, 8, 8)
    steps = torch.arange(-2, 3) / conventions.pixel_scale((8, 8), flow)[0, 0, 0, 0]
    offsets = torch.stack([steps[None, :].expand(5, 5), steps[:, None].expand(5, 5)], dim=-1)
    expected = conventions.sample(rows, flow.view(64, 1, 1, 2) + offsets).view(8, 8, 25).permute(2, 0, 1)
    torch.testing.assert_close(volume.lookup(flow)[0, :25], expected, atol=1e-5, rtol=0)


def test_attention_flow_points_to_the_matching_position() -> None:
    features = torch.eye(16).view(1, 16, 4, 4) * 100
    volume = CorrelationVolume(features, features, radius=1, pyramid_levels=0, conventions=CORNER_ALIGNED)
    assert torch.allclose(volume.attention_flow()[0], CORNER_ALIGNED.grid(4, 4, features), atol=1e-4)


def test_hourglass_keeps_size_and_ends_with_its_input() -> None:
    hourglass = Hourglass(3, width=4, blocks=2, max_width=8).eval()
    x = torch.rand(1, 3, 8, 8)
    out = hourglass(x)
    assert out.shape == (1, hourglass.out_channels, 8, 8)
    assert torch.equal(out[:, -3:], x)


def test_residual_blocks_added_to_an_hourglass_change_nothing_at_first() -> None:
    plain = Hourglass(3, width=4, blocks=2, max_width=8).eval()
    deeper = Hourglass(3, width=4, blocks=2, max_width=8, residual_levels=3).eval()
    deeper.load_state_dict(plain.state_dict(), strict=False)
    x = torch.rand(1, 3, 8, 8)
    assert torch.equal(deeper(x), plain(x))
    with torch.no_grad():
        for parameter in deeper.residual.parameters():
            parameter.normal_()
    assert not torch.allclose(deeper(x), plain(x), atol=0.1)


def test_a_pose_head_corrects_affine_maps_alone_and_begins_with_none() -> None:
    config = AffineDetectorConfig(keypoints=3, image_divisor=2, width=4, max_width=16, blocks=3)
    plain = AffineDetector(config, HALF_PIXEL, affine=True).eval()
    posed = AffineDetector(config.model_copy(update={"pose_width": 8}), HALF_PIXEL, affine=True).eval()
    posed.load_state_dict(plain.state_dict(), strict=False)
    images = torch.rand(2, 3, 64, 64)
    expected = plain(images)
    assert torch.equal(posed(images).affine, expected.affine)
    assert posed.pose_head is not None
    with torch.no_grad():
        posed.pose_head[-1].bias.copy_(torch.arange(12) / 10)
    corrected = posed(images)
    assert torch.equal(corrected.positions, expected.positions)
    change = (corrected.affine - expected.affine).flatten(1)
    assert torch.allclose(change, (torch.arange(12) / 10).expand(2, -1), atol=1e-6)
    with torch.no_grad():
        posed.pose_head[-1].weight.normal_()
    change = (posed(images).affine - expected.affine).flatten(1)
    assert not torch.allclose(change[0], change[1], atol=1e-4)


@pytest.mark.parametrize("cell_centred", [False, True])
def test_antialias_downsampling_of_a_constant(cell_centred: bool) -> None:
    out = AntiAliasDownsample(4, cell_centred=cell_centred)(torch.ones(1, 3, 64, 64))
    assert out.shape == (1, 3, 16, 16)
    assert torch.allclose(out[:, :, 4:12, 4:12], torch.ones(()), atol=1e-5)


def test_gradients_reach_every_weight(tiny_config: Config) -> None:
    network = Network(tiny_config.network)
    output = network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    (output.image.sum() + output.motion.flows[-1].sum()).backward()
    assert _without_gradient(network) == _biases_before_norms(network)


def _without_gradient(network: Network) -> set[str]:
    return {name for name, p in network.named_parameters() if p.grad is None}


def _biases_before_norms(network: Network) -> set[str]:
    """The norm of a batch takes them away again, so they learn nothing."""
    return {f"{name}.0.bias" for name, part in network.named_modules() if isinstance(part, ConvBlock)}


def test_bias_before_a_norm_is_in_its_mean() -> None:
    """As where the bias is added to the features."""
    torch.manual_seed(0)
    block, plain = ConvBlock(3, 4), ConvBlock(3, 4)
    plain.load_state_dict(block.state_dict())
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(block(x), torch.nn.Sequential.forward(plain, x))
    torch.testing.assert_close(block.state_dict(), plain.state_dict())


def test_mean_of_four_pixels_learns_as_average_pooling() -> None:
    x = torch.rand(2, 3, 8, 6, requires_grad=True)
    weight = torch.rand(2, 3, 4, 3)
    ours, theirs = Halve()(x), torch.nn.functional.avg_pool2d(x, 2)
    assert torch.equal(ours, theirs)
    gradients = [torch.autograd.grad((pooled * weight).sum(), x)[0] for pooled in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_bilinear_upsampling_leaves_no_stairs() -> None:
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    steps = {bilinear: Double(bilinear=bilinear)(ramp)[0, 0, 8, 1:-1].diff() for bilinear in (False, True)}
    assert torch.equal(steps[True], torch.full((13,), 0.5)) and set(steps[False].tolist()) == {0.0, 1.0}
    with torch.autocast("cpu", torch.bfloat16):
        assert Double()(ramp.bfloat16()).dtype == torch.bfloat16
    for stage, mode in (("small", "nearest"), ("small-stage-free", "bilinear")):
        decoder = Network(tiny_preset(stage).network).decoder
        assert {part.mode for part in decoder.modules() if isinstance(part, Double)} == {mode}
