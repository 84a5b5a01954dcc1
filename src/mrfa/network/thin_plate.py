"""The thin-plate-spline prior (paper 3.1; Zhao and Zhang, CVPR 2022): detector, part flows and dropout of contribution maps.

Each group of keypoints controls one thin-plate spline, a smooth deformation of the whole plane; there are no affine maps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mrfa.network.config import ThinPlateDetectorConfig
from mrfa.network.geometry import Conventions, full_precision
from mrfa.network.keypoints import Detector, Keypoints
from mrfa.network.resnet import ResNet18


class ThinPlateDetector(Detector):
    """A ResNet-18 that regresses the keypoints of all groups; each group's spline is a part."""

    exact_part_warps = True

    def __init__(self, config: ThinPlateDetectorConfig, conventions: Conventions) -> None:
        super().__init__(conventions)
        self.groups = config.groups
        self.trunk = ResNet18(3, 2 * config.keypoints, width=config.width)

    def forward(self, image: Tensor) -> Keypoints:
        """Image `[B, 3, H, W]` in [0, 1], at its full size, to `groups * points` keypoints, group by group."""
        positions = 2 * torch.sigmoid(self.trunk(image)) - 1
        return Keypoints(positions.unflatten(1, (-1, 2)), None)

    def part_flows(self, source: Keypoints, driving: Keypoints, size: Sequence[int], background: Tensor | None = None) -> Tensor:
        """See `Detector`."""
        parts = thin_plate_part_flows(
            source.positions, driving.positions, groups=self.groups, size=size, conventions=self.conventions
        )
        return torch.cat([self.still_flow(driving, size, background)[:, None], parts], dim=1)

    def structure_positions(self, keypoints: Keypoints) -> Tensor:
        """The mean of each group."""
        return group_means(keypoints.positions, self.groups)


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
    with full_precision(control):
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
        # Other runtimes have no solver.
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return eliminate(system, values)
        # Without the check for singular systems, for which a GPU would have to stop.
        return torch.linalg.solve_ex(system, values).result


def eliminate(system: Tensor, values: Tensor) -> Tensor:
    """Solution of linear systems by Gauss-Jordan elimination with pivots, of products and maxima alone.

    Args:
        system: `[..., n, n]`.
        values: `[..., n, m]`.

    Returns:
        `[..., n, m]`.
    """
    size = system.shape[-1]
    rows = torch.cat([system, values], dim=-1)
    free = torch.ones_like(rows[..., 0])
    pivots = []
    for column in range(size):
        # Of the rows that were no pivot yet, the one with the largest value; as a mask it needs no exchange of rows.
        largest = torch.argmax(rows[..., column].abs() * free - (1 - free), dim=-1, keepdim=True)
        chosen = (torch.arange(size, device=rows.device) == largest).to(rows.dtype)
        pivot = (chosen[..., None] * rows).sum(-2, keepdim=True)
        pivot = pivot / pivot[..., column : column + 1]
        # Of the pivot's own row what is left is the pivot.
        rows = rows - (rows[..., column] - chosen)[..., None] * pivot
        free = free * (1 - chosen)
        pivots.append(chosen)
    # Row i of the solution is that of the i-th pivot.
    return torch.stack(pivots, dim=-2) @ rows[..., size:]


def evaluate_thin_plate(coefficients: Tensor, control: Tensor, positions: Tensor) -> Tensor:
    """Where splines carry positions.

    Args:
        coefficients: `[..., P + 3, 2]`, from `solve_thin_plate`.
        control: `[..., P, 2]`, the control points that they were solved for.
        positions: `[..., n, 2]`, or `[n, 2]`, the same for all splines.

    Returns:
        `[..., n, 2]` in float32.
    """
    with full_precision(coefficients):
        control, positions = control.float(), positions.float()
        bend, plane = coefficients.float().split([control.shape[-2], 3], dim=-2)
        return _kernel(positions, control) @ bend + _with_one(positions) @ plane


def thin_plate_part_flows(
    source: Tensor,
    driving: Tensor,
    *,
    groups: int,
    size: Sequence[int],
    conventions: Conventions,
    regularisation: float = 0.01,
) -> Tensor:
    """Backward flow of each group's spline (the counterpart of Eq. 1).

    Args:
        source: keypoints of the source image, `[B, groups * points, 2]`, normalised.
        driving: those of the driving image.
        groups: number of splines.
        size: (h, w) of the flow.
        conventions: of positions and flows.
        regularisation: see `solve_thin_plate`.

    Returns:
        `[B, groups, h, w, 2]`, normalised.
    """
    control = driving.unflatten(1, (groups, -1))
    coefficients = solve_thin_plate(control, source.unflatten(1, (groups, -1)), regularisation)
    grid = conventions.grid(size[0], size[1], control).view(-1, 2)
    return evaluate_thin_plate(coefficients, control, grid).unflatten(2, tuple(size))


def _kernel(positions: Tensor, control: Tensor) -> Tensor:
    """Radial basis U = r^2 log(r^2) of the distances r, 0 at 0: `[..., n, 2]` and `[..., P, 2]` to `[..., n, P]`."""
    squared = (positions[..., :, None, :] - control[..., None, :, :]).square().sum(-1)
    # At least 1e-9, not 1e-9 more: what simplifies ONNX graphs takes that for 0.
    return squared * torch.log(squared.clamp_min(1e-9))


def _with_one(positions: Tensor) -> Tensor:
    """`[..., n, 2]` to (x, y, 1)."""
    return torch.cat([positions, torch.ones_like(positions[..., :1])], dim=-1)
