"""Settings of a training, and how a whole configuration, network and training, is put together."""

import math
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mrfa.config import explain, read_settings
from mrfa.errors import InputError
from mrfa.network.config import NetworkConfig, Section


class GuidanceConfig(Section):
    """Keypoints drawn to facial landmarks while training (see docs/training.md); at run time no landmarks are used."""

    weight: float = Field(0.0, ge=0, description="0: keypoints stay unsupervised")
    opening_weight: float = Field(0.0, ge=0, description="the same for the distances of lids and of lips")
    region_weight: float = Field(1.0, ge=1, description="image loss around eyes and lips, relative to elsewhere")
    surround_weight: float = Field(0.0, ge=0, description="first free keypoints drawn near places around the face")
    detector_steps: int = Field(0, ge=0, description="first steps in which the detector alone learns the landmarks")


class AdversarialConfig(Section):
    """Adversarial image loss, not in the paper: for sharpness, late in training."""

    weight: float = Field(0.0, ge=0, description="0: no discriminator")
    feature_weight: float = Field(0.0, ge=0, description="feature matching")
    warmup_steps: int = Field(200, ge=0, description="first steps in which only the discriminator learns from it")
    rate: float = Field(1.0, gt=0, description="learning rate of the discriminators, as a multiple of the network's")
    away_weight: float = Field(1.0, gt=0, le=1, description="importance of what lies away from the face, which itself has 1")


class TeacherConfig(Section):
    """A trained model that shows a smaller network the motion (see docs/training.md)."""

    model: str | None = Field(None, description="model folder or name of a bundled model; None: no teacher")
    keypoint_weight: float = Field(20.0, ge=0, description="distance to its keypoints")
    flow_weight: float = Field(5.0, ge=0, description="distance of coarse and last flow to the flow that it ends with")


class CrossIdentityConfig(Section):
    """Portraits driven by other people while training; see docs/training.md. The weights are of losses on these pictures."""

    share: float = Field(0.0, ge=0, le=1, description="of the batch's portraits that the next pair drives, too; 0: none")
    keypoint_weight: float = Field(0.0, ge=0, description="the detector finds the keypoints that were given")
    identity_weight: float = Field(0.0, ge=0, description="a descriptor finds the portrait's person")
    identity_weights: str | None = Field(None, description="the descriptor's weights file, of benchmarks/identity_network.py")
    adversarial_weight: float = Field(0.0, ge=0, description="the discriminators of `adversarial` believe them")

    @model_validator(mode="after")
    def _descriptor_has_weights(self) -> "CrossIdentityConfig":
        if self.share and self.identity_weight and self.identity_weights is None:
            raise ValueError("identity_weight needs the descriptor's weights file: name it as identity_weights")
        return self


class ObjectiveConfig(Section):
    """Training objective (paper 3.4) with its weights."""

    image: Literal["perceptual", "pyramid"] = Field(
        "perceptual", description="VGG-19 perceptual loss (Eq. 11), or a Laplacian-pyramid and SSIM loss that needs no weights"
    )
    vgg_weights: str | None = Field(None, description="VGG-19 weights in torchvision's format; None: torch.hub")
    image_weight: float = 10.0
    perceptual_weight: float = Field(0.0, ge=0, description="of EfficientNet-lite0's features, beside the image loss")
    efficientnet_weights: str | None = Field(None, description="its weights file; None: that of the installed package")
    pixel_weight: float = Field(1.0, ge=0, description="of the pyramid loss's plain L1, beside its bands")
    uncovered_weight: float = Field(
        1.0, ge=1, description="image loss where a person was in the source picture and none is now, relative to elsewhere"
    )
    coarse_image_weight: float = Field(0.0, ge=0, description="image loss on the source warped by every flow")
    consistency_weight: float = Field(0.0, ge=0, description="keypoints of the generated picture at those of the driving frame")
    detector_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the pairs whose transformed and generated pictures the detector, and at which the teacher looks",
    )
    equivariance_weight: float = 10.0
    affine_equivariance_weight: float = 10.0
    background_weight: float = Field(10.0, ge=0, description="for networks that predict the background's motion")
    guidance: GuidanceConfig = GuidanceConfig()
    teacher: TeacherConfig = TeacherConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    cross_identity: CrossIdentityConfig = CrossIdentityConfig()

    @model_validator(mode="after")
    def _discriminators_are_there(self) -> "ObjectiveConfig":
        if self.cross_identity.share and self.cross_identity.adversarial_weight and not self.adversarial.weight:
            raise ValueError("cross_identity.adversarial_weight needs discriminators: set adversarial.weight, too")
        return self

    @property
    def needs_landmarks(self) -> bool:
        """Whether a loss looks at facial landmarks or at where the face is."""
        looks_at_face = self.adversarial.weight > 0 and self.adversarial.away_weight < 1
        guided = self.guidance.weight > 0 or self.guidance.region_weight > 1
        return guided or looks_at_face or self.cross_identity.share > 0


