"""The passes of one training step through the network: all that the configured losses need, and no more."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from mrfa.network.geometry import Conventions
from mrfa.network.keypoints import Keypoints, stack_keypoints
from mrfa.network.model import Network, Output
from mrfa.training.augmentation import Pair
from mrfa.training.config import ObjectiveConfig
from mrfa.training.cross_identity import Crossed, drive_by_next
from mrfa.training.losses.adversarial import Discriminators, Judgement
from mrfa.training.losses.equivariance import RandomTransform


class StepOutputs(NamedTuple):
    """What the passes of a step computed; the losses are functions of it. None: no configured loss needs it.

    Attributes:
        pair: the augmented batch, with half-pixel normalised landmark groups.
        keypoints: of all sources, then of all driving pictures, positions `[2B, K, 2]`.
        groups: landmark groups of the same pictures `[2B, G, 2]`, normalised in the network's coordinates.
        conventions: of the network.
        output: of the network; None while the detector learns alone.
        transform: of the driving picture.
        transformed: keypoints of the transformed driving picture, of the first pairs, as many as are looked at.
        background_back: affine map of the background of the exchanged pair, `[B, 3, 3]`.
        found: positions that the detector, held still, finds on the generated picture, of as many, `[b, K, 2]`.
        judgements: of the discriminators on the generated picture and its target.
        crossed: portraits driven by other people.
        crossed_found: positions that the detector, held still, finds on these, `[n, K, 2]`.
        crossed_judgements: of the discriminators on these, and on true pictures of the portraits' people.
    """

    pair: Pair
    keypoints: Keypoints
    groups: Tensor
    conventions: Conventions
    output: Output | None = None
    transform: RandomTransform | None = None
    transformed: Keypoints | None = None
    background_back: Tensor | None = None
    found: Tensor | None = None
    judgements: list[Judgement] | None = None
    crossed: Crossed | None = None
    crossed_found: Tensor | None = None
    crossed_judgements: list[Judgement] | None = None


def detector_passes(network: Network, pair: Pair, config: ObjectiveConfig) -> StepOutputs:
    """Passes of a step in which the detector learns alone."""
    keypoints = network.detect(torch.cat([pair.source, pair.driving]))
    transform, transformed = _transformed(network, pair, config)
    return StepOutputs(
        pair=pair,
        keypoints=keypoints,
        groups=_groups(network, pair),
        conventions=network.conventions,
        transform=transform,
        transformed=transformed,
    )


def all_passes(network: Network, discriminators: Discriminators | None, pair: Pair, config: ObjectiveConfig) -> StepOutputs:
    """Passes of a step in which everything learns."""
    output = network(pair.source, pair.driving)
    transform, transformed = _transformed(network, pair, config)
    back = None
    if network.background is not None and output.background is not None and config.background_weight:
        back = network.background(network.reduce(pair.driving), network.reduce(pair.source))
    outputs = StepOutputs(
        pair=pair,
        keypoints=stack_keypoints([output.source_keypoints, output.driving_keypoints]),
        groups=_groups(network, pair),
        conventions=network.conventions,
        output=output,
        transform=transform,
        transformed=transformed,
        background_back=back,
        found=frozen_keypoints(network, _first(output.image, config)) if config.consistency_weight else None,
        judgements=None if discriminators is None else discriminators.judge(output.image, pair.target),
    )
    return outputs._replace(**_cross_identity(network, discriminators, pair, output, config))


def frozen_keypoints(network: Network, image: Tensor) -> Tensor:
    """Positions `[B, K, 2]`, normalised, with gradients for the picture `[B, 3, H, W]` alone.

    Neither the weights nor the running statistics of the detector are touched.
    """
    detector = network.detector
    weights = {name: value.detach() for name, value in detector.named_parameters()}
    buffers = {name: value.clone() for name, value in detector.named_buffers()}
    return functional_call(detector, weights | buffers, (network.reduce(image),)).positions


def _cross_identity(
    network: Network, discriminators: Discriminators | None, pair: Pair, output: Output, config: ObjectiveConfig
) -> dict[str, Any]:
    """What the losses on portraits driven by others look at."""
    cross = config.cross_identity
    if not cross.share:
        return {}
    crossed = drive_by_next(network, pair, output, math.ceil(cross.share * len(pair.source)))
    passes: dict[str, Any] = {"crossed": crossed}
    if cross.keypoint_weight:
        passes["crossed_found"] = frozen_keypoints(network, crossed.image)
    if cross.adversarial_weight and discriminators is not None:
        passes["crossed_judgements"] = discriminators.judge(crossed.image, pair.target[: len(crossed.image)])
    return passes


def _transformed(network: Network, pair: Pair, config: ObjectiveConfig) -> tuple[RandomTransform | None, Keypoints | None]:
    if not (config.equivariance_weight or config.affine_equivariance_weight):
        return None, None
    driving = _first(pair.driving, config)
    transform = RandomTransform.draw(len(driving), driving, network.conventions)
    return transform, network.detect(transform.image(driving))


def _first(images: Tensor, config: ObjectiveConfig) -> Tensor:
    """Of a batch, whose order is random, as many pictures as the detector looks at again."""
    return images[: math.ceil(config.detector_share * len(images))]


def _groups(network: Network, pair: Pair) -> Tensor:
    size = [side // network.config.reduction for side in pair.driving.shape[2:]]
    return network.conventions.from_half_pixel(torch.cat([pair.source_groups, pair.driving_groups]), size)
