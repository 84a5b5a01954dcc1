"""Flow updater and the coarse-to-fine iterations (paper 3.2, Eq. 4 to 7)."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.config import RefinementConfig
from mrfa.network.correlation import CorrelationVolume
from mrfa.network.geometry import pixel_scale, resize, to_displacement, to_flow, warp


class Motion(NamedTuple):
    """Refined motion at every resolution, from H/32 on, doubling.

    Attributes:
        flows: backward flow of each iteration, `[B, h_i, w_i, 2]`, normalised.
        occlusions: occlusion map of each iteration, `[B, 1, h_i, w_i]`, in [0, 1]; 1 means visible in the source.
    """

    flows: list[Tensor]
    occlusions: list[Tensor]


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
    pixels of the resolution at hand.
    """

    def __init__(self, config: RefinementConfig, correlation_channels: int) -> None:
        super().__init__()
        (c1, c2), (f1, f2) = config.correlation_widths, config.flow_widths
        self.correlation_in = nn.Conv2d(correlation_channels, c1, 1)
        self.correlation_out = nn.Conv2d(c1, c2, 3, padding=1)
        self.flow_branch = nn.Sequential(
            nn.Conv2d(2, f1, 7, padding=3), nn.ReLU(inplace=True), nn.Conv2d(f1, f2, 3, padding=1), nn.ReLU(inplace=True)
        )
        self.motion = nn.Sequential(nn.Conv2d(c2 + f2, config.motion_width, 3, padding=1), nn.ReLU(inplace=True))
        self.warped = nn.Sequential(
            nn.Conv2d(config.context_width, config.warped_width, 3, padding=1), nn.ReLU(inplace=True)
        )
        joined = config.motion_width + 2 + config.warped_width
        self.flow_head = _head(joined, config.head_width, 2)
        self.occlusion_head = _head(joined, config.head_width, 1)

    def forward(self, flow_px: Tensor, correlation: Tensor, warped: Tensor) -> tuple[Tensor, Tensor]:
        """Residual flow and residual occlusion of one iteration.

        Args:
            flow_px: current displacement, `[B, 2, h, w]`, pixels.
            correlation: looked-up patches, `[B, C, h', w']`, at `h, w` or below.
            warped: projected source features under the current flow, `[B, context, h, w]`.

        Returns:
            `[B, 2, h, w]` in pixels and `[B, 1, h, w]` logits.
        """
        # A 1x1 convolution and bilinear resizing commute: projecting first leaves fewer values to resize.
        projected = F.relu(resize(self.correlation_in(correlation), flow_px.shape[2:]))
        evidence = [F.relu(self.correlation_out(projected)), self.flow_branch(flow_px)]
        joined = torch.cat([self.motion(torch.cat(evidence, dim=1)), flow_px, self.warped(warped)], dim=1)
        return self.flow_head(joined).float(), self.occlusion_head(joined).float()


class Refinement(nn.Module):
    """Runs the updater from H/32 up and accumulates its residuals on the coarse motion (Eq. 7)."""

    def __init__(self, config: RefinementConfig, *, correlation_channels: int, feature_widths: list[int]) -> None:
        super().__init__()
        self.updater = FlowUpdater(config, correlation_channels)
        self.projections = nn.ModuleList(Projection(width, config.context_width) for width in feature_widths)

    def project(self, features: list[Tensor]) -> list[Tensor]:
        """Source features of each iteration's resolution at the updater's width; they depend on the source alone."""
        return [projection(feature) for feature, projection in zip(features, self.projections, strict=True)]

    def _projections(self) -> list[Projection]:
        return [module for module in self.projections if isinstance(module, Projection)]

    def forward(self, flow: Tensor, occlusion: Tensor, volume: CorrelationVolume, contexts: list[Tensor]) -> Motion:
        """Refine the coarse motion.

        Args:
            flow: initial flow F0, `[B, h, w, 2]`, normalised.
            occlusion: initial occlusion, `[B, 1, h, w]`, logits.
            volume: structure correlation of the pair.
            contexts: what `project` returned, lowest resolution first; decides the number of iterations.
        """
        displacement0 = to_displacement(flow)
        residual = torch.zeros_like(displacement0[:, :, :1, :1])
        residual_occlusion = torch.zeros_like(occlusion[:, :, :1, :1])
        motion = Motion([], [])
        for context, projection in zip(contexts, self._projections(), strict=True):
            size = context.shape[2:]
            # The sum of all residuals so far, upsampled as one: the same as Eq. 7, as resizing is linear.
            residual, residual_occlusion = resize(residual, size), resize(residual_occlusion, size)
            displacement = resize(displacement0, size) + residual
            to_pixels = pixel_scale(size, displacement)
            warped = projection.finish(warp(context, displacement))
            lookup_size = (min(size[0], volume.size[0]), min(size[1], volume.size[1]))
            correlation = volume.lookup(to_flow(resize(displacement, lookup_size)))
            flow_step, occlusion_step = self.updater(displacement * to_pixels, correlation, warped)
            residual = residual + flow_step / to_pixels
            residual_occlusion = residual_occlusion + occlusion_step
            motion.flows.append(to_flow(displacement + flow_step / to_pixels))
            motion.occlusions.append(torch.sigmoid(resize(occlusion, size) + residual_occlusion))
        return motion


def coarse_pyramid(flow: Tensor, occlusion: Tensor, sizes: list[Sequence[int]]) -> Motion:
    """The coarse motion resized to every resolution, without refinement (the "prior only" models of Table 3)."""
    displacement = to_displacement(flow)
    return Motion(
        [to_flow(resize(displacement, size)) for size in sizes],
        [torch.sigmoid(resize(occlusion, size)) for size in sizes],
    )


def _head(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    """Convolution, ReLU, convolution. It starts near zero, so that training starts from the coarse motion."""
    last = nn.Conv2d(width, out_channels, 3, padding=1)
    nn.init.normal_(last.weight, std=1e-3)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.ReLU(inplace=True), last)
