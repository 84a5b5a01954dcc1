"""Validated configurations and the presets that ship with the package.

A configuration is a YAML file with up to two sections, `network` and `training`. Unknown keys are errors. `load_config` takes
the name of a preset, a YAML file or a model folder.
"""

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mrfa.errors import InputError


class Section(BaseModel):
    """A frozen group of settings in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DetectorConfig(Section):
    """Affine keypoint detector (paper 3.1)."""

    keypoints: int = Field(10, ge=1, description="K, the number of keypoints")
    image_divisor: Literal[1, 2, 4] = Field(4, description="the detector sees the image downsampled by this")
    stem_widths: tuple[int, ...] = Field((), description="widths of halving blocks in front of the hourglass")
    width: int = Field(32, ge=1)
    max_width: int = Field(1024, ge=1)
    blocks: int = Field(5, ge=1)
    head_kernel: int = Field(7, ge=1)
    head_padding: int = Field(0, ge=0, description="0 as in the paper: the heatmaps are smaller than the features")
    temperature: float = Field(0.1, gt=0)


class CoarseConfig(Section):
    """Dense motion network of the prior (paper 3.1), at a quarter of the image size."""

    width: int = Field(64, ge=1)
    max_width: int = Field(1024, ge=1)
    blocks: int = Field(5, ge=1)
    head_kernel: int = Field(7, ge=1)
    heatmap_variance: float = Field(0.01, gt=0)


class CorrelationConfig(Section):
    """Structure encoders and correlation volume (paper 3.2)."""

    image_divisor: Literal[4, 8] = Field(4, description="the volume lives at the image size divided by this")
    width: int = Field(32, ge=1)
    max_width: int = Field(512, ge=1)
    blocks: int = Field(5, ge=1)
    channels: int = Field(256, ge=1)
    heatmap_variance: float = Field(0.1, gt=0)
    embedding_size: int = Field(64, ge=1, description="side of the learned position embedding, resized to the volume's")
    radius: int = Field(3, ge=0)
    pyramid_levels: int = Field(1, ge=0, description="P: pooled levels beyond the volume itself")


class RefinementConfig(Section):
    """Flow updater and its iterations (paper 3.2)."""

    iterations: int = Field(6, ge=3, le=6, description="N: resolutions from 1/32 of the image on, doubling")
    correlation_widths: tuple[int, int] = (128, 96)
    flow_widths: tuple[int, int] = (128, 64)
    motion_width: int = Field(126, ge=1)
    context_width: int = Field(192, ge=1)
    warped_width: int = Field(128, ge=1)
    head_width: int = Field(128, ge=1)
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

    widths: tuple[int, int, int, int, int, int] = Field((64, 128, 256, 512, 512, 512), description="from H down to H/32")
    outer_kernel: int = Field(7, ge=1, description="kernel of the first and the last convolution")
    coarse_path: bool = Field(True, description="merge in the coarsely warped features of each level")
    image_blend: Literal["none", "occlusion", "predicted"] = Field(
        "occlusion", description="mix of output and warped source image: by the last occlusion map, or by a mask of its own"
    )


class NetworkConfig(Section):
    """Everything that decides the shapes of the network's weights."""

    image_size: int = Field(256, ge=64)
    compatibility: Literal["none", "official"] = Field(
        "none", description="official: coordinates as the authors' released weights need them, see docs/paper-to-code.md"
    )
    motion: Literal["refined", "prior_only", "non_prior"] = Field(
        "refined", description="refined prior; the prior alone; or refinement from the correlation's own flow (Eq. 8)"
    )
    detector: DetectorConfig = DetectorConfig()
    coarse: CoarseConfig = CoarseConfig()
    correlation: CorrelationConfig = CorrelationConfig()
    refinement: RefinementConfig = RefinementConfig()
    generator: GeneratorConfig = GeneratorConfig()

    @model_validator(mode="after")
    def _sizes_fit(self) -> "NetworkConfig":
        self.check_image_size(self.image_size)
        return self

    def check_image_size(self, size: int) -> None:
        """Raise ValueError where the network cannot run at an image size."""
        detector, coarse, correlation = self.detector, self.coarse, self.correlation
        halvings = {
            "detector": (detector.image_divisor, len(detector.stem_widths) + detector.blocks),
            "coarse": (4, coarse.blocks),
            "correlation": (correlation.image_divisor, correlation.blocks),
        }
        if size % 32:
            raise ValueError(f"the image size must be a multiple of 32, got {size}")
        for part, (divisor, blocks) in halvings.items():
            if size < divisor * 2**blocks:
                raise ValueError(f"an image size of {size} is too small for the {part}'s {blocks} halvings")


