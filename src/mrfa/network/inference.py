"""A network made fast for inference: the same function, in fewer and larger steps.

What training needs apart is put together once: batch norms go into the convolutions before them, a ReLU and a shortcut's sum
into those that end with them, convolutions that read the same input become one, and an upsampling that repeats pixels becomes a
part of the convolution after it. The result is made of plain operations, so it can be traced and exported; `pack` then lays its
weights out for this machine's CPU.
"""

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.coarse import DenseMotion
from mrfa.network.generator import ImageDecoder
from mrfa.network.high_resolution import Bottleneck, HighResolutionTrunk
from mrfa.network.keypoints import AffineDetector
from mrfa.network.layers import Double, Hourglass, ResidualBlock, UpBlock
from mrfa.network.model import Network
from mrfa.network.refinement import FlowUpdater, Motion, Projection
from mrfa.network.resnet import BasicBlock, ResNet18


def for_inference(network: Network, dtype: torch.dtype = torch.float32) -> Network:
    """A copy of a network that computes what the network does in evaluation mode, up to rounding, and faster.

    It cannot be trained, and its weights have other names. Its features lie in memory channels last.

    Args:
        network: on any device; stays as it is.
        dtype: of the convolutions; below float32 the copy is run under `torch.autocast` of this type.
    """
    fast = cast(Network, _replaced(copy.deepcopy(network).eval().requires_grad_(False)))
    for module in fast.modules():
        if isinstance(module, Convolution):
            module.to(dtype)
    return fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def pack(network: Network) -> Network:
    """Lay out the weights of a network of `for_inference` as oneDNN wants them, which it would otherwise do at every call.

    In place; on a CPU. It then computes the same, but can no longer be traced, moved or copied. Where oneDNN is absent or does
    not know the weights' type nothing changes.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is Convolution and _can_pack(child.weight.dtype):
                setattr(parent, name, PackedConvolution(child))
    return network


def _can_pack(dtype: torch.dtype) -> bool:
    """Whether oneDNN convolves this type on this machine's CPU. The operators are those that torch's own compiler calls."""
    operators = torch.ops.mkldnn
    if not (torch.backends.mkldnn.is_available() and hasattr(operators, "_convolution_pointwise")):
        return False
    if dtype == torch.bfloat16:
        return bool(operators._is_mkldnn_bf16_supported())
    return dtype == torch.float32 or bool(operators._is_mkldnn_fp16_supported())


class Convolution(nn.Module):
    """A convolution, or a transposed one, and what may follow it at once: a sum, and a ReLU.

    Args:
        weight: `[out, in, k, k]`, transposed `[in, out, k, k]`.
        bias: `[out]`.
        relu: ends with a ReLU.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, *, stride: int = 1, padding: int = 0, transposed: bool = False, relu: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.stride, self.padding, self.transposed, self.relu = stride, padding, transposed, relu

    def forward(self, x: Tensor, term: Tensor | None = None) -> Tensor:
        """`[B, in, h, w]` to `[B, out, h', w']`; `term` of the latter shape is added before the ReLU."""
        convolve = F.conv_transpose2d if self.transposed else F.conv2d
        out = convolve(x.to(self.weight.dtype), self.weight, self.bias, self.stride, self.padding)
        if term is not None:
            out = out + term
        return F.relu(out, inplace=True) if self.relu else out


class PackedConvolution(Convolution):
    """A `Convolution` whose weights lie as oneDNN wants them, with sum and ReLU in the same step.

    How they should lie depends on the size of the input, so they are laid out when a size is first seen.
    """

    def __init__(self, plain: Convolution) -> None:
        super().__init__(
            plain.weight,
            plain.bias,
            stride=plain.stride,
            padding=plain.padding,
            transposed=plain.transposed,
            relu=plain.relu,
        )
        self.window = [[plain.padding] * 2, *([[0, 0]] if plain.transposed else []), [plain.stride] * 2, [1, 1], 1]
        self.packed = dict[tuple[int, ...], Tensor]()

    def forward(self, x: Tensor, term: Tensor | None = None) -> Tensor:
        """See `Convolution`."""
        x, after = self._laid_out(x), "relu" if self.relu else "none"
        operands = (self._weight(x.shape), self.bias, *self.window)
        if self.transposed:
            return torch.ops.mkldnn._convolution_transpose_pointwise(x, *operands, after, [], "")
        if term is None:
            return torch.ops.mkldnn._convolution_pointwise(x, *operands, after, [], "")
        return torch.ops.mkldnn._convolution_pointwise(
            x, self._laid_out(term), *operands, "add", 1.0, after if self.relu else None, [], ""
        )

    def _laid_out(self, x: Tensor) -> Tensor:
        return x.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)

    def _weight(self, shape: Sequence[int]) -> Tensor:
        """The weights for inputs of this shape."""
        size = tuple(shape[2:])
        if size not in self.packed:
            name = "_reorder_convolution_transpose_weight" if self.transposed else "_reorder_convolution_weight"
            self.packed[size] = getattr(torch.ops.mkldnn, name)(self.weight, *self.window, list(shape))
        return self.packed[size]


