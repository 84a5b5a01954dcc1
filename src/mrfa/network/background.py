"""Motion of the background as one affine map (optional; replaces the static background of the paper's Eq. 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mrfa.network.geometry import Conventions, full_precision
from mrfa.network.resnet import ResNet18


class BackgroundPredictor(nn.Module):
    """A ResNet-18 that reads both images and gives the affine map of the background between them.

    Starts at the identity: a background that does not move.

    Args:
        width: channels of the first stage of the ResNet.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.trunk = ResNet18(6, 6, width=width)
        nn.init.zeros_(self.trunk.fc.weight)
        with torch.no_grad():
            self.trunk.fc.bias.copy_(torch.eye(2, 3).flatten())

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` in [0, 1] to `[B, 3, 3]`, from driving to source positions, homogeneous, normalised."""
        rows = self.trunk(torch.cat([source, driving], dim=1)).float().view(-1, 2, 3)
        last = torch.eye(3, device=rows.device)[2:].expand(len(rows), 1, 3)
        return torch.cat([rows, last], dim=1)


def background_flow(affine: Tensor, size: Sequence[int], conventions: Conventions) -> Tensor:
    """Backward flow `[B, h, w, 2]`, normalised, of a background that moves by `[B, 3, 3]` (last row 0, 0, 1)."""
    with full_precision(affine):
        affine = affine.float()
        grid = conventions.grid(size[0], size[1], affine).view(1, -1, 2)
        flow = grid @ affine[:, :2, :2].transpose(1, 2) + affine[:, None, :2, 2]
    return flow.unflatten(1, tuple(size))
