"""The composition of the paper's parts: detect, encode the source once, animate, forward."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.config import NetworkConfig
from mrfa.network.coarse import CoarseMotion, DenseMotion
from mrfa.network.correlation import CorrelationVolume, StructureEncoders
from mrfa.network.generator import ImageDecoder, ImageEncoder
from mrfa.network.keypoints import AffineDetector, Keypoints, halves
from mrfa.network.layers import AntiAliasDownsample
from mrfa.network.refinement import Motion, Refinement, coarse_pyramid

COARSE_DIVISOR = 4


class Source(NamedTuple):
    """All that depends on the source image alone: computed once a portrait, used for every frame.

    Attributes:
        image: `[B, 3, H, W]` in [0, 1].
        keypoints: of the source.
        thumbnail: the image at the dense motion network's resolution, `[B, 3, H/4, W/4]`.
        features: image features, lowest resolution first.
        contexts: projected features of each refinement iteration.
        structure: structure features, `[B, C, h, w]`.
    """

    image: Tensor
    keypoints: Keypoints
    thumbnail: Tensor
    features: list[Tensor]
    contexts: list[Tensor]
    structure: Tensor


class Output(NamedTuple):
    """What an animated frame consists of.

    Attributes:
        image: `[B, 3, H, W]` in [0, 1].
        source_keypoints, driving_keypoints: of the pair.
        coarse: motion of the prior.
        motion: refined motion of every iteration.
    """

    image: Tensor
    source_keypoints: Keypoints
    driving_keypoints: Keypoints
    coarse: CoarseMotion
    motion: Motion


class Network(nn.Module):
    """Face animation network. Runs at every image size that is a multiple of 32 and at least 64.

    Images are `[B, 3, H, W]`, RGB in [0, 1].
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        keypoints, correlation = config.detector.keypoints, config.correlation
        self.detector = AffineDetector(config.detector)
        self.dense_motion = DenseMotion(config.coarse, keypoints)
        self.structure = StructureEncoders(correlation, keypoints)
        self.encoder = ImageEncoder(config.generator)
        self.refinement = Refinement(
            config.refinement,
            correlation_channels=(correlation.pyramid_levels + 1) * (2 * correlation.radius + 1) ** 2,
            feature_widths=list(config.generator.widths[::-1][: config.refinement.iterations]),
        )
        self.decoder = ImageDecoder(config.generator)
        self.coarse_downsample = AntiAliasDownsample(COARSE_DIVISOR)
        self.structure_downsample = AntiAliasDownsample(correlation.image_divisor)

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of source or driving images."""
        return self.detector(image)

    def encode_source(self, image: Tensor, keypoints: Keypoints | None = None) -> Source:
        """All that depends on the source alone; `keypoints` where they are known already."""
        keypoints = self.detect(image) if keypoints is None else keypoints
        features = self.encoder(image)
        return Source(
            image=image,
            keypoints=keypoints,
            thumbnail=self.coarse_downsample(image),
            features=features,
            contexts=self.refinement.project(features[: self.config.refinement.iterations]),
            structure=self.structure.encode_source(keypoints.positions, self.structure_downsample(image)),
        )

    def estimate_motion(self, source: Source, driving: Keypoints) -> tuple[CoarseMotion, Motion]:
        """Coarse motion of the prior, and its refinement."""
        coarse = self.dense_motion(source.thumbnail, source.keypoints, driving)
        height, width = source.structure.shape[2:]
        volume = CorrelationVolume(
            self.structure.encode_driving(driving.positions, (height, width)),
            source.structure,
            radius=self.config.correlation.radius,
            pyramid_levels=self.config.correlation.pyramid_levels,
        )
        return coarse, self.refinement(coarse.flow, coarse.occlusion, volume, source.contexts)

    def animate(self, source: Source, driving: Keypoints, *, coarse_only: bool = False) -> Output:
        """The source in the pose of the driving keypoints.

        Args:
            source: of `encode_source`, of batch 1 or of the batch of `driving`.
            driving: keypoints, `[B, K, 2]`.
            coarse_only: generate from the prior's motion alone, without its refinement.
        """
        source = expand_source(source, driving.positions.shape[0])
        if coarse_only:
            coarse = self.dense_motion(source.thumbnail, source.keypoints, driving)
            motion = coarse_pyramid(coarse.flow, coarse.occlusion, [context.shape[2:] for context in source.contexts])
        else:
            coarse, motion = self.estimate_motion(source, driving)
        image = self.decoder(source.image, source.features, coarse.flow, motion)
        return Output(image, source.keypoints, driving, coarse, motion)

    def forward(self, source: Tensor, driving: Tensor) -> Output:
        """Animate source images `[B, 3, H, W]` by driving images `[B, 3, H, W]`, with absolute motion."""
        both = self.detect(torch.cat([source, driving]))
        source_keypoints, driving_keypoints = halves(both)
        return self.animate(self.encode_source(source, source_keypoints), driving_keypoints)


def expand_source(source: Source, batch: int) -> Source:
    """A source of batch 1 repeated, without copying, for a batch of driving frames."""
    if source.image.shape[0] == batch:
        return source

    def expand(tensor: Tensor) -> Tensor:
        return tensor.expand(batch, *tensor.shape[1:])

    affine = source.keypoints.affine
    return Source(
        image=expand(source.image),
        keypoints=Keypoints(expand(source.keypoints.positions), None if affine is None else expand(affine)),
        thumbnail=expand(source.thumbnail),
        features=[expand(feature) for feature in source.features],
        contexts=[expand(context) for context in source.contexts],
        structure=expand(source.structure),
    )