class _Residual(nn.Module):
    """A `ResidualBlock`: its second norm lies behind its first convolution."""

    def __init__(self, block: ResidualBlock) -> None:
        super().__init__()
        self.norm, _, first = block.first
        norm, _, second = block.second
        self.first, self.second = _convolution(first, norm, relu=True), _convolution(second)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(F.relu(self.norm(x), inplace=True)), x)


class _ResNetBlock(nn.Module):
    """A `BasicBlock` or a `Bottleneck`."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        layers = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
        if isinstance(block, Bottleneck):
            layers.append((block.conv3, block.bn3))
        *first, last = (_convolution(convolution, norm, relu=True) for convolution, norm in layers)
        self.first, self.last = nn.Sequential(*first), last
        self.shortcut = nn.Identity() if block.downsample is None else _replaced(block.downsample)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x), self.shortcut(x))


class _Updater(nn.Module):
    """A `FlowUpdater` whose heads are one: side by side first, then each of its own half."""

    def __init__(self, updater: FlowUpdater) -> None:
        super().__init__()
        self.conventions = updater.conventions
        self.correlation_in = _convolution(updater.correlation_in)
        self.correlation_out = _convolution(updater.correlation_out, relu=True)
        self.flow_branch, self.motion = _replaced(updater.flow_branch), _replaced(updater.motion)
        self.warped = None if updater.warped is None else _replaced(updater.warped)
        heads = [head for head in (updater.flow_head, updater.occlusion_head) if head is not None]
        self.updates_flow, self.updates_occlusion = updater.flow_head is not None, updater.occlusion_head is not None
        firsts, lasts = ([cast(nn.Conv2d, head[place]) for head in heads] for place in (0, -1))
        self.head_first = _side_by_side(firsts, relu=True)
        self.head_last = _own_inputs(lasts)

    def forward(self, flow_px: Tensor, correlation: Tensor, warped: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """See `FlowUpdater`."""
        projected = F.relu(self.conventions.resize(self.correlation_in(correlation), flow_px.shape[2:]), inplace=True)
        evidence = [self.correlation_out(projected), self.flow_branch(flow_px)]
        motion = self.motion(torch.cat(evidence, dim=1))
        parts = [motion, flow_px.to(motion.dtype)]
        if self.warped is not None and warped is not None:
            parts.append(self.warped(warped))
        steps = self.head_last(self.head_first(torch.cat(parts, dim=1))).float()
        return steps[:, :2] if self.updates_flow else None, steps[:, -1:] if self.updates_occlusion else None


class _Hourglass(Hourglass):
    """An hourglass that brings its input into its convolutions' precision at once, for every size that is cut out of it."""

    def encode(self, x: Tensor) -> list[Tensor]:
        weight = next(self.down.buffers())
        return super().encode(x.to(weight.dtype).contiguous(memory_format=torch.channels_last))


class _AffineDetector(AffineDetector):
    """The detector with both heads as one."""

    joint: nn.Module

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        out = self.joint(features).float()
        return out.split([out.shape[1] - 4, 4], dim=1)


class _DenseMotion(DenseMotion):
    """The dense motion network with both heads as one."""

    joint: nn.Module

    def heads(self, features: Tensor) -> tuple[Tensor, Tensor]:
        out = self.joint(features).float()
        return out[:, :-1], out[:, -1:]


class _Projection(Projection):
    """The projection with its end in place."""

    def finish(self, warped: Tensor) -> Tensor:
        assert self.convolution.bias is not None
        return F.relu(warped.add_(self.convolution.bias.view(1, -1, 1, 1)), inplace=True)


class _Decoder(ImageDecoder):
    """The decoder with Eq. 10 in one step, in the features' precision."""

    def _merge_warped(self, out: Tensor | None, features: list[Tensor], motion: Motion, level: int) -> Tensor:
        if level >= len(motion.flows):
            assert out is not None
            return out
        warped = self.sample(features[level], motion.flows[level])
        occlusion = motion.occlusions[level].to(warped.dtype)
        return warped * occlusion if out is None else torch.lerp(out, warped, occlusion)


# Of these the fast kind differs in a method alone.
_SAME_STATE: dict[type[nn.Module], type[nn.Module]] = {
    Hourglass: _Hourglass,
    ImageDecoder: _Decoder,
    Projection: _Projection,
}


