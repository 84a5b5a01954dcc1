"""The authors' released weights: their names for ours, the sizes that their tensors tell, and the conversion.

All of it follows from the names and shapes in released checkpoints. The perceptual loss's VGG, the image pyramid, the
downsampling kernels and the sine position code are left out: the network makes its own.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.official_sizes import network_config

Prior = Literal["affine", "tps", "transformer"]
PRIORS: tuple[str, ...] = get_args(Prior)

# Our name of a weight to theirs. Each rule is applied in turn, then those of the prior.
_RULES = (
    (r"hourglass\.down\.(\d+)\.0\.", r"hourglass.encoder.down_blocks.\1."),
    (r"hourglass\.up\.(\d+)\.1\.", r"hourglass.decoder.up_blocks.\1."),
    (r"^decoder\.up\.(\d+)\.1\.", r"decoder.generator.up_blocks.\1."),
    (r"^decoder\.residual\.", "decoder.generator.resblock."),
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
    (r"^structure\.position_embedding$", "decoder.pos_embedding"),
    (r"^structure\.driving\.head\.", "decoder.kp_head."),
    (r"^structure\.driving\.hourglass\.", "decoder.kp."),
    (r"^structure\.source\.head\.", "decoder.kp_img_head."),
    (r"^structure\.source\.hourglass\.", "decoder.kp_img."),
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
    (r"^background\.trunk\.", "bg_predictor.bg_encoder."),
)
_MASK_RULES = (
    (r"^dense_motion\.mask_head\.", "dense_motion.mask."),
    (r"^dense_motion\.occlusion_head\.", "dense_motion.occlusion."),
)
_RULES_OF_PRIOR = {
    "affine": (
        *_MASK_RULES,
        (r"^detector\.hourglass\.", "encoder.predictor."),
        (r"^detector\.heatmap_head\.", "encoder.kp."),
        (r"^detector\.affine_head\.", "encoder.jacobian."),
    ),
    "tps": (
        (r"^dense_motion\.mask_head\.", "dense_motion.maps."),
        (r"^dense_motion\.occlusion_head\.", "dense_motion.occlusion.0."),
        (r"^detector\.trunk\.", "encoder.fg_encoder."),
    ),
    "transformer": (
        *_MASK_RULES,
        (r"^detector\.trunk\.", "encoder.pre_feature."),
        (r"^detector\.motion_tokens$", "encoder.transformer.keypoint_token"),
        (r"^detector\.patch_embedding\.", "encoder.transformer.patch_to_embedding."),
        (r"^detector\.position_head\.", "encoder.transformer.mlp_head."),
        (r"^detector\.affine_head\.", "encoder.transformer.mlp_head_jacobian."),
        (r"^detector\.layers\.", "encoder.transformer.transformer.layers."),
        (r"\.attention\.norm\.", ".0.fn.norm."),
        (r"\.attention\.query_key_value\.", ".0.fn.fn.to_qkv."),
        (r"\.attention\.output\.", ".0.fn.fn.to_out.0."),
        (r"\.perceptron\.0\.", ".1.fn.norm."),
        (r"\.perceptron\.1\.", ".1.fn.fn.net.0."),
        (r"\.perceptron\.3\.", ".1.fn.fn.net.3."),
    ),
}
# A name that only a detector of this prior has.
_SIGNATURES = {
    "affine": "encoder.kp.weight",
    "tps": "encoder.fg_encoder.fc.weight",
    "transformer": "encoder.transformer.keypoint_token",
}
_REFINEMENT_SIGNATURE = "decoder.pos_embedding"
_PARTS = ("encoder.", "dense_motion.", "decoder.", "bg_predictor.", "vgg.", "pyramid.", "down.")
_UNUSED = re.compile(r"^(vgg\.|pyramid\.|((encoder|dense_motion)\.)?down\.weight$|encoder\.transformer\.pos_embedding$)")
# These weights exist in models of the prior alone, which make no use of them.
_UNUSED_BY_THE_PRIOR_ALONE = "decoder.generator.channel_block."


def official_name(name: str, prior: str) -> str:
    """The authors' name, without `module.`, of one of `Network`'s weights."""
    for pattern, replacement in (*_RULES, *_RULES_OF_PRIOR[prior]):
        name = re.sub(pattern, replacement, name)
    return name


def convert_official(state_dict: Mapping[str, Any], *, prior: str, prior_only: bool = False) -> Network:
    """Build the network of a checkpoint of the authors' code, with its weights.

    Args:
        state_dict: the checkpoint's entry `model`: weights by name, with or without `module.`. Batch counters may be absent.
        prior: `affine`, `tps` or `transformer`.
        prior_only: the checkpoint's model has no refinement.

    Returns:
        The network in evaluation mode, in float32, with `coordinates: official`.

    Raises:
        InputError: another prior, a checkpoint of another method, or names or shapes that do not fit.
    """
    if prior not in PRIORS:
        raise InputError(f"no prior '{prior}': choose one of {', '.join(PRIORS)}")
    state = {name.removeprefix("module."): value for name, value in state_dict.items()}
    _check_kind(state, prior, prior_only)
    state = {name: _tensor(name, value) for name, value in state.items() if not _unused(name, prior_only)}
    network = Network(network_config(state, prior, prior_only=prior_only))
    ours = {official_name(name, prior): name for name in network.state_dict()}
    _check_names(state, ours, network.state_dict())
    weights = {name: state[theirs] for theirs, name in ours.items() if theirs in state}
    network.load_state_dict({**network.state_dict(), **weights})
    return network.eval()


def _tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"the checkpoint's {name} is a {type(value).__name__}, not a tensor") from None


def _unused(name: str, prior_only: bool) -> bool:
    return _UNUSED.match(name) is not None or (prior_only and name.startswith(_UNUSED_BY_THE_PRIOR_ALONE))


def _check_kind(state: Mapping[str, Any], prior: str, prior_only: bool) -> None:
    """Refuse what is no checkpoint of this method, of this prior, or of this extent."""
    foreign = [name for name in state if not name.startswith(_PARTS)]
    found = [name for name, signature in _SIGNATURES.items() if signature in state]
    if foreign:
        raise InputError(f"this is not a checkpoint of the authors' code: it holds the unknown {_listed(foreign)}")
    if not found:
        raise InputError(
            "this is not a checkpoint of the authors' code: it has the keypoint detector of none of the priors "
            f"({_listed(_SIGNATURES.values())})"
        )
    if prior not in found:
        raise InputError(f"the checkpoint's prior is {found[0]}, not {prior}: convert it with --prior {found[0]}")
    if prior_only and _REFINEMENT_SIGNATURE in state:
        raise InputError("the checkpoint holds a refinement: convert it without --prior-only")
    if not prior_only and _REFINEMENT_SIGNATURE not in state:
        raise InputError(f"the checkpoint has no refinement ({_REFINEMENT_SIGNATURE}): convert it with --prior-only")


def _check_names(state: Mapping[str, Tensor], ours: Mapping[str, str], expected: Mapping[str, Tensor]) -> None:
    """Refuse missing and left-over names, and other shapes; all problems in one message."""
    missing = [name for name in ours if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in ours]
    shapes = [
        f"{name} is {list(state[name].shape)} instead of {list(expected[own].shape)}"
        for name, own in ours.items()
        if name in state and state[name].shape != expected[own].shape
    ]
    problems = [
        f"{words} {_listed(names)}"
        for words, names in (("it lacks", missing), ("it has the unknown", unknown), ("", shapes))
        if names
    ]
    if problems:
        raise InputError(f"the checkpoint does not fit the model: {'; '.join(problem.strip() for problem in problems)}")


def _listed(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, and how many more there are."""
    all_names = list(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more
