import torch

from mrfa.network.background import BackgroundPredictor, background_flow
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL


def test_starts_with_a_background_that_stands_still() -> None:
    torch.manual_seed(0)
    predictor = BackgroundPredictor(width=4)
    affine = predictor(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))
    assert torch.equal(affine, torch.eye(3).expand(2, 3, 3))
    assert torch.equal(background_flow(affine, (5, 7), CORNER_ALIGNED), CORNER_ALIGNED.grid(5, 7, affine).expand(2, -1, -1, -1))


def test_learns_and_keeps_the_last_row() -> None:
    torch.manual_seed(0)
    predictor = BackgroundPredictor(width=16)
    source, driving = torch.rand(2, 2, 3, 64, 64)
    optimiser = torch.optim.SGD(predictor.parameters(), 0.01)
    before = (predictor(source, driving)[:, 0, 2] - 0.5).square().mean()
    before.backward()
    optimiser.step()
    affine = predictor(source, driving)
    assert (affine[:, 0, 2] - 0.5).square().mean() < before
    assert torch.equal(affine[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(2, 3))


def test_order_of_the_images_matters() -> None:
    torch.manual_seed(0)
    predictor = BackgroundPredictor(width=4).eval()
    torch.nn.init.normal_(predictor.trunk.fc.weight)
    first, second = torch.rand(2, 1, 3, 64, 64)
    assert not torch.allclose(predictor(first, second), predictor(second, first), atol=1e-4)


def test_flow_applies_the_affine_map() -> None:
    affine = torch.tensor([[[1.0, 0.5, 0.25], [-0.5, 2.0, -0.125], [0.0, 0.0, 1.0]]])
    flow = background_flow(affine, (3, 3), CORNER_ALIGNED)
    assert torch.allclose(flow[0, 1, 1], torch.tensor([0.25, -0.125]))
    assert torch.allclose(flow[0, 0, 2], torch.tensor([1 - 0.5 + 0.25, -0.5 - 2 - 0.125]))


def test_flow_stays_exact_in_mixed_precision() -> None:
    affine = torch.eye(3)[None] + torch.tensor([[0.0, 0.0, 0.01], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = background_flow(affine, (64, 64), HALF_PIXEL)
    assert torch.equal(mixed, background_flow(affine, (64, 64), HALF_PIXEL))
