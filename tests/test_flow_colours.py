"""Motion as colours: known displacements, and the wheel."""

import pytest
import torch

from mrfa.data.flow_colours import colour_wheel, displacement_colours, flow_colours
from mrfa.network.geometry import HALF_PIXEL


@pytest.mark.parametrize(
    ("displacement", "colour"),
    [
        ((0, 0), (1, 1, 1)),
        ((2, 0), (1, 0, 0)),
        ((0, 2), (0.5, 1, 0)),
        ((-2, 0), (0, 1, 1)),
        ((0, -2), (0.5, 0, 1)),
        ((1, 0), (1, 0.5, 0.5)),
        ((9, 0), (1, 0, 0)),
    ],
    ids=["still", "right", "down", "left", "up", "half as far", "beyond"],
)
def test_colours_of_displacements(displacement: tuple[float, float], colour: tuple[float, ...]) -> None:
    field = torch.tensor(displacement, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    expected = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 3, 4)
    torch.testing.assert_close(displacement_colours(field, 2.0), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(flow_colours(HALF_PIXEL.to_flow(field), 2.0, HALF_PIXEL), expected, atol=1e-5, rtol=0)


def test_wheel_shows_what_the_colours_mean() -> None:
    wheel = colour_wheel(41)
    torch.testing.assert_close(wheel[:, 20, 20], torch.ones(3))
    torch.testing.assert_close(wheel[:, 20, 40], torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(wheel[:, 40, 20], torch.tensor([0.5, 1, 0]), atol=1e-5, rtol=0)
    assert (wheel[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()
