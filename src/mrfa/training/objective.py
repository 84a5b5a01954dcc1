"""The training objective (paper 3.4, Eq. 11 to 13), with the options of this project."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.geometry import Conventions, RandomTransform, invert_2x2
from mrfa.network.keypoints import Keypoints, halves
from mrfa.network.model import Network, Output
from mrfa.training.adversarial import PatchDiscriminator
from mrfa.training.augmentation import Pair
from mrfa.training.config import ObjectiveConfig
from mrfa.training.consistency import consistency_loss, frozen_keypoints
from mrfa.training.guidance import guidance_loss, opening_loss, surround_loss
from mrfa.training.importance import face_weights, region_weights, weighted_mean
from mrfa.training.perceptual import load_perceptual_loss
from mrfa.training.pyramid_loss import pyramid_loss
from mrfa.training.sharpness_loss import sharpness_loss


class Losses(NamedTuple):
    """Total and its weighted parts, all scalars."""

    total: Tensor
    parts: dict[str, Tensor]


class Objective(nn.Module):
    """Image loss, both equivariance losses, and, where configured, guidance of keypoints."""

    def __init__(self, config: ObjectiveConfig) -> None:
        super().__init__()
        self.config = config
        self.discriminator = PatchDiscriminator() if config.adversarial.weight else None
        self.perceptual = load_perceptual_loss(config.vgg_weights) if config.image == "perceptual" else None
        self._pyramid_loss = pyramid_loss

    def compile_image_loss(self) -> None:
        """Let torch.compile fuse the many small steps of the pyramid loss."""
        self._pyramid_loss = torch.compile(pyramid_loss)

    def detector_loss(self, network: Network, pair: Pair) -> Losses:
        """What the detector alone can learn: guidance and equivariance."""
        keypoints = network.detect(torch.cat([pair.source, pair.driving]))
        _, driving = halves(keypoints)
        parts = self._guidance(keypoints.positions, pair)
        parts |= self._equivariance(network, pair.driving, driving)
        return Losses(sum(parts.values(), torch.zeros(())), parts)

    def forward(self, network: Network, pair: Pair, output: Output, step: int) -> Losses:
        """All losses of a forward pass on an augmented pair, at a training step."""
        config = self.config
        size = (pair.driving.shape[2], pair.driving.shape[3])
        weight = region_weights(pair.driving_groups, pair.found, size, config.guidance.region_weight)
        parts = {"image": config.image_weight * self._image(output.image, pair.driving, weight)}
        if config.sharpness_weight:
            face = face_weights(pair.driving_groups, pair.found, size, 0.0)
            short = sharpness_loss(output.image, pair.driving, face, config.sharpness_share)
            parts["sharpness"] = config.sharpness_weight * short
        if config.coarse_image_weight:
            parts["warp"] = config.coarse_image_weight * self._warp(output, pair, weight, network.conventions)
        parts |= self._equivariance(network, pair.driving, output.driving_keypoints)
        if output.background is not None and network.background is not None:
            parts["background"] = config.background_weight * self._background(network, pair, output.background)
        if config.guidance.weight:
            keypoints = torch.cat([output.source_keypoints.positions, output.driving_keypoints.positions])
            parts |= self._guidance(keypoints, pair)
        if config.consistency_weight:
            found, expected = frozen_keypoints(network.detector, output.image), output.driving_keypoints.positions.detach()
            parts["consistency"] = config.consistency_weight * consistency_loss(found, expected)
        if self.discriminator is not None:
            parts |= self._adversarial(self.discriminator, pair, output.image, step)
        return Losses(sum(parts.values(), torch.zeros((), device=weight.device)), parts)

    def _background(self, network: Network, pair: Pair, background: Tensor) -> Tensor:
        """The background's motion there and back is none: its two maps are each other's inverse."""
        assert network.background is not None
        back = network.background(pair.driving, pair.source)
        return (background @ back - torch.eye(3, device=back.device)).abs().mean()

    def _guidance(self, positions: Tensor, pair: Pair) -> dict[str, Tensor]:
        """Guidance of the keypoints of all sources, then all driving frames, `[2B, K, 2]`."""
        config = self.config.guidance
        groups, found = torch.cat([pair.source_groups, pair.driving_groups]), pair.found.repeat(2)
        parts = {"guidance": config.weight * guidance_loss(positions, groups, found)}
        if config.opening_weight:
            parts["opening"] = config.opening_weight * opening_loss(positions, groups, found)
        if config.surround_weight:
            parts["surround"] = config.surround_weight * surround_loss(positions, groups, found)
        return parts

    def _adversarial(self, discriminator: PatchDiscriminator, pair: Pair, image: Tensor, step: int) -> dict[str, Tensor]:
        config = self.config.adversarial
        size = (image.shape[2], image.shape[3])
        weight = face_weights(pair.driving_groups, pair.found, size, config.away_weight)
        losses = discriminator.losses(image, pair.driving, weight)
        parts = {"discriminator": losses.discriminator}
        if step >= config.warmup_steps:
            parts["adversarial"] = config.weight * losses.generator
            parts["feature_matching"] = config.feature_weight * losses.features
        return parts

    def _image(self, image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        if self.perceptual is not None:
            return self.perceptual(image, target)
        return self._pyramid_loss(image, target, weight, self.config.pixel_weight)

    def _warp(self, output: Output, pair: Pair, weight: Tensor, conventions: Conventions) -> Tensor:
        """L1 between the driving image and the source warped by the coarse flow and by each finer flow.

        It gives the flows a direct signal, which small data sets need; what is hidden in the source is left out.
        """
        resize = conventions.resize
        flows = [output.coarse.flow, *(f for f in output.motion.flows if f.shape[1] >= output.coarse.flow.shape[1])]
        visible = torch.sigmoid(output.coarse.occlusion.detach())
        loss = torch.zeros((), device=weight.device)
        for flow in flows:
            size = flow.shape[1:3]
            source, target = resize(pair.source, size), resize(pair.driving, size)
            importance = resize(weight, size) * (0.2 + 0.8 * resize(visible, size))
            loss = loss + weighted_mean((conventions.sample(source, flow, padding="border") - target).abs(), importance)
        return loss / len(flows)

    def _equivariance(self, network: Network, driving: Tensor, keypoints: Keypoints) -> dict[str, Tensor]:
        """Keypoints of a transformed picture are the transformed keypoints (Eq. 12); so are their affine maps."""
        transform = RandomTransform.draw(len(driving), driving, network.conventions)
        transformed = network.detect(transform.image(driving))
        expected = transform.positions(transformed.positions)
        parts = {"equivariance": self.config.equivariance_weight * F.l1_loss(expected, keypoints.positions)}
        if keypoints.affine is not None and transformed.affine is not None and self.config.affine_equivariance_weight:
            jacobian = transform.jacobian(transformed.positions)
            product = invert_2x2(keypoints.affine) @ jacobian @ transformed.affine
            identity = torch.eye(2, device=product.device)
            parts["affine_equivariance"] = self.config.affine_equivariance_weight * (product - identity).abs().mean()
        return parts
