"""Equivariance of keypoints and affine maps under a random transform (paper Eq. 12), and of the background under exchange."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mrfa.network.geometry import Conventions, full_precision, invert_2x2
from mrfa.network.keypoints import Keypoints


class RandomTransform(NamedTuple):
    """A random affine map plus a thin-plate part.

    Identity plus N(0, 0.05) affine, plus a thin-plate part over a 5x5 grid of control points with N(0, 0.005) weights and the
    kernel d^2 log(d + 1e-6) of the L1 distance d.

    Attributes:
        theta: affine part, `[B, 2, 3]`.
        weights: weight of each control point, `[B, 25]`, added to both coordinates.
        conventions: of the normalised positions that it transforms.
    """

    theta: Tensor
    weights: Tensor
    conventions: Conventions

    @staticmethod
    def draw(
        batch: int, like: Tensor, conventions: Conventions, *, affine: float = 0.05, bend: float = 0.005
    ) -> "RandomTransform":
        """One transform for each picture of a batch; `affine` and `bend` are standard deviations."""
        noise = torch.randn(batch, 2, 3, device=like.device) * affine
        theta = noise + torch.eye(2, 3, device=like.device)
        return RandomTransform(theta, torch.randn(batch, 25, device=like.device) * bend, conventions)

    def positions(self, positions: Tensor) -> Tensor:
        """Transformed positions, `[B, n, 2]` (or `[1, n, 2]`, the same for all) to `[B, n, 2]`, in float32."""
        with full_precision(positions):
            positions = positions.float()
            affine = positions @ self.theta[:, :, :2].transpose(1, 2) + self.theta[:, None, :, 2]
            return affine + self._bend(positions)[..., None]

    def image(self, image: Tensor) -> Tensor:
        """The picture `[B, C, H, W]` sampled at the transformed grid, reflected at its borders."""
        batch, _, height, width = image.shape
        grid = self.conventions.grid(height, width, image).view(1, -1, 2)
        return self.conventions.sample(image, self.positions(grid).view(batch, height, width, 2), padding="reflection")

    def jacobian(self, positions: Tensor) -> Tensor:
        """Derivative of the transform at `[B, n, 2]`: `[B, n, 2, 2]`, rows the outputs, by central differences."""
        step = 1e-2
        offset = torch.eye(2, device=positions.device) * step
        columns = [(self.positions(positions + offset[i]) - self.positions(positions - offset[i])) / (2 * step) for i in range(2)]
        return torch.stack(columns, dim=-1)

    def _bend(self, positions: Tensor) -> Tensor:
        line = torch.linspace(-1, 1, 5, device=positions.device)
        control = torch.cartesian_prod(line, line).flip(-1)
        distance = (positions[:, :, None] - control).abs().sum(-1)
        kernel = distance**2 * torch.log(distance + 1e-6)
        return (kernel @ self.weights[..., None])[..., 0]


def equivariance_loss(driving: Keypoints, transformed: Keypoints, transform: RandomTransform) -> Tensor:
    """Mean L1 distance of the driving picture's keypoints to the transformed ones of its transformed picture.

    Args:
        driving: keypoints of the driving picture, `[B, K, 2]`.
        transformed: those of `transform.image` of that picture.
        transform: the transform.
    """
    return F.l1_loss(transform.positions(transformed.positions), driving.positions)


def affine_equivariance_loss(driving: Keypoints, transformed: Keypoints, transform: RandomTransform) -> Tensor:
    """Mean of |A_driving^-1 J A_transformed - I| with the transform's Jacobian J; arguments as of `equivariance_loss`."""
    assert driving.affine is not None and transformed.affine is not None
    with full_precision(driving.positions):
        jacobian = transform.jacobian(transformed.positions.float())
        product = invert_2x2(driving.affine) @ jacobian @ transformed.affine.float()
        return (product - torch.eye(2, device=product.device)).abs().mean()


def background_loss(there: Tensor, back: Tensor) -> Tensor:
    """The background's motion there and back is none: `[B, 3, 3]` of the pair and of the exchanged pair are inverse."""
    return (there @ back - torch.eye(3, device=back.device)).abs().mean()
