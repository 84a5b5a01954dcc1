"""Flow updater and the coarse-to-fine iterations (paper 3.2, Eq. 4 to 7)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mrfa.network.config import RefinementConfig
from mrfa.network.correlation import CorrelationVolume
from mrfa.network.geometry import Conventions


class Motion(NamedTuple):
    """Refined motion at every resolution, from H/32 on, doubling.

    Attributes:
        flows: backward flow of each iteration, `[B, h_i, w_i, 2]`, normalised.
        occlusions: occlusion map of each iteration, `[B, 1, h_i, w_i]`, in [0, 1]; 1 means visible in the source.
        picture_flow: backward flow that warps the source picture itself, `[B, h_N, w_N, 2]`, normalised: the last of `flows`,
            or what the last iteration started from, see `Conventions.blend_refined_flow`.
    """

    flows: list[Tensor]
    occlusions: list[Tensor]
    picture_flow: Tensor


class Projection(nn.Module):
    """1x1 convolution of source features, before warping, which it commutes with.

    Only the weights are applied before; the bias follows after warping, so that outside the picture there is still the bias.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """`[B, in_channels, h, w]` to `[B, out_channels, h, w]`, without the bias."""
        return F.conv2d(features, self.convolution.weight)

    def finish(self, warped: Tensor) -> Tensor:
        """Add the bias to warped features, then ReLU."""
        assert self.convolution.bias is not None
        return F.relu(warped + self.convolution.bias.view(1, -1, 1, 1))


