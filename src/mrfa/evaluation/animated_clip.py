"""What a network makes of a clip, with and without its refinement."""

import numpy as np
import torch

from mrfa.animation.motion import transfer_motion
from mrfa.data.tensors import to_pictures, to_tensor
from mrfa.evaluation.baselines import coarse_motion
from mrfa.network.model import Network

# Frames animated at once: more would only cost memory.
BATCH = 8


@torch.inference_mode()
def animate_clip(
    network: Network, source: np.ndarray, driving: np.ndarray, *, initial: np.ndarray | None = None, one_video: bool
) -> dict[str, np.ndarray]:
    """The source in the poses of the driving frames, by coarse and by refined motion.

    Args:
        network: in evaluation mode, on any device.
        source: uint8 RGB `[S, S, 3]`.
        driving: `[F, S, S, 3]`.
        initial: the driver's first frame, `[S, S, 3]`, for relative motion; None: absolute motion.
        one_video: source and driver are one video: the background moves, too, where the network follows it.

    Returns:
        Two arrays `[F, S, S, 3]`: `coarse`, from the coarse motion alone, and `result`, of the whole network.
    """
    device = next(network.parameters()).device
    encoded = network.encode_source(to_tensor(source[None], device))
    initial_keypoints = None if initial is None else network.detect(to_tensor(initial[None], device))
    found: dict[str, list[np.ndarray]] = {"coarse": [], "result": []}
    for start in range(0, len(driving), BATCH):
        images = to_tensor(driving[start : start + BATCH], device)
        keypoints = network.detect(images)
        background = network.follow_background(encoded, images, keypoints) if one_video else None
        if initial_keypoints is not None:
            keypoints = transfer_motion(encoded.keypoints, keypoints, initial_keypoints)
        found["coarse"].append(to_pictures(coarse_motion(network, encoded, keypoints, background)))
        found["result"].append(to_pictures(network.animate(encoded, keypoints, background=background).image))
    return {name: np.concatenate(pictures) for name, pictures in found.items()}
