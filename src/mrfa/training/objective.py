"""The training objective (paper 3.4, Eq. 11 to 13), with the options of this project: which losses, and how heavy each is."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.data.guidance import GROUPS
from mrfa.identity import IdentityNetwork, load_identity
from mrfa.network.keypoints import Keypoints, halves, stack_keypoints
from mrfa.network.model import Output
from mrfa.training.augmentation import Pair
from mrfa.training.config import CrossIdentityConfig, ObjectiveConfig
from mrfa.training.cross_identity import Crossed
from mrfa.training.losses.adversarial import Judgement, discriminator_loss, feature_matching_loss, generator_loss
from mrfa.training.losses.distillation import Teacher, flow_lesson_loss, keypoint_lesson_loss, load_teacher
from mrfa.training.losses.equivariance import affine_equivariance_loss, background_loss, equivariance_loss
from mrfa.training.losses.identity import identity_loss
from mrfa.training.losses.image import pyramid_loss, warp_loss
from mrfa.training.losses.keypoints import consistency_loss, guidance_loss, opening_loss, surround_loss
from mrfa.training.losses.perceptual import load_efficientnet_loss, load_perceptual_loss
from mrfa.training.losses.regions import face_weights, region_weights
from mrfa.training.passes import StepOutputs


class Losses(NamedTuple):
    """Total and its weighted parts, all scalars."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(nn.Module):
    """Weighted losses of what a step's passes computed."""

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        self.perceptual = load_perceptual_loss(config.vgg_weights) if config.image == "perceptual" else None
        self.efficientnet = load_efficientnet_loss(config.efficientnet_weights) if config.perceptual_weight else None
        self.teacher = load_teacher(config.teacher.model) if config.teacher.model is not None else None
        self.identity = _load_identity(config.cross_identity)
        self._pyramid_loss = pyramid_loss

    def compile_image_loss(self) -> None:
        """Let torch.compile fuse the many small steps of the pyramid loss."""
        self._pyramid_loss = torch.compile(pyramid_loss)

    def fools(self, step: int) -> bool:
        """Whether the network learns from the discriminators at a training step."""
        adversarial = self.config.adversarial
        return adversarial.weight > 0 and step >= adversarial.warmup_steps

    def forward(self, outputs: StepOutputs, step: int) -> Losses:
        """All losses at a training step; keypoint losses alone where the passes have no output."""
        parts: dict[str, Tensor] = {}
        if outputs.output is not None:
            parts |= self._images(outputs.pair, outputs.output, outputs)
        parts |= self._equivariance(outputs)
        if outputs.output is not None and outputs.output.background is not None and outputs.background_back is not None:
            background = background_loss(outputs.output.background, outputs.background_back)
            parts["background"] = self.config.background_weight * background
        if self.config.guidance.weight:
            parts |= self._guidance(outputs)
        if outputs.found is not None:
            expected = _driving(outputs, len(outputs.found)).positions.detach()
            parts["consistency"] = self.config.consistency_weight * consistency_loss(outputs.found, expected)
        if self.teacher is not None:
            parts |= self._lesson(self.teacher, outputs)
        if outputs.judgements is not None:
            parts |= self._adversarial(outputs.pair, outputs.judgements, step)
        if outputs.crossed is not None:
            parts |= self._cross_identity(outputs, outputs.crossed, step)
        return Losses(sum(parts.values(), torch.zeros((), device=outputs.groups.device)), parts)

    def _images(self, pair: Pair, output: Output, outputs: StepOutputs) -> dict[str, Tensor]:
        """Losses on the generated picture and on the warped source."""
        config, size = self.config, _size(pair)
        weight = region_weights(pair.driving_groups, pair.found, size, config.guidance.region_weight)
        weight = weight + (config.uncovered_weight - 1) * pair.uncovered
        parts = {"image": config.image_weight * self._image(output.image, pair.target, weight)}
        if self.efficientnet is not None:
            parts["perceptual"] = config.perceptual_weight * self.efficientnet(output.image, pair.target)
        if config.coarse_image_weight:
            warp = warp_loss(output, pair.source, pair.target, weight, outputs.conventions)
            parts["warp"] = config.coarse_image_weight * warp
        return parts

    def _image(self, image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        if self.perceptual is not None:
            return self.perceptual(image, target)
        return self._pyramid_loss(image, target, weight, self.config.pixel_weight)

    def _equivariance(self, outputs: StepOutputs) -> dict[str, Tensor]:
        if outputs.transform is None or outputs.transformed is None:
            return {}
        config, parts = self.config, {}
        arguments = (_driving(outputs, len(outputs.transformed.positions)), outputs.transformed, outputs.transform)
        if config.equivariance_weight:
            parts["equivariance"] = config.equivariance_weight * equivariance_loss(*arguments)
        if config.affine_equivariance_weight and outputs.transformed.affine is not None:
            parts["affine_equivariance"] = config.affine_equivariance_weight * affine_equivariance_loss(*arguments)
        return parts

    def _guidance(self, outputs: StepOutputs) -> dict[str, Tensor]:
        config, found = self.config.guidance, outputs.pair.found.repeat(2)
        arguments = (outputs.keypoints.positions, outputs.groups, found)
        parts = {"guidance": config.weight * guidance_loss(*arguments)}
        if config.opening_weight:
            parts["opening"] = config.opening_weight * opening_loss(*arguments)
        if config.surround_weight:
            parts["surround"] = config.surround_weight * surround_loss(*arguments)
        return parts

    def _lesson(self, teacher: Teacher, outputs: StepOutputs) -> dict[str, Tensor]:
        """What a teacher says of the first pairs."""
        config, pair, conventions, size = self.config.teacher, outputs.pair, outputs.conventions, _size(outputs.pair)
        count = math.ceil(self.config.detector_share * len(pair.source))
        lesson = teacher(pair.source[:count], pair.driving[:count])
        found = stack_keypoints([part.part(slice(0, count)) for part in halves(outputs.keypoints)])
        parts = {"taught_keypoints": config.keypoint_weight * keypoint_lesson_loss(found, lesson, conventions, size)}
        if outputs.output is not None and config.flow_weight:
            flows = [flow[:count] for flow in (outputs.output.coarse.flow, outputs.output.motion.flows[-1])]
            parts["taught_flow"] = config.flow_weight * flow_lesson_loss(flows, lesson, conventions, size)
        return parts

    def _adversarial(self, pair: Pair, judgements: list[Judgement], step: int) -> dict[str, Tensor]:
        config = self.config.adversarial
        weight = face_weights(pair.driving_groups, pair.found, _size(pair), config.away_weight)
        parts = {"discriminator": discriminator_loss(judgements, weight)}
        if not self.fools(step):
            return parts
        parts["adversarial"] = config.weight * generator_loss(judgements, weight)
        if config.feature_weight:
            parts["feature_matching"] = config.feature_weight * feature_matching_loss(judgements, weight)
        return parts

    def _cross_identity(self, outputs: StepOutputs, crossed: Crossed, step: int) -> dict[str, Tensor]:
        """Losses on portraits driven by other people, of which there is no true picture."""
        config, size, parts = self.config.cross_identity, _size(outputs.pair), {}
        given, own = (outputs.conventions.to_half_pixel(places, size) for places in (crossed.given, crossed.own))
        if outputs.crossed_found is not None:
            found = torch.where(crossed.known[:, None, None], outputs.crossed_found[:, :GROUPS], crossed.given)
            parts["cross_keypoints"] = config.keypoint_weight * consistency_loss(found, crossed.given)
        if self.identity is not None:
            identity = identity_loss(self.identity, (crossed.image, given), (crossed.portrait, own), crossed.known)
            parts["cross_identity"] = config.identity_weight * identity
        if outputs.crossed_judgements is not None:
            weight = face_weights(given, crossed.known, size, self.config.adversarial.away_weight)
            parts["cross_discriminator"] = discriminator_loss(outputs.crossed_judgements, weight)
            if self.fools(step):
                parts["cross_adversarial"] = config.adversarial_weight * generator_loss(outputs.crossed_judgements, weight)
        return parts


def _load_identity(config: CrossIdentityConfig) -> IdentityNetwork | None:
    if not config.share or not config.identity_weight or config.identity_weights is None:
        return None
    return load_identity(Path(config.identity_weights))


def _driving(outputs: StepOutputs, count: int) -> Keypoints:
    """Keypoints of the first driving pictures."""
    positions, affine = halves(outputs.keypoints)[1]
    return Keypoints(positions[:count], None if affine is None else affine[:count])


def _size(pair: Pair) -> tuple[int, int]:
    return pair.driving.shape[2], pair.driving.shape[3]
