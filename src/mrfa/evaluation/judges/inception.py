"""Inception v3 up to its last pooling (Szegedy et al. 2015), in the form that FID was defined with.

Parameter names are torchvision's. That form differs from the usual one in its poolings: averages leave padding out, and the
last block takes a maximum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Name, width, kernel, stride, and whether the size is kept by padding.
Step = tuple[str, int, int | tuple[int, int], int, bool]
# Name, width, kernel.
Split = tuple[str, int, tuple[int, int]]


class Convolution(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int | tuple[int, int], *, stride: int = 1, padding: bool = False
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        around = (sides[0] // 2, sides[1] // 2) if padding else (0, 0)
        self.conv = nn.Conv2d(in_channels, out_channels, sides, stride, around, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Block(nn.Module):
    """Parallel branches, concatenated.

    Args:
        in_channels: of the input.
        branches: for each, its steps.
        splits: for each branch, the names of two convolutions beside each other that end it.
        pool: what the pooling branch does: `average`, `maximum`, or `stride`, a maximum at half the size without convolution.
        pool_width: of the convolution behind the pooling.
    """

    def __init__(
        self,
        in_channels: int,
        branches: list[list[Step]],
        *,
        splits: dict[int, list[Split]] | None = None,
        pool: str,
        pool_width: int = 0,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.paths: list[list[str]] = []
        self.splits: dict[int, list[str]] = {}
        self.out_channels = pool_width or in_channels
        for number, steps in enumerate(branches):
            channels = in_channels
            for name, width, kernel, stride, padded in steps:
                self.add_module(name, Convolution(channels, width, kernel, stride=stride, padding=padded))
                channels = width
            self.paths.append([step[0] for step in steps])
            ends = (splits or {}).get(number, [])
            for name, width, kernel in ends:
                self.add_module(name, Convolution(channels, width, kernel, padding=True))
            self.splits[number] = [end[0] for end in ends]
            self.out_channels += sum(end[1] for end in ends) if ends else channels
        if pool_width:
            self.branch_pool = Convolution(in_channels, pool_width, 1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for number, path in enumerate(self.paths):
            out = x
            for name in path:
                out = self.get_submodule(name)(out)
            ends = self.splits[number]
            outputs += [self.get_submodule(name)(out) for name in ends] if ends else [out]
        return torch.cat([*outputs, self._pooled(x)], dim=1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.pool == "stride":
            return F.max_pool2d(x, 3, stride=2)
        if self.pool == "maximum":
            return self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))
        return self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))


class InceptionFeatures(nn.Module):
    """Pictures `[B, 3, H, W]` in [0, 1] to the 2048 features of the last pooling, `[B, 2048]`."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=True)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        blocks = {"Mixed_5b": _fives(192, 32), "Mixed_5c": _fives(256, 64), "Mixed_5d": _fives(288, 64)}
        blocks["Mixed_6a"] = _down_to_17()
        blocks |= {f"Mixed_6{letter}": _sevens(width) for letter, width in zip("bcde", (128, 160, 160, 192), strict=True)}
        blocks["Mixed_7a"] = _down_to_8()
        blocks |= {"Mixed_7b": _wide(1280, "average"), "Mixed_7c": _wide(2048, "maximum")}
        for name, block in blocks.items():
            self.add_module(name, block)
        self.blocks = list(blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) * 2 - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))
        x = F.max_pool2d(x, 3, stride=2)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x.mean(dim=(2, 3))


def _fives(in_channels: int, pool_width: int) -> Block:
    branches: list[list[Step]] = [
        [("branch1x1", 64, 1, 1, False)],
        [("branch5x5_1", 48, 1, 1, False), ("branch5x5_2", 64, 5, 1, True)],
        [("branch3x3dbl_1", 64, 1, 1, False), ("branch3x3dbl_2", 96, 3, 1, True), ("branch3x3dbl_3", 96, 3, 1, True)],
    ]
    return Block(in_channels, branches, pool="average", pool_width=pool_width)


def _down_to_17() -> Block:
    branches: list[list[Step]] = [
        [("branch3x3", 384, 3, 2, False)],
        [("branch3x3dbl_1", 64, 1, 1, False), ("branch3x3dbl_2", 96, 3, 1, True), ("branch3x3dbl_3", 96, 3, 2, False)],
    ]
    return Block(288, branches, pool="stride")


def _sevens(width: int) -> Block:
    row, column = (1, 7), (7, 1)
    branches: list[list[Step]] = [
        [("branch1x1", 192, 1, 1, False)],
        [("branch7x7_1", width, 1, 1, False), ("branch7x7_2", width, row, 1, True), ("branch7x7_3", 192, column, 1, True)],
        [
            ("branch7x7dbl_1", width, 1, 1, False),
            ("branch7x7dbl_2", width, column, 1, True),
            ("branch7x7dbl_3", width, row, 1, True),
            ("branch7x7dbl_4", width, column, 1, True),
            ("branch7x7dbl_5", 192, row, 1, True),
        ],
    ]
    return Block(768, branches, pool="average", pool_width=192)


def _down_to_8() -> Block:
    branches: list[list[Step]] = [
        [("branch3x3_1", 192, 1, 1, False), ("branch3x3_2", 320, 3, 2, False)],
        [
            ("branch7x7x3_1", 192, 1, 1, False),
            ("branch7x7x3_2", 192, (1, 7), 1, True),
            ("branch7x7x3_3", 192, (7, 1), 1, True),
            ("branch7x7x3_4", 192, 3, 2, False),
        ],
    ]
    return Block(768, branches, pool="stride")


def _wide(in_channels: int, pool: str) -> Block:
    branches: list[list[Step]] = [
        [("branch1x1", 320, 1, 1, False)],
        [("branch3x3_1", 384, 1, 1, False)],
        [("branch3x3dbl_1", 448, 1, 1, False), ("branch3x3dbl_2", 384, 3, 1, True)],
    ]
    splits = {
        1: [("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1))],
        2: [("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))],
    }
    return Block(in_channels, branches, splits=splits, pool=pool, pool_width=192)
