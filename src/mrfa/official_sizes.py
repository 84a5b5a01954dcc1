"""The sizes of an official checkpoint's network, read off its tensors."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mrfa.errors import InputError
from mrfa.network.config import NetworkConfig


def network_config(state: Mapping[str, Tensor], prior: str, *, prior_only: bool) -> NetworkConfig:
    """Configuration of the network that a checkpoint's weights fit, its names without `module.`.

    Raises:
        InputError: a weight that tells a size is missing, or has a shape that no model has.
    """
    sizes = _Sizes(state)
    try:
        values: dict[str, Any] = {
            "image_size": sizes.image_size(),
            "coordinates": "official",
            "motion": "prior_only" if prior_only else "refined",
            "background": "predicted" if sizes.has("bg_predictor") else "still",
            "detector": _DETECTORS[prior](sizes),
            "coarse": sizes.hourglass("dense_motion.hourglass")
            | {"head_kernel": sizes.shape(f"dense_motion.{'maps' if prior == 'tps' else 'mask'}.weight")[-1]},
            "generator": sizes.generator(),
        }
        if not prior_only:
            values |= {"correlation": sizes.correlation(), "refinement": sizes.refinement()}
        return NetworkConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(f"the checkpoint's shapes fit no model: {where}: {first['msg']}") from None
    except (ValueError, IndexError, ZeroDivisionError):
        raise InputError("the checkpoint's shapes fit no model: a weight has too few dimensions") from None


class _Sizes:
    """Reads sizes off the shapes of weights."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.state = state

    def has(self, prefix: str) -> bool:
        return any(name.startswith(f"{prefix}.") for name in self.state)

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self.state:
            raise InputError(f"the checkpoint does not fit the model: it lacks {name}")
        return tuple(self.state[name].shape)

    def count(self, prefix: str) -> int:
        """How many numbered modules there are under a name."""
        depth = prefix.count(".") + 1
        numbers = {name.split(".")[depth] for name in self.state if name.startswith(f"{prefix}.")}
        return len(numbers)

    def image_size(self) -> int:
        """Four times the side of the learned position embedding; where there is none, the size of all released models."""
        return 4 * self.shape("decoder.pos_embedding")[-1] if "decoder.pos_embedding" in self.state else 256

    def hourglass(self, prefix: str) -> dict[str, int]:
        blocks = self.count(f"{prefix}.encoder.down_blocks")
        widths = [self.shape(f"{prefix}.encoder.down_blocks.{i}.conv.weight")[0] for i in range(blocks)]
        width = self.shape(f"{prefix}.decoder.up_blocks.{blocks - 1}.conv.weight")[0]
        return {"width": width, "max_width": max(widths), "blocks": blocks}

    def correlation(self) -> dict[str, int]:
        patches = self.shape("decoder.corr_enc.convc1.weight")[1]
        # The largest square patch that the channels are made of: 98 are two levels of 7 x 7.
        radius = next(r for r in range(math.isqrt(patches), -1, -1) if patches % (2 * r + 1) ** 2 == 0)
        return {
            **self.hourglass("decoder.kp"),
            "channels": self.shape("decoder.kp_head.weight")[0],
            "embedding_size": self.shape("decoder.pos_embedding")[-1],
            "radius": radius,
            "pyramid_levels": patches // (2 * radius + 1) ** 2 - 1,
        }

    def refinement(self) -> dict[str, Any]:
        def width(name: str) -> int:
            return self.shape(f"decoder.{name}.weight")[0]

        return {
            "iterations": self.count("decoder.to_context"),
            "correlation_widths": (width("corr_enc.convc1"), width("corr_enc.convc2")),
            "flow_widths": (width("corr_enc.convf1"), width("corr_enc.convf2")),
            "motion_width": width("corr_enc.conv"),
            "context_width": width("to_context.0"),
            "warped_width": width("refine.convc1"),
            "head_width": width("refine.conv1"),
        }

    def generator(self) -> dict[str, Any]:
        first = self.shape("decoder.generator.first.conv.weight")
        downs = range(self.count("decoder.generator.down_blocks"))
        widths = [first[0], *(self.shape(f"decoder.generator.down_blocks.{i}.conv.weight")[0] for i in downs)]
        return {"widths": widths, "outer_kernel": first[-1]}

    def affine_detector(self) -> dict[str, Any]:
        keypoints, _, kernel, _ = self.shape("encoder.kp.weight")
        return self.hourglass("encoder.predictor") | {"kind": "affine", "keypoints": keypoints, "head_kernel": kernel}

    def thin_plate_detector(self) -> dict[str, Any]:
        groups = self.shape("dense_motion.maps.weight")[0] - 1
        return {
            "kind": "thin_plate",
            "groups": groups,
            "points": self.shape("encoder.fg_encoder.fc.weight")[0] // (2 * groups),
            "width": self.shape("encoder.fg_encoder.conv1.weight")[0],
        }

    def transformer_detector(self) -> dict[str, Any]:
        _, tokens, width = self.shape("encoder.transformer.keypoint_token")
        layers = self.count("encoder.transformer.transformer.layers")
        branches = [self.shape(f"encoder.pre_feature.stage3.0.branches.{branch}.0.conv1.weight")[0] for branch in range(3)]
        patch = self.shape("encoder.transformer.patch_to_embedding.weight")[1]
        return {
            "kind": "transformer",
            "keypoints": tokens // 2,
            "width": width,
            "layers": layers,
            "hidden": self.shape("encoder.transformer.transformer.layers.0.1.fn.fn.net.0.weight")[0],
            "patch": math.isqrt(patch // branches[0]),
            "trunk_widths": branches,
            "trunk_stem_width": self.shape("encoder.pre_feature.conv1.weight")[0],
        }


_DETECTORS = {
    "affine": _Sizes.affine_detector,
    "tps": _Sizes.thin_plate_detector,
    "transformer": _Sizes.transformer_detector,
}
