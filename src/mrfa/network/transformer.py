"""The motion-transformer prior (paper 3.1; Tao et al., ECCV 2022): keypoints and affine maps by direct regression.

Patches of a feature map become image tokens; learned motion tokens, one for each position and one for each affine map, gather
from them and from one another what they need.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrfa.network.config import TransformerDetectorConfig
from mrfa.network.geometry import Conventions, full_precision
from mrfa.network.high_resolution import HighResolutionTrunk
from mrfa.network.keypoints import Detector, Keypoints


class TransformerDetector(Detector):
    """Trunk, image and motion tokens, transformer layers, and two heads.

    Its heads start at affine maps that change nothing.
    """

    def __init__(self, config: TransformerDetectorConfig, conventions: Conventions) -> None:
        super().__init__(conventions)
        self.keypoints, self.patch, width = config.keypoints, config.patch, config.width
        self.trunk = HighResolutionTrunk(widths=config.trunk_widths, stem_width=config.trunk_stem_width)
        self.patch_embedding = nn.Linear(self.trunk.out_channels * self.patch**2, width)
        self.motion_tokens = nn.Parameter(torch.randn(1, 2 * self.keypoints, width))
        self.layers = nn.ModuleList(TransformerLayer(width, config.heads, config.hidden) for _ in range(config.layers))
        self.position_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))
        affine = nn.Linear(width, 4)
        self.affine_head = nn.Sequential(nn.LayerNorm(width), affine)
        nn.init.zeros_(affine.weight)
        with torch.no_grad():
            affine.bias.copy_(torch.eye(2).flatten())

    def forward(self, image: Tensor) -> Keypoints:
        """Image `[B, 3, H, W]` in [0, 1], at its full size, to K keypoints with affine maps.

        H and W are multiples of 4 * patch. The position encoding is relative to the picture, so that other sizes than that
        of the training are possible.
        """
        features = self.trunk(image)
        rows, columns = features.shape[2] // self.patch, features.shape[3] // self.patch
        code = sine_code(rows, columns, self.patch_embedding.out_features, features)
        images = self.patch_embedding(patches(features, self.patch))
        motion = self.motion_tokens.expand(image.shape[0], -1, -1)
        for layer in self.layers:
            # The code is added anew before every layer and stays in the residual stream.
            tokens = layer(torch.cat([motion, images + code], dim=1))
            motion, images = tokens.split([2 * self.keypoints, rows * columns], dim=1)
        for_positions, for_maps = motion.float().chunk(2, dim=1)
        with full_precision(motion):
            positions = 2 * torch.sigmoid(self.position_head(for_positions)) - 1
            return Keypoints(positions, self.affine_head(for_maps).unflatten(-1, (2, 2)))


class TransformerLayer(nn.Module):
    """Attention, then a perceptron with GELU, each normalised first and added to its input."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.perceptron = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, n, width]` to the same shape."""
        tokens = tokens + self.attention(tokens)
        return tokens + self.perceptron(tokens)


class Attention(nn.Module):
    """Multi-head self-attention of normalised tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, n, width]` to the same shape."""
        joint = self.query_key_value(self.norm(tokens)).unflatten(-1, (3, self.heads, -1))
        query, key, value = joint.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))


def patches(features: Tensor, side: int) -> Tensor:
    """`[B, C, h, w]` to `[B, (h / side) * (w / side), side * side * C]`; a patch runs over its rows, columns, channels."""
    cut = features.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def sine_code(rows: int, columns: int, width: int, like: Tensor) -> Tensor:
    """Position encoding of a grid of tokens, `[rows * columns, width]`, float32, on the device of `like`.

    The first half of the channels encodes the row and the second half the column, as sines and cosines of the position, which
    runs up to 2 pi whatever the size of the grid.
    """
    half = width // 2
    exponent = torch.arange(half // 2, device=like.device) * 2 / half

    def line(count: int) -> Tensor:
        position = torch.arange(1, count + 1, device=like.device) / (count + 1e-6) * 2 * math.pi
        angle = position[:, None] / 10000**exponent
        return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    row = line(rows)[:, None].expand(rows, columns, half)
    column = line(columns)[None].expand(rows, columns, half)
    return torch.cat([row, column], dim=-1).flatten(0, 1)