class StillsConfig(Section):
    """How a still becomes a pair: its driving picture shows the head turned in space and bent."""

    turn: float = Field(15.0, ge=0, le=45, description="degrees to a side, at most; 0.7 of it up and down, 0.4 to a shoulder")
    shift: float = Field(0.03, ge=0, le=0.2, description="of the head before its background, a share of the image side, at most")
    bend: float = Field(0.01, ge=0, description="smooth random deformation, as `bend` of the whole pair")


class BackgroundsConfig(Section):
    """Pairs whose people stand before another background, one that stays where it is; see `mrfa.training.backgrounds`."""

    share: float = Field(0.0, ge=0, le=1, description="of the pairs")
    shift: float = Field(0.12, ge=0, le=0.5, description="of one person before it, a share of the image side, at most")
    scale: float = Field(0.15, ge=0, lt=1, description="of the same person, relative, at most")


class DegradationConfig(Section):
    """Shares of pictures that are made worse, source and driving picture each for itself; see `mrfa.training.degradation`."""

    blur: float = Field(0.0, ge=0, le=1)
    resolution: float = Field(0.0, ge=0, le=1, description="low, then enlarged")
    light: float = Field(0.0, ge=0, le=1, description="from one side, and tinted")
    noise: float = Field(0.0, ge=0, le=1)
    banding: float = Field(0.0, ge=0, le=1, description="few grey levels, half of them dithered")
    compression: float = Field(0.0, ge=0, le=1, description="by quantised cosine transforms, as JPEG and video have them")

    @property
    def any(self) -> bool:
        """Whether there is something to do."""
        return any(share > 0 for share in self.model_dump().values())


class AugmentationConfig(Section):
    """Augmentation of a pair of frames; the same draw for both unless said otherwise."""

    horizontal_flip: bool = True
    time_flip: bool = True
    colour_jitter: float = Field(0.1, ge=0, description="brightness, contrast and saturation, at most")
    hue: float | None = Field(None, ge=0, le=0.5, description="share of a whole turn, at most; None: as colour_jitter")
    colour_mix: float = Field(0.0, ge=0, description="standard deviation of a random mixing of the colour channels")
    rotation: float = Field(0.0, ge=0, description="degrees, at most")
    scale: float = Field(0.0, ge=0, lt=1, description="relative, at most")
    shift: float = Field(0.0, ge=0, description="share of the image side, at most")
    bend: float = Field(
        0.0,
        ge=0,
        description="smooth random deformation of the face's proportions, its standard deviation as a share of half the side",
    )
    apart: float = Field(
        0.0, ge=0, le=1, description="share of rotation, scale and shift that each of both frames has for itself"
    )
    stills: StillsConfig = StillsConfig()
    backgrounds: BackgroundsConfig = BackgroundsConfig()
    degradation: DegradationConfig = DegradationConfig()


class SamplingConfig(Section):
    """Which pairs are drawn; the people of a data set are drawn alike, however many clips they have."""

    weights: tuple[float, ...] = Field((), description="how often a person of each --data is drawn, in turn; 1 where not given")
    stills: float = Field(0.25, ge=0, le=1, description="share of pairs made of stills, where there are both stills and clips")

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < weight < math.inf for weight in weights):
            raise ValueError("weights have to be above 0: leave a data set out that shall not be drawn")
        return weights