class GuidanceConfig(Section):
    """Keypoints drawn to facial landmarks while training (see docs/training.md); at run time no landmarks are used."""

    weight: float = Field(0.0, ge=0, description="0: keypoints stay unsupervised")
    opening_weight: float = Field(0.0, ge=0, description="the same for the distances of lids and of lips")
    region_weight: float = Field(1.0, ge=1, description="image loss around eyes and lips, relative to elsewhere")
    detector_steps: int = Field(0, ge=0, description="first steps in which the detector alone learns the landmarks")


class AdversarialConfig(Section):
    """Adversarial image loss, not in the paper: for sharpness, late in training."""

    weight: float = Field(0.0, ge=0, description="0: no discriminator")
    feature_weight: float = Field(0.0, ge=0, description="feature matching")
    warmup_steps: int = Field(200, ge=0, description="first steps in which only the discriminator learns from it")


class ObjectiveConfig(Section):
    """Training objective (paper 3.4) with its weights."""

    image: Literal["perceptual", "pyramid"] = Field(
        "perceptual", description="VGG-19 perceptual loss (Eq. 11), or a Laplacian-pyramid and SSIM loss that needs no weights"
    )
    vgg_weights: str | None = Field(None, description="VGG-19 weights in torchvision's format; None: torch.hub")
    image_weight: float = 10.0
    coarse_image_weight: float = Field(0.0, ge=0, description="image loss on the source warped by every flow")
    equivariance_weight: float = 10.0
    affine_equivariance_weight: float = 10.0
    guidance: GuidanceConfig = GuidanceConfig()
    adversarial: AdversarialConfig = AdversarialConfig()


class AugmentationConfig(Section):
    """Augmentation of a pair of frames; the same draw for both unless said otherwise."""

    horizontal_flip: bool = True
    time_flip: bool = True
    colour_jitter: float = Field(0.1, ge=0, description="brightness, contrast, saturation and hue")
    colour_mix: float = Field(0.0, ge=0, description="standard deviation of a random mixing of the colour channels")
    rotation: float = Field(0.0, ge=0, description="degrees, at most")
    scale: float = Field(0.0, ge=0, lt=1, description="relative, at most")
    shift: float = Field(0.0, ge=0, description="share of the image side, at most")
    bend: float = Field(0.0, ge=0, description="smooth random deformation that changes the face's proportions, share of the side")


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
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: int = Field(4, ge=0)
    resident: bool = Field(False, description="keep all frames in the device's memory, for data sets that fit there")
    seed: int = 0
    objective: ObjectiveConfig = ObjectiveConfig()
    augmentation: AugmentationConfig = AugmentationConfig()


class Config(Section):
    """A preset or a model's `config.yaml`."""

    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _training_size_fits(self) -> "Config":
        self.network.check_image_size(self.training.image_size)
        return self


def preset_names() -> list[str]:
    """Names of the presets in the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _preset_folder().iterdir() if entry.name.endswith(".yaml"))


def load_config(name: str | Path, overrides: dict[str, Any] | None = None) -> Config:
    """Read a configuration.

    Args:
        name: preset name, YAML file, or model folder with a `config.yaml`.
        overrides: values by dotted key, such as `{"training.steps": 100}`.

    Raises:
        InputError: unknown name, unreadable YAML, unknown key or impossible value.
    """
    text, origin = _read(name)
    try:
        values = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{origin} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InputError(f"{origin} must hold the sections 'network' and 'training'")
    for key, value in (overrides or {}).items():
        _set(values, key.split("."), value)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{origin}: {_explain(error)}") from None


def dump_config(config: Config) -> str:
    """YAML text of a configuration, all values included."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def parse_overrides(assignments: list[str]) -> dict[str, Any]:
    """`["training.steps=100"]` to `{"training.steps": 100}`; values are read as YAML.

    Raises:
        InputError: an assignment without `=`.
    """
    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"cannot read the setting '{assignment}': write KEY=VALUE, such as training.batch_size=8")
        values[key.strip()] = yaml.safe_load(text)
    return values


def _preset_folder():  # type: ignore[no-untyped-def]
    return resources.files("mrfa") / "presets"


def _read(name: str | Path) -> tuple[str, str]:
    path = Path(name)
    if path.is_dir():
        path = path / "config.yaml"
    if path.is_file():
        return path.read_text(), str(path)
    preset = _preset_folder() / f"{name}.yaml"
    if preset.is_file():
        return preset.read_text(), f"preset {name}"
    raise InputError(f"no configuration '{name}': give a YAML file, a model folder or one of {', '.join(preset_names())}")


def _set(values: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise InputError(f"the setting '{key}' holds a value, not a section")
    values[keys[-1]] = value


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    what = "unknown key" if first["type"] == "extra_forbidden" else first["msg"]
    return f"{where}: {what}" if where else what
