"""Validated settings of the network: all that decides what its weights are and what it computes from them."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

# The image encoder's lowest resolution, and that of the dense motion network, are those of the image over these.
ENCODER_DIVISOR = 32
COARSE_DIVISOR = 4

# Bounds of what a stranger's file may ask to be built, some times as large as the paper's. WIDEST is of channels.
WIDEST = 4096
MOST_POINTS = 1024
SMALLEST_SIZE = 64
# Side of the correlation volume's maps: one of this side already takes 17 GB for a pair of pictures.
LARGEST_VOLUME = 256

Width = Annotated[int, Field(ge=1, le=WIDEST)]


class Section(BaseModel):
    """A frozen group of settings in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# Keypoints that have a meaning where training drew them to landmarks: `mrfa.faces.landmarks.LANDMARK_GROUPS`.
LANDMARKS = 26


class AffineDetectorConfig(Section):
    """Keypoint detector of the affine prior (paper 3.1)."""

    kind: Literal["affine"] = "affine"
    keypoints: int = Field(10, ge=1, le=MOST_POINTS, description="K, the number of keypoints")
    image_divisor: Literal[1, 2, 4] = Field(4, description="the detector sees the image downsampled by this")
    stem_widths: tuple[Width, ...] = Field((), max_length=6, description="widths of halving blocks in front of the hourglass")
    width: int = Field(32, ge=1, le=WIDEST)
    max_width: int = Field(1024, ge=1, le=WIDEST)
    blocks: int = Field(5, ge=1, le=10)
    residual_levels: int = Field(0, ge=0, le=11, description="sizes of the hourglass, finest first, that get a residual block")
    head_kernel: int = Field(7, ge=1, le=31)
    head_padding: int = Field(0, ge=0, le=15, description="0 as in the paper: the heatmaps are smaller than the features")
    pose_width: int = Field(
        0, ge=0, le=WIDEST, description="width of the correction of affine maps by the whole picture; 0: none"
    )
    temperature: float = Field(0.1, gt=0, le=100)
    layout: Literal["free", "landmarks"] = Field(
        "free", description="landmarks: training drew the first keypoints to facial landmarks, so each has its meaning"
    )

    @model_validator(mode="after")
    def _levels_exist(self) -> "AffineDetectorConfig":
        if self.residual_levels > self.blocks + 1:
            raise ValueError(f"residual_levels is {self.residual_levels}: {self.blocks} blocks have {self.blocks + 1} sizes")
        return self

    @model_validator(mode="after")
    def _landmarks_have_keypoints(self) -> "AffineDetectorConfig":
        if self.layout == "landmarks" and self.keypoints < LANDMARKS:
            raise ValueError(f"layout landmarks needs at least {LANDMARKS} keypoints, got {self.keypoints}")
        return self

    @property
    def parts(self) -> int:
        """Part flows, besides the background's."""
        return self.keypoints

    @property
    def size_divisor(self) -> int:
        """Both sides of the detector's images are multiples of this."""
        return self.image_divisor * 2 ** (len(self.stem_widths) + self.blocks)


class ThinPlateDetectorConfig(Section):
    """Keypoint detector of the thin-plate-spline prior (paper 3.1)."""

    kind: Literal["thin_plate"] = "thin_plate"
    groups: int = Field(10, ge=1, le=MOST_POINTS, description="K, the number of splines")
    points: int = Field(5, ge=3, le=256, description="keypoints that control each spline")
    width: int = Field(64, ge=1, le=WIDEST, description="channels of the ResNet's first stage, at least 16")

    @model_validator(mode="after")
    def _trains_safely(self) -> "ThinPlateDetectorConfig":
        if self.width < 16:
            raise ValueError(
                f"width must be at least 16, got {self.width}: on a CPU, oneDNN writes past its memory in the backward pass of "
                "narrower strided 1x1 convolutions (uxlfoundation/oneDNN#6035)"
            )
        return self

    @property
    def keypoints(self) -> int:
        """Positions that the detector gives."""
        return self.groups * self.points

    @property
    def parts(self) -> int:
        """Part flows, besides the background's."""
        return self.groups

    @property
    def size_divisor(self) -> int:
        """Both sides of the detector's images are multiples of this; a ResNet takes all sizes."""
        return 1


