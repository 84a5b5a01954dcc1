"""Keypoint consistency: the keypoints of a generated picture lie where those of its driving frame do.

Not in the paper. An image loss hardly sees a lid that is half a pixel too low; the detector, which has learned to see it, does.
The detector itself learns nothing from this loss.
"""

from torch import Tensor, nn
from torch.func import functional_call

from mrfa.data.guidance import GROUP_INDEX
from mrfa.training.guidance import OPENINGS


def frozen_keypoints(detector: nn.Module, image: Tensor) -> Tensor:
    """Positions `[B, K, 2]`, normalised, with gradients for the picture `[B, 3, H, W]` alone.

    Neither the weights nor the running statistics of the detector are touched.
    """
    weights = {name: value.detach() for name, value in detector.named_parameters()}
    buffers = {name: value.clone() for name, value in detector.named_buffers()}
    return functional_call(detector, weights | buffers, (image,)).positions


def consistency_loss(found: Tensor, expected: Tensor) -> Tensor:
    """Mean L1 distance of keypoints `[B, K, 2]`, and that of the vectors between lids and between lips.

    Without guidance keypoints have no names, so the vectors are those of whichever keypoints stand in these places.
    """
    upper = [GROUP_INDEX[pair[0]] for pair in OPENINGS]
    lower = [GROUP_INDEX[pair[1]] for pair in OPENINGS]
    error = found - expected
    loss = error.abs().mean()
    if found.shape[1] > max(upper + lower):
        loss = loss + (error[:, upper] - error[:, lower]).abs().mean()
    return loss
