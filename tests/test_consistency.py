"""Keypoint consistency: who learns from it, and what it measures."""

import torch

from mrfa.network.model import Network
from mrfa.training.consistency import consistency_loss, frozen_keypoints


def test_the_picture_learns_and_the_detector_does_not(tiny_network: Network) -> None:
    detector = tiny_network.detector.train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    image = torch.rand(2, 3, 64, 64, requires_grad=True)
    consistency_loss(frozen_keypoints(detector, image), torch.zeros(2, 28, 2)).backward()
    assert image.grad is not None and image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())


def test_same_keypoints_as_the_detector_itself(tiny_network: Network) -> None:
    image = torch.rand(2, 3, 64, 64)
    assert torch.allclose(frozen_keypoints(tiny_network.detector, image), tiny_network.detect(image).positions, atol=1e-6)


def test_openings_count_beyond_positions() -> None:
    still = torch.zeros(1, 28, 2)
    shifted = still + 0.1
    assert torch.isclose(consistency_loss(shifted, still), torch.tensor(0.1))
    opened = still.clone()
    opened[:, 2] += 0.1  # one lid away from the other
    assert consistency_loss(opened, still) > (opened - still).abs().mean()
    assert torch.isclose(consistency_loss(still[:, :5] + 0.1, still[:, :5]), torch.tensor(0.1))
