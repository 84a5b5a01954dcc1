"""The composition of the paper's parts: detect, encode the source once, animate, forward."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.alignment import align_background
from mrfa.network.background import BackgroundPredictor
from mrfa.network.coarse import CoarseMotion, DenseMotion
from mrfa.network.config import COARSE_DIVISOR, NetworkConfig
from mrfa.network.correlation import CorrelationVolume, StructureEncoders
from mrfa.network.generator import DetailEncoder, ImageDecoder, ImageEncoder
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, OFFICIAL, Conventions
from mrfa.network.keypoints import AffineDetector, Detector, Keypoints, halves
from mrfa.network.layers import AntiAliasDownsample, Halve
from mrfa.network.refinement import Motion, Refinement, coarse_pyramid
from mrfa.network.thin_plate import ThinPlateDetector
from mrfa.network.transformer import TransformerDetector

CONVENTIONS = {"half_pixel": HALF_PIXEL, "corner_aligned": CORNER_ALIGNED, "official": OFFICIAL}


class Source(NamedTuple):
    """All that depends on the source image alone: computed once a portrait, used for every frame.

    Attributes:
        image: `[B, 3, H, W]` in [0, 1].
        keypoints: of the source.
        thumbnail: the image at the dense motion network's resolution, `[B, 3, H/4, W/4]`, with a detail level H/8.
        features: image features, lowest resolution first; that of the detail level, where there is one, is the last.
        contexts: projected features of each refinement iteration; empty where it sees none.
        structure: structure features, `[B, C, h, w]`; None in models of the prior alone.
    """

    image: Tensor
    keypoints: Keypoints
    thumbnail: Tensor
    features: list[Tensor]
    contexts: list[Tensor]
    structure: Tensor | None


class Output(NamedTuple):
    """What an animated frame consists of.

    Attributes:
        image: `[B, 3, H, W]` in [0, 1].
        source_keypoints, driving_keypoints: of the pair.
        coarse: motion of the prior.
        motion: refined motion of every iteration.
        background: affine map of the background, `[B, 3, 3]`, from driving to source positions; None where it stands still.
    """

    image: Tensor
    source_keypoints: Keypoints
    driving_keypoints: Keypoints
    coarse: CoarseMotion
    motion: Motion
    background: Tensor | None = None


class Network(nn.Module):
    """Face animation network. Runs at every image size that is a multiple of `config.size_divisor`.

    Images are `[B, 3, H, W]`, RGB in [0, 1]. `config.motion` decides which parts there are: a model of the prior alone has no
    structure encoders and no refinement, one without a prior no dense motion network. With a detail level
    (`config.generator.detail_width`) all other parts see the images at half their size, by the mean of every 2x2 pixels.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        parts, correlation = config.detector.parts, config.correlation
        conventions = CONVENTIONS[config.coordinates]
        self.conventions = conventions
        has_prior = config.motion != "non_prior"
        self.detector = _detector(config, conventions)
        self.dense_motion: DenseMotion | None = None
        if has_prior:
            exact = self.detector.exact_part_warps
            self.dense_motion = DenseMotion(config.coarse, config.detector, conventions, exact_part_warps=exact)
        self.background = BackgroundPredictor() if config.background == "predicted" else None
        self.structure: StructureEncoders | None = None
        self.refinement: Refinement | None = None
        if config.motion != "prior_only":
            self.structure = StructureEncoders(correlation, parts, conventions)
            self.refinement = Refinement(
                config.refinement,
                correlation_channels=(correlation.pyramid_levels + 1) * (2 * correlation.radius + 1) ** 2,
                feature_widths=config.feature_widths[: config.refinement.iterations],
                conventions=conventions,
            )
        self.reduce = nn.Identity() if config.reduction == 1 else Halve()
        self.encoder = ImageEncoder(config.generator)
        self.detail_encoder = DetailEncoder(config.generator) if config.generator.detail_width else None
        self.decoder = ImageDecoder(config.generator, conventions, prior_only=config.motion == "prior_only")
        self.coarse_downsample = AntiAliasDownsample(COARSE_DIVISOR, cell_centred=not conventions.corner_aligned)
        self.structure_downsample = AntiAliasDownsample(correlation.image_divisor, cell_centred=not conventions.corner_aligned)

    def detect(self, image: Tensor) -> Keypoints:
        """Keypoints of source or driving images.

        Raises:
            ValueError: an image of another shape or size.
        """
        self._check(image)
        return self.detector(self.reduce(image))

    def encode_source(self, image: Tensor, keypoints: Keypoints | None = None) -> Source:
        """All that depends on the source alone; `keypoints` where they are known already.

        Raises:
            ValueError: an image of another shape or size.
        """
        self._check(image)
        keypoints = self.detect(image) if keypoints is None else keypoints
        reduced = self.reduce(image)
        features = self.encoder(reduced)
        if self.detail_encoder is not None:
            features.append(self.detail_encoder(image))
        contexts = [] if self.refinement is None else self.refinement.project(features)
        structure = None
        if self.structure is not None:
            positions = self.detector.structure_positions(keypoints)
            structure = self.structure.encode_source(positions, self.structure_downsample(reduced))
        return Source(
            image=image,
            keypoints=keypoints,
            thumbnail=self.coarse_downsample(reduced),
            features=features,
            contexts=contexts,
            structure=structure,
        )

    def estimate_motion(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> tuple[CoarseMotion, Motion]:
        """Coarse motion, and its refinement; with `coarse_only` and in models of the prior alone, its copies of every size."""
        sizes = [feature.shape[2:] for feature in source.features[: self.config.refinement.iterations]]
        volume = None if coarse_only and self.dense_motion is not None else self._correlate(source, driving)
        coarse = self._coarse_motion(source, driving, volume, background)
        if coarse_only or self.refinement is None or volume is None:
            return coarse, coarse_pyramid(coarse.flow, coarse.occlusion, sizes, self.conventions)
        return coarse, self.refinement(coarse.flow, coarse.occlusion, volume, source.contexts, sizes)

    def _check(self, image: Tensor) -> None:
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"expected images [B, 3, H, W], got {list(image.shape)}")
        self.config.check_image_size(image.shape[2], image.shape[3])

    def _correlate(self, source: Source, driving: Keypoints) -> CorrelationVolume | None:
        if self.structure is None or source.structure is None:
            return None
        height, width = source.structure.shape[2:]
        return CorrelationVolume(
            self.structure.encode_driving(self.detector.structure_positions(driving), (height, width)),
            source.structure,
            radius=self.config.correlation.radius,
            pyramid_levels=self.config.correlation.pyramid_levels,
            conventions=self.conventions,
        )

    def _coarse_motion(
        self, source: Source, driving: Keypoints, volume: CorrelationVolume | None, background: Tensor | None
    ) -> CoarseMotion:
        """Of the prior, or, without one, of the correlation itself (Eq. 8), with nothing known of the occlusion."""
        if self.dense_motion is not None:
            part_flows = self.detector.part_flows(source.keypoints, driving, source.thumbnail.shape[2:], background)
            return self.dense_motion(source.thumbnail, source.keypoints.positions, driving.positions, part_flows)
        assert volume is not None
        flow = volume.attention_flow()
        return CoarseMotion(flow, torch.zeros_like(flow[:, None, :, :, 0]), None)

    def animate(
        self, source: Source, driving: Keypoints, *, coarse_only: bool = False, background: Tensor | None = None
    ) -> Output:
        """The source in the pose of the driving keypoints.

        Args:
            source: of `encode_source`, of batch 1, of the batch of `driving`, or S portraits of B / S frames each, see
                `expand_source`.
            driving: keypoints, `[B, K, 2]`.
            coarse_only: generate from the coarse motion alone, without its refinement.
            background: affine map of the background, `[B, 3, 3]`, from driving to source positions; None: it stands still, as
                it should where driver and portrait were taken at different places.
        """
        source = expand_source(source, driving.positions.shape[0])
        coarse, motion = self.estimate_motion(source, driving, coarse_only=coarse_only, background=background)
        image = self.decoder(source.image, source.features, coarse.flow, motion)
        return Output(image, source.keypoints, driving, coarse, motion, background)

    def follow_background(self, source: Source, image: Tensor, driving: Keypoints) -> Tensor | None:
        """Affine map of the background `[B, 3, 3]` between a source and driving images of the same video; None: it stands still.

        A predicted one moves only while training, as in the authors' released models.

        Args:
            source: of batch 1 or of the batch of `image`.
            image: driving images, `[B, 3, H, W]` in [0, 1].
            driving: their keypoints.
        """
        source = expand_source(source, len(image))
        before, after = self.reduce(source.image), self.reduce(image)
        if self.config.background == "aligned":
            return align_background(before, after, source.keypoints.positions, driving.positions, self.conventions)
        if self.background is not None and self.training:
            return self.background(before, after)
        return None

    def forward(self, source: Tensor, driving: Tensor) -> Output:
        """Animate source images `[B, 3, H, W]` by driving images `[B, 3, H, W]` of the same video, with absolute motion."""
        both = self.detect(torch.cat([source, driving]))
        source_keypoints, driving_keypoints = halves(both)
        encoded = self.encode_source(source, source_keypoints)
        background = self.follow_background(encoded, driving, driving_keypoints)
        return self.animate(encoded, driving_keypoints, background=background)