class TransformerDetectorConfig(Section):
    """Keypoint detector of the motion-transformer prior (paper 3.1)."""

    kind: Literal["transformer"] = "transformer"
    keypoints: int = Field(10, ge=1, le=MOST_POINTS, description="K, the number of keypoints")
    width: int = Field(192, ge=4, le=WIDEST, description="of the tokens")
    layers: int = Field(12, ge=1, le=128)
    heads: int = Field(8, ge=1, le=256)
    hidden: int = Field(576, ge=1, le=4 * WIDEST, description="width inside the layers' perceptrons")
    patch: int = Field(4, ge=1, le=64, description="side of the patches, in pixels of the trunk's features")
    trunk_widths: tuple[Width, Width, Width] = Field((32, 64, 128), description="channels at H/4, H/8 and H/16")
    trunk_stem_width: int = Field(64, ge=1, le=WIDEST)

    @property
    def parts(self) -> int:
        """Part flows, besides the background's."""
        return self.keypoints

    @property
    def size_divisor(self) -> int:
        """Both sides of the detector's images are multiples of this."""
        # The trunk's lowest branch is at H/16.
        return math.lcm(4 * self.patch, 16)

    @model_validator(mode="after")
    def _width_divides(self) -> "TransformerDetectorConfig":
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width must be a multiple of 4 and of heads ({self.heads}), got {self.width}")
        return self


def _detector_kind(value: Any) -> str:
    """Detectors without a kind are affine, as all were once."""
    return str(value.get("kind", "affine") if isinstance(value, dict) else getattr(value, "kind", "affine"))


DETECTOR_KINDS = ("affine", "thin_plate", "transformer")
DetectorConfig = Annotated[
    Annotated[AffineDetectorConfig, Tag("affine")]
    | Annotated[ThinPlateDetectorConfig, Tag("thin_plate")]
    | Annotated[TransformerDetectorConfig, Tag("transformer")],
    Discriminator(
        _detector_kind,
        custom_error_type="detector_kind",
        custom_error_message=f"kind must be one of {', '.join(DETECTOR_KINDS)}",
    ),
]


class CoarseConfig(Section):
    """Dense motion network of the prior (paper 3.1), at a quarter of the size of the pictures that it sees."""

    width: int = Field(64, ge=1, le=WIDEST)
    max_width: int = Field(1024, ge=1, le=WIDEST)
    blocks: int = Field(5, ge=1, le=10)
    head_kernel: int = Field(7, ge=1, le=31)
    heatmap_variance: float = Field(0.01, gt=0, le=10)


class CorrelationConfig(Section):
    """Structure encoders and correlation volume (paper 3.2)."""

    image_divisor: Literal[4, 8] = Field(4, description="the volume lives at the image size divided by this")
    width: int = Field(32, ge=1, le=WIDEST)
    max_width: int = Field(512, ge=1, le=WIDEST)
    blocks: int = Field(5, ge=1, le=10)
    source_image: bool = Field(True, description="false: Table 4, the source encoder sees keypoints alone")
    channels: int = Field(256, ge=1, le=WIDEST)
    heatmap_variance: float = Field(0.1, gt=0, le=10)
    embedding_size: int = Field(64, ge=1, le=512, description="side of the learned position embedding, resized to the volume's")
    radius: int = Field(3, ge=0, le=16)
    pyramid_levels: int = Field(1, ge=0, le=6, description="P: pooled levels beyond the volume itself")


class RefinementConfig(Section):
    """Flow updater and its iterations (paper 3.2)."""

    iterations: int = Field(
        6, ge=3, le=7, description="N: resolutions from 1/32 of the image on, doubling; with a detail level from 1/64 on, up to 7"
    )
    correlation_widths: tuple[Width, Width] = (128, 96)
    flow_widths: tuple[Width, Width] = (128, 64)
    motion_width: int = Field(126, ge=1, le=WIDEST)
    context_width: int = Field(192, ge=1, le=WIDEST)
    warped_width: int = Field(128, ge=1, le=WIDEST)
    head_width: int = Field(128, ge=1, le=WIDEST)
    update_flow: bool = Field(True, description="false: Table 4, without flow update")
    update_occlusion: bool = Field(True, description="false: Table 4, without occlusion update")
    warped_feature: bool = Field(True, description="false: Table 4, the updater sees no warped source feature")

    @model_validator(mode="after")
    def _refines_something(self) -> "RefinementConfig":
        if not (self.update_flow or self.update_occlusion):
            raise ValueError("update_flow and update_occlusion are both off, which refines nothing: set motion to prior_only")
        return self


class GeneratorConfig(Section):
    """Image generator (paper 3.3)."""

    widths: tuple[Width, Width, Width, Width, Width, Width] = Field(
        (64, 128, 256, 512, 512, 512), description="from H down to H/32"
    )
    detail_width: int = Field(
        0, ge=0, le=WIDEST, description="of one level more, at the full size: all else then works at half of it; 0: none"
    )
    outer_kernel: int = Field(7, ge=1, le=31, description="kernel of the first and the last convolution")
    upsampling: Literal["nearest", "bilinear"] = Field("nearest", description="in the decoder; bilinear leaves no comb behind")
    coarse_path: bool = Field(True, description="merge in the coarsely warped features of each level")
    image_blend: Literal["none", "occlusion", "predicted"] = Field(
        "occlusion", description="mix of output and warped source image: by the last occlusion map, or by a mask of its own"
    )


