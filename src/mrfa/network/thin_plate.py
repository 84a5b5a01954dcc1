"""The thin-plate-spline prior (paper 3.1; Zhao and Zhang, CVPR 2022): detector, part flows and dropout of contribution maps.

Each group of keypoints controls one thin-plate spline, a smooth deformation of the whole plane; there are no affine maps.
"""

import torch
from torch import Tensor, nn

from mrfa.network.background import background_flow
from mrfa.network.geometry import identity_grid
from mrfa.network.keypoints import Keypoints
from mrfa.network.resnet import ResNet18


class ThinPlateDetector(nn.Module):
    """A ResNet-18 that regresses the keypoints of all groups.

    Args:
        groups: number of splines (K in the paper).
        points: keypoints that control each spline.
        width: channels of the first stage of the ResNet.
    """

    def __init__(self, *, groups: int = 10, points: int = 5, width: int = 64) -> None:
        super().__init__()
        self.trunk = ResNet18(3, 2 * groups * points, width=width)

    def forward(self, image: Tensor) -> Keypoints:
        """Image `[B, 3, H, W]` in [0, 1], at its full size, to `groups * points` keypoints, group by group."""
        positions = 2 * torch.sigmoid(self.trunk(image)) - 1
        return Keypoints(positions.unflatten(1, (-1, 2)), None)


def group_means(positions: Tensor, groups: int) -> Tensor:
    """Mean position of each group: `[B, groups * points, 2]` to `[B, groups, 2]`."""
    return positions.unflatten(1, (groups, -1)).mean(2)


def solve_thin_plate(control: Tensor, target: Tensor, regularisation: float = 0.01) -> Tensor:
    """Coefficients of the splines that carry control points to targets.

    Args:
        control: `[..., P, 2]`.
        target: `[..., P, 2]`.
        regularisation: added to the whole diagonal of the linear system. At 0 the targets are met exactly, but points that
            coincide or lie on a line have no solution; the released models were trained with 0.01.

    Returns:
        `[..., P + 3, 2]` in float32: a weight for each control point, then the factors of x, y and 1.
    """
    # The system is too badly conditioned for half precision.
    with torch.autocast(control.device.type, enabled=False):
        control, target = control.float(), target.float()
        plane = _with_one(control)
        corner = control.new_zeros(*control.shape[:-2], 3, 3)
        system = torch.cat(
            [
                torch.cat([_kernel(control, control), plane], dim=-1),
                torch.cat([plane.transpose(-1, -2), corner], dim=-1),
            ],
            dim=-2,
        )
        system = system + regularisation * torch.eye(system.shape[-1], device=system.device)
        values = torch.cat([target, target.new_zeros(*target.shape[:-2], 3, 2)], dim=-2)
        return torch.linalg.solve(system, values)


def evaluate_thin_plate(coefficients: Tensor, control: Tensor, positions: Tensor) -> Tensor:
    """Where splines carry positions.

    Args:
        coefficients: `[..., P + 3, 2]`, from `solve_thin_plate`.
        control: `[..., P, 2]`, the control points that they were solved for.
        positions: `[..., n, 2]`, or `[n, 2]`, the same for all splines.

    Returns:
        `[..., n, 2]` in float32.
    """
    with torch.autocast(coefficients.device.type, enabled=False):
        control, positions = control.float(), positions.float()
        bend, plane = coefficients.float().split([control.shape[-2], 3], dim=-2)
        return _kernel(positions, control) @ bend + _with_one(positions) @ plane


def thin_plate_part_flows(
    source: Tensor,
    driving: Tensor,
    *,
    groups: int,
    height: int,
    width: int,
    background: Tensor | None = None,
    regularisation: float = 0.01,
) -> Tensor:
    """Backward flow of the background and of each group's spline (the counterpart of Eq. 1 and 2).

    Args:
        source: keypoints of the source image, `[B, groups * points, 2]`, normalised.
        driving: those of the driving image.
        groups: number of splines.
        height: rows of the flow.
        width: columns of the flow.
        background: affine map of the background, `[B, 3, 3]`; None: it stands still.
        regularisation: see `solve_thin_plate`.

    Returns:
        `[B, groups + 1, h, w, 2]`, normalised, the background first.
    """
    control = driving.unflatten(1, (groups, -1))
    coefficients = solve_thin_plate(control, source.unflatten(1, (groups, -1)), regularisation)
    grid = identity_grid(height, width, control)
    parts = evaluate_thin_plate(coefficients, control, grid.view(-1, 2)).unflatten(2, (height, width))
    still = grid.expand(len(parts), -1, -1, -1) if background is None else background_flow(background, height, width)
    return torch.cat([still[:, None], parts], dim=1)


def dropped_softmax(logits: Tensor, probability: float) -> Tensor:
    """Contribution maps of which each part but the background is left out at random, for a whole picture at a time.

    Without it a few splines do all the work early in training. Parts that stay count 1 / (1 - probability) times as much, so
    that the expected sum in the denominator is that of the plain softmax.

    Args:
        logits: `[B, groups + 1, h, w]`, the background first.
        probability: of dropping a part, in [0, 1); 0 gives the plain softmax.

    Returns:
        `[B, groups + 1, h, w]`, non-negative, with sum 1 over the parts.

    Raises:
        ValueError: a probability outside [0, 1).
    """
    if not 0 <= probability < 1:
        raise ValueError(f"the dropout probability must be at least 0 and below 1, got {probability}")
    logits = logits.float()
    drawn = torch.rand(logits.shape[0], logits.shape[1] - 1, 1, 1, device=logits.device)
    kept = (drawn >= probability) / (1 - probability)
    factors = torch.cat([torch.ones_like(kept[:, :1]), kept], dim=1)
    # The logarithm of 0 is -inf, a weight of exactly 0 in the softmax.
    return torch.softmax(logits + torch.log(factors), dim=1)


def _kernel(positions: Tensor, control: Tensor) -> Tensor:
    """Radial basis U = r^2 log(r^2 + 1e-9) of the distances r: `[..., n, 2]` and `[..., P, 2]` to `[..., n, P]`."""
    squared = (positions[..., :, None, :] - control[..., None, :, :]).square().sum(-1)
    return squared * torch.log(squared + 1e-9)


def _with_one(positions: Tensor) -> Tensor:
    """`[..., n, 2]` to (x, y, 1)."""
    return torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1)