def _detector(config: NetworkConfig, conventions: Conventions) -> Detector:
    """The detector of the configured prior, of positions alone where there is no prior."""
    detector = config.detector
    if detector.kind == "affine":
        return AffineDetector(detector, conventions, affine=config.motion != "non_prior")
    if detector.kind == "thin_plate":
        return ThinPlateDetector(detector, conventions)
    return TransformerDetector(detector, conventions)


def expand_source(source: Source, batch: int) -> Source:
    """A source of S portraits for `batch` driving frames, S times B, portrait by portrait: a single one without copying.

    Raises:
        ValueError: `batch` is no multiple of S.
    """
    portraits = source.image.shape[0]
    if portraits == batch:
        return source
    if batch % portraits:
        raise ValueError(f"{batch} driving frames for {portraits} portraits: expected as many for each of them")

    def expand(tensor: Tensor) -> Tensor:
        return tensor.expand(batch, *tensor.shape[1:]) if portraits == 1 else tensor.repeat_interleave(batch // portraits, 0)

    affine = source.keypoints.affine
    return Source(
        image=expand(source.image),
        keypoints=Keypoints(expand(source.keypoints.positions), None if affine is None else expand(affine)),
        thumbnail=expand(source.thumbnail),
        features=[expand(feature) for feature in source.features],
        contexts=[expand(context) for context in source.contexts],
        structure=None if source.structure is None else expand(source.structure),
    )
