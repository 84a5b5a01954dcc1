"""The authors' checkpoints: their names for our weights, the sizes that their tensors tell, and the conversion.

The facts come from the names and shapes in released checkpoints. Of a checkpoint's entries the perceptual loss's VGG, the
image pyramid, the downsampling kernels and the sine position code are left out: the network makes its own.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mrfa.config import NetworkConfig
from mrfa.errors import InputError
from mrfa.network.model import Network

Prior = Literal["affine", "tps", "transformer"]
PRIORS: tuple[str, ...] = get_args(Prior)

# Our name of a weight to theirs: each rule is applied in turn.
_RULES = (
    (r"hourglass\.down\.(\d+)\.0\.", r"hourglass.encoder.down_blocks.\1."),
    (r"hourglass\.up\.(\d+)\.1\.", r"hourglass.decoder.up_blocks.\1."),
    (r"^decoder\.up\.(\d+)\.1\.", r"decoder.generator.up_blocks.\1."),
    (r"^decoder\.residual\.(\d+)\.first\.", r"decoder.generator.resblock.\1.first."),
    (r"^decoder\.residual\.(\d+)\.second\.", r"decoder.generator.resblock.\1.second."),
    (r"^decoder\.merge\.(\d+)\.", r"decoder.generator.channel_block.\1.first."),
    (r"^decoder\.last\.", "decoder.generator.final."),
    (r"^encoder\.down\.(\d+)\.0\.", r"decoder.generator.down_blocks.\1."),
    (r"^encoder\.first\.", "decoder.generator.first."),
    (r"(_blocks\.\d+|generator\.first)\.0\.", r"\1.conv."),
    (r"(_blocks\.\d+|generator\.first)\.1\.", r"\1.norm."),
    (r"\.first\.0\.", ".norm1."),
    (r"\.first\.2\.", ".conv1."),
    (r"\.second\.0\.", ".norm2."),
    (r"\.second\.2\.", ".conv2."),
    (r"^detector\.hourglass\.", "encoder.predictor."),
    (r"^detector\.heatmap_head\.", "encoder.kp."),
    (r"^detector\.affine_head\.", "encoder.jacobian."),
    (r"^dense_motion\.mask_head\.", "dense_motion.mask."),
    (r"^dense_motion\.occlusion_head\.", "dense_motion.occlusion."),
    (r"^structure\.position_embedding$", "decoder.pos_embedding"),
    (r"^structure\.driving\.hourglass\.", "decoder.kp."),
    (r"^structure\.driving\.head\.", "decoder.kp_head."),
    (r"^structure\.source\.hourglass\.", "decoder.kp_img."),
    (r"^structure\.source\.head\.", "decoder.kp_img_head."),
    (r"^refinement\.projections\.(\d+)\.convolution\.", r"decoder.to_context.\1."),
    (r"^refinement\.updater\.correlation_in\.", "decoder.corr_enc.convc1."),
    (r"^refinement\.updater\.correlation_out\.", "decoder.corr_enc.convc2."),
    (r"^refinement\.updater\.flow_branch\.0\.", "decoder.corr_enc.convf1."),
    (r"^refinement\.updater\.flow_branch\.2\.", "decoder.corr_enc.convf2."),
    (r"^refinement\.updater\.motion\.0\.", "decoder.corr_enc.conv."),
    (r"^refinement\.updater\.warped\.0\.", "decoder.refine.convc1."),
    (r"^refinement\.updater\.flow_head\.0\.", "decoder.refine.conv1."),
    (r"^refinement\.updater\.flow_head\.2\.", "decoder.refine.conv2."),
    (r"^refinement\.updater\.occlusion_head\.0\.", "decoder.refine.convo1."),
    (r"^refinement\.updater\.occlusion_head\.2\.", "decoder.refine.convo2."),
)
_UNUSED = re.compile(r"^(vgg\.|pyramid\.|((encoder|dense_motion)\.)?down\.weight$|encoder\.transformer\.pos_embedding$)")
_UNUSED_BY_THE_PRIOR_ALONE = "decoder.generator.channel_block."
_COUNTER = "num_batches_tracked"


def official_name(name: str) -> str:
    """The authors' name, without `module.`, of one of `Network`'s weights."""
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name