class PartDropoutConfig(Section):
    """Dropout of part flows while training, for the thin-plate prior: no few of them shall do all the work."""

    first: float = Field(0.0, ge=0, lt=1, description="probability at the start")
    peak: float = Field(0.0, ge=0, lt=1, description="probability after the rise; 0 for both: no dropout")
    rise: float = Field(0.1, gt=0, le=1, description="share of the training in which it rises")
    until: float = Field(0.35, ge=0, le=1, description="share of the training after which there is none")


class TrainingConfig(Section):
    """Schedule, batch, precision and data settings."""

    image_size: int = Field(256, ge=64, description="side of the training pictures")
    batch_size: int = Field(80, ge=1, description="pairs a step, over all devices")
    steps: int | None = Field(None, ge=1, description="length in steps; None: by epochs")
    epochs: int = Field(100, ge=1)
    pairs_per_identity: int = Field(75, ge=1, description="how often each identity is drawn in an epoch")
    learning_rate: float = Field(2e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    milestones: tuple[float, ...] = Field((0.6, 0.9), description="shares of the training after which the rate drops tenfold")
    gradient_clip: float = Field(10.0, gt=0)
    clipping: Literal["total", "prior"] = Field(
        "total", description="by the 2-norm of all gradients, or each of detector, dense motion and background by its largest"
    )
    part_dropout: PartDropoutConfig = PartDropoutConfig()
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: int = Field(4, ge=0)
    resident: bool = Field(False, description="keep all frames in the device's memory, for data sets that fit there")
    average: float = Field(0.0, ge=0, lt=1, description="decay a step of the averaged weights to keep; 0: keep the last weights")
    compile: bool = Field(False, description="torch.compile the network: minutes at the start, then faster steps on a GPU")
    cuda_graph: bool = Field(
        False, description="record the step as one CUDA graph: a GPU need not wait for its kernels' launches"
    )
    checkpoint_activations: bool = Field(
        False, description="compute the refinement again in the backward pass: a slower step in less memory"
    )
    seed: int = 0
    objective: ObjectiveConfig = ObjectiveConfig()
    sampling: SamplingConfig = SamplingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()

    @property
    def needs_people(self) -> bool:
        """Whether something asks where in the pictures people are."""
        return self.augmentation.backgrounds.share > 0 or self.objective.uncovered_weight > 1


class Config(Section):
    """A whole configuration, as a preset or a settings file has it."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _training_size_fits(self) -> "Config":
        self.network.check_image_size(self.training.image_size, self.training.image_size)
        return self

    @model_validator(mode="after")
    def _guided_keypoints_have_names(self) -> "Config":
        detector = self.network.detector
        named = detector.kind == "affine" and detector.layout == "landmarks"
        if self.training.objective.guidance.weight and not named:
            raise ValueError(
                "training.objective.guidance draws the first keypoints to facial landmarks: "
                "say so by network.detector.layout: landmarks (of a detector of kind affine), or set its weight to 0"
            )
        if self.training.objective.cross_identity.share and not (named and self.network.motion != "non_prior"):
            raise ValueError(
                "training.objective.cross_identity tells a driver's face from its expression, which takes keypoints at facial "
                "landmarks, with maps: network.detector.layout: landmarks, and a prior; or set its share to 0"
            )
        return self


def load_config(name: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a configuration.

    Args:
        name: preset name, YAML file, or model folder.
        overrides: values by dotted key, such as `{"training.steps": 100}`.

    Raises:
        InputError: unknown name, unreadable YAML, unknown key or impossible value.
    """
    values, origin = read_settings(name, overrides)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{origin}: {explain(error)}") from None


def dump_config(config: Config) -> str:
    """YAML text of a configuration, all values included; `load_config` reads it."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def dump_training(config: Config) -> str:
    """YAML text of the training section alone, as it stands in a model folder."""
    return yaml.safe_dump({"training": config.training.model_dump(mode="json")}, sort_keys=False)