def _replaced(module: nn.Module) -> nn.Module:
    """The module with all that it consists of made fast; changes the module."""
    if isinstance(module, ResidualBlock):
        return _Residual(module)
    if isinstance(module, (BasicBlock, Bottleneck)):
        return _ResNetBlock(module)
    if isinstance(module, FlowUpdater):
        return _Updater(module)
    if isinstance(module, UpBlock):
        return _upsampling(module)
    if isinstance(module, nn.Sequential):
        return _sequential(module)
    if isinstance(module, nn.Conv2d):
        return _convolution(module)
    if isinstance(module, (HighResolutionTrunk, ResNet18)):
        _fold_first(module)
    if isinstance(module, AffineDetector) and module.affine_head is not None:
        module.joint = _side_by_side([module.heatmap_head, module.affine_head])
        module.__class__ = _AffineDetector
    if isinstance(module, DenseMotion):
        module.joint = _side_by_side([module.mask_head, module.occlusion_head])
        module.__class__ = _DenseMotion
    if type(module) in _SAME_STATE:
        module.__class__ = _SAME_STATE[type(module)]
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module


def _sequential(layers: nn.Sequential) -> nn.Module:
    """Layers in a row, those after a convolution put into it."""
    remaining, fast = list(layers), list[nn.Module]()
    while remaining:
        layer = remaining.pop(0)
        if not isinstance(layer, nn.Conv2d):
            fast.append(_replaced(layer))
            continue
        norm = remaining.pop(0) if remaining and isinstance(remaining[0], nn.BatchNorm2d) else None
        relu = bool(remaining) and isinstance(remaining[0], nn.ReLU)
        fast.append(_convolution(layer, cast(nn.BatchNorm2d | None, norm), relu=relu))
        remaining = remaining[relu:]
    return fast[0] if len(fast) == 1 else nn.Sequential(*fast)


def _fold_first(trunk: HighResolutionTrunk | ResNet18) -> None:
    """Fold the norms of a trunk's first convolutions."""
    for number in (1, 2):
        if hasattr(trunk, f"bn{number}"):
            setattr(trunk, f"conv{number}", _convolution(getattr(trunk, f"conv{number}"), getattr(trunk, f"bn{number}")))
            setattr(trunk, f"bn{number}", nn.Identity())


def _upsampling(block: UpBlock) -> nn.Module:
    """An upsampling and its convolution as one transposed convolution, with less than half the products, where pixels repeat."""
    double, layers = block
    folded = _replaced(layers)
    assert isinstance(double, Double) and isinstance(folded, Convolution)
    if double.mode != "nearest" or folded.weight.shape[2:] != (3, 3):
        return nn.Sequential(double, folded)
    # Each of 2x2 pixels spreads what its one origin spreads: the kernel's sums over every 2x2 window.
    spread = F.conv2d(folded.weight.flatten(0, 1)[:, None].double(), folded.weight.new_ones(1, 1, 2, 2).double(), padding=1)
    spread = spread.view(*folded.weight.shape[:2], 4, 4).flip(2, 3).to(folded.weight.dtype)
    return Convolution(spread.transpose(0, 1).contiguous(), folded.bias, stride=2, padding=1, transposed=True, relu=folded.relu)


def _convolution(convolution: nn.Module, norm: nn.Module | None = None, *, relu: bool = False) -> Convolution:
    """A convolution with the batch norm and the ReLU behind it."""
    assert isinstance(convolution, nn.Conv2d) and convolution.groups == 1
    weight = convolution.weight.detach()
    bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
    if norm is not None:
        assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        weight, bias = weight * scale[:, None, None, None], norm.bias.detach() + (bias - norm.running_mean) * scale
    (stride, _), (padding, _) = convolution.stride, cast(tuple[int, int], convolution.padding)
    return Convolution(weight, bias, stride=stride, padding=padding, relu=relu)


def _side_by_side(convolutions: Sequence[nn.Conv2d], *, relu: bool = False) -> Convolution:
    """Convolutions of the same input as one, whose output is theirs one after the other."""
    plain = [_convolution(convolution) for convolution in convolutions]
    weight, bias = torch.cat([one.weight for one in plain]), torch.cat([one.bias for one in plain])
    return Convolution(weight, bias, padding=plain[0].padding, relu=relu)


def _own_inputs(convolutions: Sequence[nn.Conv2d]) -> Convolution:
    """Convolutions each of its own input as one of all inputs, one after the other."""
    plain = [_convolution(convolution) for convolution in convolutions]
    inputs, outputs = (sum(one.weight.shape[side] for one in plain) for side in (1, 0))
    weight = plain[0].weight.new_zeros(outputs, inputs, *plain[0].weight.shape[2:])
    row = column = 0
    for one in plain:
        rows, columns = one.weight.shape[:2]
        weight[row : row + rows, column : column + columns] = one.weight
        row, column = row + rows, column + columns
    return Convolution(weight, torch.cat([one.bias for one in plain]), padding=plain[0].padding)