class FlowUpdater(nn.Module):
    """One refinement step (Eq. 4, Figure 3), the same weights at every resolution.

    Four convolution modules: correlation, flow, warped source feature, and the output heads. Flow goes in and comes out in
    pixels of the resolution at hand. The variants of Table 4 leave the warped feature or one of the heads out.
    """

    def __init__(self, config: RefinementConfig, correlation_channels: int, conventions: Conventions) -> None:
        super().__init__()
        self.conventions = conventions
        (c1, c2), (f1, f2) = config.correlation_widths, config.flow_widths
        self.correlation_in = nn.Conv2d(correlation_channels, c1, 1)
        self.correlation_out = nn.Conv2d(c1, c2, 3, padding=1)
        self.flow_branch = nn.Sequential(
            nn.Conv2d(2, f1, 7, padding=3), nn.ReLU(inplace=True), nn.Conv2d(f1, f2, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.motion = nn.Sequential(nn.Conv2d(c2 + f2, config.motion_width, 3, padding=1), nn.ReLU(inplace=True))
        joined = config.motion_width + 2
        self.warped: nn.Module | None = None
        if config.warped_feature:
            self.warped = nn.Sequential(nn.Conv2d(config.context_width, config.warped_width, 3, padding=1), nn.ReLU(inplace=True))
            joined += config.warped_width
        self.flow_head = _head(joined, config.head_width, 2) if config.update_flow else None
        self.occlusion_head = _head(joined, config.head_width, 1) if config.update_occlusion else None

    def forward(self, flow_px: Tensor, correlation: Tensor, warped: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """Residual flow and residual occlusion of one iteration.

        Args:
            flow_px: current displacement, `[B, 2, h, w]`, pixels.
            correlation: looked-up patches, `[B, C, h', w']`, at `h, w` or below.
            warped: projected source features under the current flow, `[B, context, h, w]`; None without them.

        Returns:
            `[B, 2, h, w]` in pixels and `[B, 1, h, w]` logits; None for what is not updated.
        """
        # A 1x1 convolution and bilinear resizing commute: projecting first leaves fewer values to resize.
        projected = F.relu(self.conventions.resize(self.correlation_in(correlation), flow_px.shape[2:]))
        evidence = [F.relu(self.correlation_out(projected)), self.flow_branch(flow_px)]
        parts = [self.motion(torch.cat(evidence, dim=1)), flow_px]
        if self.warped is not None and warped is not None:
            parts.append(self.warped(warped))
        joined = torch.cat(parts, dim=1)
        flow = None if self.flow_head is None else self.flow_head(joined).float()
        return flow, None if self.occlusion_head is None else self.occlusion_head(joined).float()


class Refinement(nn.Module):
    """Runs the updater from H/32 up and accumulates its residuals on the coarse motion (Eq. 7).

    Attributes:
        recomputed: what the updater computes is not kept for the backward pass, but computed again; the training run sets it.
    """

    def __init__(
        self,
        config: RefinementConfig,
        *,
        correlation_channels: int,
        feature_widths: list[int],
        conventions: Conventions,
    ) -> None:
        super().__init__()
        self.conventions = conventions
        self.recomputed = False
        self.updater = FlowUpdater(config, correlation_channels, conventions)
        widths = feature_widths if config.warped_feature else []
        self.projections = nn.ModuleList(Projection(width, config.context_width) for width in widths)

    def project(self, features: list[Tensor]) -> list[Tensor]:
        """Source features of each iteration's resolution at the updater's width; they depend on the source alone.

        Empty without warped features.
        """
        return [projection(feature) for feature, projection in zip(features, self.projections, strict=False)]

    def forward(
        self,
        flow: Tensor,
        occlusion: Tensor,
        volume: CorrelationVolume,
        contexts: list[Tensor],
        sizes: Sequence[Sequence[int]],
    ) -> Motion:
        """Refine the coarse motion.

        Args:
            flow: initial flow F0, `[B, h, w, 2]`, normalised.
            occlusion: initial occlusion, `[B, 1, h, w]`, logits.
            volume: structure correlation of the pair.
            contexts: what `project` returned, lowest resolution first.
            sizes: (h_i, w_i) of each iteration.
        """
        conventions = self.conventions
        displacement0 = conventions.to_displacement(flow)
        residual = torch.zeros_like(displacement0[:, :, :1, :1])
        residual_occlusion = torch.zeros_like(occlusion[:, :, :1, :1])
        displacement = displacement0
        flows, occlusions = [], []
        for level, size in enumerate(sizes):
            # The sum of all residuals so far, upsampled as one: the same as Eq. 7, as resizing is linear.
            residual = conventions.resize_displacement(residual, size)
            residual_occlusion = conventions.resize(residual_occlusion, size)
            displacement = conventions.resize_displacement(displacement0, size) + residual
            to_pixels = conventions.pixel_scale(size, displacement)
            arguments = (contexts, level, displacement, displacement * to_pixels, self._lookup(volume, displacement))
            if self.recomputed:
                # Nothing in there is random, and a CUDA graph cannot ask for the state of random numbers.
                steps = checkpoint(self._update, *arguments, use_reentrant=False, preserve_rng_state=False)
            else:
                steps = self._update(*arguments)
            flow_step, occlusion_step = steps
            if flow_step is not None:
                residual = residual + flow_step / to_pixels
            if occlusion_step is not None:
                residual_occlusion = residual_occlusion + occlusion_step
            refined = displacement if flow_step is None else displacement + flow_step / to_pixels
            flows.append(conventions.to_flow(refined))
            occlusions.append(torch.sigmoid(conventions.resize(occlusion, size) + residual_occlusion))
        return Motion(flows, occlusions, flows[-1] if conventions.blend_refined_flow else conventions.to_flow(displacement))

    def _update(
        self, contexts: list[Tensor], level: int, displacement: Tensor, flow_px: Tensor, correlation: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Residuals of one iteration, see `FlowUpdater`."""
        return self.updater(flow_px, correlation, self._warp(contexts, level, displacement))

    def _lookup(self, volume: CorrelationVolume, displacement: Tensor) -> Tensor:
        """Correlation around a displacement, at its resolution or at the volume's where that is lower."""
        height, width = displacement.shape[2:]
        size = (min(height, volume.size[0]), min(width, volume.size[1]))
        return volume.lookup(self.conventions.to_flow(self.conventions.resize_displacement(displacement, size)))

    def _warp(self, contexts: list[Tensor], level: int, displacement: Tensor) -> Tensor | None:
        """Projected source features of a level under a displacement; None without them."""
        if not contexts:
            return None
        projection = self.projections[level]
        assert isinstance(projection, Projection)
        return projection.finish(self.conventions.warp(contexts[level], displacement))


def coarse_pyramid(flow: Tensor, occlusion: Tensor, sizes: Sequence[Sequence[int]], conventions: Conventions) -> Motion:
    """The coarse motion resized to every resolution, without refinement (the "prior only" models of Table 3)."""
    displacement = conventions.to_displacement(flow)
    flows = [conventions.to_flow(conventions.resize(displacement, size)) for size in sizes]
    return Motion(flows, [torch.sigmoid(conventions.resize(occlusion, size)) for size in sizes], flows[-1])


def _head(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Convolution, ReLU, convolution. It starts near zero, so that training starts from the coarse motion."""
    last = nn.Conv2d(width, out_channels, 3, padding=1)
    nn.init.normal_(last.weight, std=1e-3)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True), last)
