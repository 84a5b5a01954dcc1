"""Image generator (paper 3.3, Eq. 9 and 10)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mrfa.network.config import GeneratorConfig
from mrfa.network.geometry import Conventions
from mrfa.network.layers import ConvBlock, Double, DownBlock, NormFirst, ResidualBlock, UpBlock
from mrfa.network.refinement import Motion


class ImageEncoder(nn.Module):
    """Source features at H, H/2 .. H/32."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        widths = config.widths
        self.first = ConvBlock(3, widths[0], config.outer_kernel)
        self.down = nn.ModuleList(DownBlock(widths[i], widths[i + 1]) for i in range(len(widths) - 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image `[B, 3, H, W]` to features, **lowest resolution first**: `[B, C_i, H/32, W/32]` .. `[B, C_0, H, W]`."""
        features = [self.first(image)]
        for block in self.down:
            features.append(block(features[-1]))
        return features[::-1]


class DetailEncoder(nn.Sequential):
    """Source features of the detail level: image `[B, 3, H, W]` to `[B, detail_width, H, W]`."""

    def __init__(self, config: GeneratorConfig) -> None:
        width = config.detail_width
        super().__init__(ConvBlock(3, width, config.outer_kernel), ResidualBlock(width, identity=True))


class DetailLevel(nn.Module):
    """The decoder's level at the full size, above one that draws the picture at half of it.

    What it adds to the enlarged picture is zero at first, so that a network trained at half the size can be given this level.
    """

    def __init__(self, config: GeneratorConfig, conventions: Conventions, channels: int) -> None:
        super().__init__()
        self.conventions = conventions
        width = config.detail_width
        self.up = UpBlock(config.widths[0], width, bilinear=config.upsampling == "bilinear")
        self.residual = ResidualBlock(width, identity=True)
        self.enlarge = Double(bilinear=True)
        self.last = nn.Conv2d(width, channels, config.outer_kernel, padding=config.outer_kernel // 2)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, logits: Tensor, hidden: Tensor, warped: Tensor, occlusion: Tensor) -> Tensor:
        """Logits of the picture, and of its blend, `[B, channels, H, W]`.

        Args:
            logits: those of the level below, `[B, channels, H/2, W/2]`.
            hidden: features that these were made of, `[B, C, H/2, W/2]`.
            warped: source features of this level under the motion, `[B, detail_width, H, W]`.
            occlusion: `[B, 1, H, W]`, see `Motion`.
        """
        below = self.up(hidden)
        # In the features' precision: of all that a training keeps, these are the largest maps.
        out = torch.lerp(below, warped.to(below.dtype), occlusion.to(below.dtype))
        return self.enlarge(logits) + self.last(self.residual(out)).float()


class ImageDecoder(nn.Module):
    """Merges the warped source features coarse to fine.

    With fewer iterations than levels the finest ones have no warped features of their own and are only upsampled, but for the
    detail level, which takes the last flow.

    Args:
        conventions: of the flows.
        prior_only: all motion that comes in is the prior's, so there is no coarse path beside it.
    """

    def __init__(self, config: GeneratorConfig, conventions: Conventions, *, prior_only: bool) -> None:
        super().__init__()
        self.conventions = conventions
        self.sample = conventions.sample_coarsely if prior_only else conventions.sample
        widths = config.widths[::-1]
        self.image_blend = config.image_blend
        self.residual = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        bilinear = config.upsampling == "bilinear"
        self.up = nn.ModuleList(UpBlock(widths[i], widths[i + 1], bilinear=bilinear) for i in range(len(widths) - 1))
        self.merge: nn.ModuleList | None = None
        if config.coarse_path and not prior_only:
            self.merge = nn.ModuleList(NormFirst(2 * width, width) for width in widths[:-1])
        channels = 4 if config.image_blend == "predicted" else 3
        self.last = nn.Conv2d(widths[-1], channels, config.outer_kernel, padding=config.outer_kernel // 2)
        self.detail = DetailLevel(config, conventions, channels) if config.detail_width else None

    def forward(self, image: Tensor, features: list[Tensor], coarse_flow: Tensor, motion: Motion) -> Tensor:
        """Driving-posed image.

        Args:
            image: source, `[B, 3, H, W]` in [0, 1].
            features: of `ImageEncoder`, lowest resolution first, and then of `DetailEncoder` where there is a detail level.
            coarse_flow: F0, `[B, h, w, 2]`, for the coarse path alone.
            motion: refined motion of the first N levels.

        Returns:
            `[B, 3, H, W]` in [0, 1].
        """
        out: Tensor | None = None
        for level in range(len(self.up) + 1):
            out = self._merge_warped(out, features, motion, level)
            if level < len(self.up):
                if self.merge is not None:
                    coarse = self._coarsely_warped(features[level], coarse_flow)
                    out = self.merge[level](torch.cat([out, coarse], dim=1))
                out = self.up[level](self.residual[level](out))
        assert out is not None
        logits = self.last(out).float()
        if self.detail is not None:
            size = image.shape[2:]
            warped = self.sample(features[-1], self._resized(motion.flows[-1], size))
            logits = self.detail(logits, out, warped, self.conventions.resize(motion.occlusions[-1], size))
        return self._blend(logits, image, motion)

    def _coarsely_warped(self, features: Tensor, coarse_flow: Tensor) -> Tensor:
        return self.conventions.sample_coarsely(features, self._resized(coarse_flow, features.shape[2:]))

    def _merge_warped(self, out: Tensor | None, features: list[Tensor], motion: Motion, level: int) -> Tensor:
        """Eq. 9 at the lowest level, Eq. 10 above."""
        if level >= len(motion.flows):
            assert out is not None
            return out
        occlusion = motion.occlusions[level]
        warped = self.sample(features[level], motion.flows[level]) * occlusion
        return warped if out is None else warped + out * (1 - occlusion)

    def _blend(self, out: Tensor, image: Tensor, motion: Motion) -> Tensor:
        """Sigmoid, then a mix with the directly warped source image, which keeps the finest detail."""
        generated = torch.sigmoid(out[:, :3])
        if self.image_blend == "none":
            return generated
        size = image.shape[2:]
        predicted = self.image_blend == "predicted"
        share = torch.sigmoid(out[:, 3:]) if predicted else self.conventions.resize(motion.occlusions[-1], size)
        padding = "border" if self.conventions.blend_refined_flow else "zeros"
        warped = self.sample(image, self._resized(motion.picture_flow, size), padding)
        return generated * (1 - share) + warped * share

    def _resized(self, flow: Tensor, size: Sequence[int]) -> Tensor:
        """A backward flow at another size (h, w)."""
        return self.conventions.to_flow(self.conventions.resize(self.conventions.to_displacement(flow), size))
