"""The file of a study: which variants are trained, with which settings and seeds.

```yaml
base: paper-affine                      # preset, YAML file or model folder
settings: {training.steps: 1000}        # of every variant, by dotted keys
seeds: [0]
table: 3                                # lay the rows out as this table of the paper; variants bear its rows' keys
evaluation: {frames_per_clip: 6}
compare: {affine-npmr: affine}          # a variant: what it is compared with, person by person
variants:
  affine: {settings: {network.motion: prior_only}, seeds: [0, 1]}
  affine-npmr: {}
```
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from mrfa.config import explain
from mrfa.errors import InputError
from mrfa.network.config import Section
from mrfa.training.config import Config, load_config

Seeds = tuple[int, ...]


class Variant(Section):
    """What makes one variant different from the others."""

    base: str | None = Field(None, description="preset, YAML file or model folder; None: the study's")
    settings: dict[str, Any] = Field({}, description="values by dotted key, over the common ones")
    seeds: Seeds | None = Field(None, min_length=1, description="None: the study's")


class Measuring(Section):
    """How trained models are measured: on evenly spaced frames of every test clip, driven from its first frame."""

    frames_per_clip: int = Field(6, ge=0, description="0: all")
    metrics: tuple[str, ...] = Field(
        ("L1", "PSNR", "SSIM", "face L1", "AKD (mediapipe)", "mouth opening (mediapipe)", "eye opening (mediapipe)"), min_length=1
    )


class Study(Section):
    """A whole study."""

    base: str
    settings: dict[str, Any] = {}
    seeds: Seeds = Field((0,), min_length=1)
    table: Literal[3, 4, 5, 6] | None = Field(None, description="the paper's ablation whose rows the variants are")
    evaluation: Measuring = Measuring()
    compare: dict[str, str] = Field({}, description="variant to the one that it is compared with, person by person")
    variants: dict[str, Variant] = Field(min_length=1)

    @field_validator("variants")
    @classmethod
    def _names_are_file_names(cls, variants: dict[str, Variant]) -> dict[str, Variant]:
        for name in variants:
            if not re.fullmatch(r"[\w][\w.+-]*", name):
                raise ValueError(f"the variant '{name}' names a folder: use letters, digits, - and _")
        return variants

    @model_validator(mode="after")
    def _compared_exist(self) -> "Study":
        for name in (*self.compare, *self.compare.values()):
            if name not in self.variants:
                raise ValueError(f"compare names '{name}', which is none of the variants")
        return self


class Run(NamedTuple):
    """One training: a variant with one seed."""

    variant: str
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """Of the run's folder."""
        return f"{self.variant}-seed{self.seed}"


def load_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        InputError: no such file, no valid YAML, an unknown key or an impossible value.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the study {path}: {error}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is no study: it must hold 'base' and 'variants'")
    # A variant that changes nothing may be left empty.
    if isinstance(values.get("variants"), dict):
        values["variants"] = {str(name): value or {} for name, value in values["variants"].items()}
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from None


def plan_runs(study: Study, overrides: Mapping[str, Any] | None = None) -> list[Run]:
    """All runs, first seeds first, so that a study that is stopped early has as many variants as possible.

    Args:
        study: the study.
        overrides: settings by dotted key that win over the study's.

    Raises:
        InputError: a variant's settings contradict each other or name unknown keys.
    """
    numbered = []
    for position, (name, variant) in enumerate(study.variants.items()):
        for number, seed in enumerate(variant.seeds or study.seeds):
            numbered.append((number, position, Run(name, seed, _configure(study, name, seed, overrides or {}))))
    return [run for _, _, run in sorted(numbered, key=lambda item: item[:2])]


def chosen_runs(runs: Sequence[Run], *, variants: str | None, seeds: str | None) -> list[Run]:
    """The runs of some variants and seeds, named between commas; None: of all.

    Raises:
        InputError: no run has such a variant or seed.
    """
    for text, known in ((variants, {run.variant for run in runs}), (seeds, {str(run.seed) for run in runs})):
        unknown = [name for name in _names(text) if name not in known]
        if unknown:
            raise InputError(f"the study has no '{unknown[0]}': choose among {', '.join(sorted(known))}")
    return [
        run
        for run in runs
        if (variants is None or run.variant in _names(variants)) and (seeds is None or str(run.seed) in _names(seeds))
    ]


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",")]


def _configure(study: Study, name: str, seed: int, overrides: Mapping[str, Any]) -> Config:
    variant = study.variants[name]
    settings = {**study.settings, **variant.settings, **overrides, "training.seed": seed}
    try:
        return load_config(variant.base or study.base, settings)
    except InputError as error:
        raise InputError(f"variant {name}: {error}") from None