class NetworkConfig(Section):
    """Everything that decides the shapes of the network's weights."""

    image_size: int = Field(256, ge=SMALLEST_SIZE, le=2048)
    coordinates: Literal["half_pixel", "corner_aligned", "official"] = Field(
        "half_pixel",
        description="how positions are read: for new models; for models trained with corner-aligned grids; or as the authors' "
        "released weights need it, see docs/paper-to-code.md",
    )
    motion: Literal["refined", "prior_only", "non_prior"] = Field(
        "refined", description="refined prior; the prior alone; or refinement from the correlation's own flow (Eq. 8)"
    )
    background: Literal["still", "predicted", "aligned"] = Field(
        "still",
        description="motion of the background within one video: none; predicted by a ResNet-18, while training alone; or "
        "found by aligning both pictures",
    )
    detector: DetectorConfig = AffineDetectorConfig()
    coarse: CoarseConfig = CoarseConfig()
    correlation: CorrelationConfig = CorrelationConfig()
    refinement: RefinementConfig = RefinementConfig()
    generator: GeneratorConfig = GeneratorConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> "NetworkConfig":
        self.check_image_size(self.image_size, self.image_size)
        reason = self._contradiction()
        if reason:
            raise ValueError(reason)
        return self

    def _contradiction(self) -> str | None:
        """Why the parts do not go together; None where they do."""
        levels = len(self.feature_widths)
        if self.refinement.iterations > levels:
            return f"refinement.iterations must be at most {levels}, as there is no level more: generator.detail_width adds one"
        # Corner-aligned grids of a single pixel have no size.
        if self.image_size < SMALLEST_SIZE * self.reduction:
            return f"image_size must be at least {SMALLEST_SIZE * self.reduction} with generator.detail_width"
        largest = LARGEST_VOLUME * self.correlation.image_divisor * self.reduction
        if self.motion != "prior_only" and self.image_size > largest:
            return f"image_size must be at most {largest} with correlation.image_divisor {self.correlation.image_divisor}"
        if self.motion == "prior_only":
            switches = {
                "refinement.update_flow": self.refinement.update_flow,
                "refinement.update_occlusion": self.refinement.update_occlusion,
                "refinement.warped_feature": self.refinement.warped_feature,
                "correlation.source_image": self.correlation.source_image,
            }
            off = [name for name, value in switches.items() if not value]
            if off:
                return f"motion prior_only has no refinement for {off[0]} to change: leave it out"
        if self.motion == "non_prior":
            if self.detector.kind != "affine":
                return f"motion non_prior needs positions alone: detector.kind must be affine, not {self.detector.kind}"
            if self.detector.pose_width:
                return "motion non_prior has no affine maps to correct: set detector.pose_width to 0"
            if self.background != "still":
                return "motion non_prior has no part flows, so no background that moves: set background to still"
        return None

    @property
    def reduction(self) -> int:
        """All but the generator's detail level sees the images at their size over this."""
        return 2 if self.generator.detail_width else 1

    @property
    def keypoint_size(self) -> tuple[int, int]:
        """Sides (h, w) of the pictures in which keypoints are found: in corner-aligned positions that makes a difference."""
        return (self.image_size // self.reduction,) * 2

    @property
    def feature_widths(self) -> list[int]:
        """Channels of the source features, lowest resolution first."""
        detail = [self.generator.detail_width] if self.generator.detail_width else []
        return [*self.generator.widths[::-1], *detail]

    @property
    def size_divisor(self) -> int:
        """Both sides of the network's images are multiples of this: every halving and patch then comes out even."""
        divisors = [ENCODER_DIVISOR, self.detector.size_divisor]
        if self.motion != "non_prior":
            divisors.append(COARSE_DIVISOR * 2**self.coarse.blocks)
        if self.motion != "prior_only":
            # The last level of the pyramid still has two positions a side.
            halvings = max(self.correlation.blocks, self.correlation.pyramid_levels + 1)
            divisors.append(self.correlation.image_divisor * 2**halvings)
        return math.lcm(*divisors) * self.reduction

    def check_image_size(self, height: int, width: int) -> None:
        """Check that the network can run at an image size.

        Raises:
            ValueError: a side is no multiple of `size_divisor`.
        """
        divisor = self.size_divisor
        if height % divisor or width % divisor or not height or not width:
            raise ValueError(f"both sides of the network's images must be multiples of {divisor}, got {width}x{height}")
