"""The network computes from the authors' weights what theirs computes, for each prior, refined and alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import reference
import torch
from torch import Tensor, nn

from mrfa.animation.motion import RelativeMotion
from mrfa.network.geometry import OFFICIAL
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network, Output
from mrfa.weights import convert_official


class Comparison:
    """Collects the values that differ from the expected ones by more than a tolerance."""

    def __init__(self, expected: dict[str, Tensor], case: str) -> None:
        self.expected = {name.removeprefix(f"{case}/"): x for name, x in expected.items() if name.startswith(f"{case}/")}
        self.wrong: list[str] = []
        self.seen: set[str] = set()

    def __call__(self, name: str, got: Tensor, most: float, mean: float | None = None) -> None:
        self.seen.add(name)
        difference = (got - self.expected[name]).abs()
        if difference.max() > most or (mean is not None and difference.mean() > mean):
            self.wrong.append(f"{name}: {difference.max():.1e} at most, {difference.mean():.1e} in the mean")

    def finish(self) -> None:
        """All expected values were compared, and all are equal."""
        assert not self.wrong
        assert self.seen == set(self.expected)


@pytest.mark.parametrize("prior", reference.FILES)
def test_refined_network_equals_the_authors(prior: str) -> None:
    network = convert_official(reference.state_dict(prior), prior=prior)
    expected = reference.expected(prior)
    source, driving, initial = reference.pictures()
    with torch.no_grad():
        synthetic = Comparison(expected, "syn")
        with _inputs(network) as inputs:
            output = network(source, driving)
        _compare_output(synthetic, source, output, stride=1)
        _compare_inside(synthetic, network, output, inputs)
        synthetic.finish()
        # Both other cases as one batch: a picture's values do not depend on its neighbours.
        face, face_driving = (expected[name].permute(2, 0, 1)[None] / 255 for name in ("face_source", "face_driving"))
        relative, real = Comparison(expected, "rel"), Comparison(expected, "real")
        moved = _relative_motion(relative, network, source, driving, initial)
        sources = network.encode_source(torch.cat([source, face]))
        outputs = network.animate(sources, stack_keypoints([moved, network.detect(face_driving)]))
    for index, comparison in enumerate((relative, real)):
        _compare_output(comparison, (source, face)[index], _one(outputs, index), stride=2)
        comparison.finish()


@pytest.mark.parametrize("prior", reference.FILES)
def test_prior_alone_equals_the_authors(prior: str) -> None:
    network = convert_official(reference.state_dict(prior, prior_only=True), prior=prior, prior_only=True)
    source, driving, _ = reference.pictures()
    comparison = Comparison(reference.expected(prior), "prior")
    with torch.no_grad():
        output = network(source, driving)
    _compare_output(comparison, source, output, stride=2, prior_only=True)
    comparison.finish()


def _relative_motion(compare: Comparison, network: Network, source: Tensor, driving: Tensor, initial: Tensor) -> Keypoints:
    """The keypoints of relative motion with adapted scale; checks those of the initial frame and without scale on the way."""
    own, moved, start = (network.detect(picture) for picture in (source, driving, initial))
    compare("kp_initial", start.positions[0], 1e-5)
    if start.affine is not None:
        compare("jac_initial", start.affine[0], 1e-5)
    compare("kp_noscale", RelativeMotion(own, start)(moved).positions[0], 1e-5)
    return RelativeMotion(own, start, adapt_scale=True)(moved)


@contextmanager
def _inputs(network: Network) -> Iterator[dict[str, list[tuple[Tensor, ...]]]]:
    """Records what the flow updater and the dense motion's hourglass are given."""
    assert network.refinement is not None and network.dense_motion is not None
    modules = {"updater": network.refinement.updater, "hourglass": network.dense_motion.hourglass}
    found: dict[str, list[tuple[Tensor, ...]]] = {name: [] for name in modules}

    def recorder(name: str):  # type: ignore[no-untyped-def]
        def record(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            found[name].append(given)

        return record

    handles = [module.register_forward_pre_hook(recorder(name)) for name, module in modules.items()]
    yield found
    for handle in handles:
        handle.remove()


def _compare_output(compare: Comparison, source: Tensor, output: Output, *, stride: int, prior_only: bool = False) -> None:
    """Keypoints, coarse motion, refined motion in pixels, and pictures; tolerances are those of the values' own noise."""
    for name, keypoints in (("source", output.source_keypoints), ("driving", output.driving_keypoints)):
        compare(f"kp_{name}", keypoints.positions[0], 1e-5)
        if keypoints.affine is not None:
            compare(f"jac_{name}", keypoints.affine[0], 1e-5)
    coarse, motion = output.coarse, output.motion
    compare("deformation", coarse.flow[0], 5e-5)
    compare("occlusion_logit", coarse.occlusion[0, 0], 1e-4)
    assert coarse.mask is not None
    compare("mask", coarse.mask[0, :, ::2, ::2], 1e-4)
    if not prior_only:
        for level, (flow, occlusion) in enumerate(zip(motion.flows, motion.occlusions, strict=True), start=1):
            displacement = OFFICIAL.to_displacement(flow)
            flow_px = displacement * OFFICIAL.pixel_scale(displacement.shape[2:], flow)
            step = max(1, flow.shape[1] * stride // 64)
            compare(f"flow{level}", flow_px[0, :, ::step, ::step], 8e-4 * 2**level)
            logits = torch.logit(occlusion.double())
            # Where the sigmoid saturates, its inverse multiplies the rounding, which differs between instruction sets.
            compare(f"occ{level}", logits[0, 0, ::step, ::step], 2e-2, mean=2e-4)
    maps = motion.occlusions if prior_only else [*motion.occlusions, torch.sigmoid(coarse.occlusion)]
    row = torch.cat([OFFICIAL.resize(occlusion, output.image.shape[2:]) for occlusion in maps], dim=3)
    compare("occlusion_vis", row[0, 0, ::16, ::16], 5e-3)
    sample = OFFICIAL.sample_coarsely if prior_only else OFFICIAL.sample
    warped = sample(source, motion.picture_flow)
    compare("warped", warped[0, :, ::4, ::4], 2e-2, mean=2e-5)
    compare("image", output.image[0, :, ::stride, ::stride], 2e-2, mean=2e-5)


def _compare_inside(compare: Comparison, network: Network, output: Output, inputs: dict[str, list[tuple[Tensor, ...]]]) -> None:
    """Structure features, correlation, encoder features and the inputs of hourglass and updater."""
    source = network.encode_source(reference.pictures()[0], output.source_keypoints)
    assert network.structure is not None and source.structure is not None
    positions = network.detector.structure_positions(output.driving_keypoints)
    driving = network.structure.encode_driving(positions, source.structure.shape[2:])
    compare("struct_source", source.structure[0, ::8, ::8, ::8], 2e-4)
    compare("struct_driving", driving[0, ::8, ::8, ::8], 2e-4)
    volume = driving[0].flatten(1).T @ source.structure[0].flatten(1) / 16
    compare("corr_volume", volume[17::97, 11::53], 2e-4)
    for level, (flow_px, correlation, _) in enumerate(inputs["updater"], start=1):
        step = flow_px.shape[2] // 8
        compare(f"corr_feat{level}", OFFICIAL.resize(correlation, flow_px.shape[2:])[0, :, ::step, ::step], 2e-2)
    for level, feature in enumerate(source.features):
        step = feature.shape[2] // 8
        compare(f"feature{level}", feature[0, ::8, ::step, ::step], 2e-4)
    evidence, parts = inputs["hourglass"][0][0][0], network.config.detector.parts + 1
    pictures = evidence[-3 * parts :] if network.config.detector.kind == "thin_plate" else evidence
    pictures = pictures.unflatten(0, (parts, -1))[:, -3:]
    compare("prior_input_deformed", pictures[..., ::8, ::8], 1e-4)


def _one(outputs: Output, index: int) -> Output:
    """One picture of a batch's output."""

    def cut(value):  # type: ignore[no-untyped-def]
        if isinstance(value, Tensor):
            return value[index : index + 1]
        if isinstance(value, list):
            return [cut(item) for item in value]
        return None if value is None else type(value)(*map(cut, value))

    return cut(outputs)
