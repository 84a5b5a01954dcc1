"""Every kind of network computes what it computed when it was last compared with the authors' networks."""

import pytest
from expected_values import CASES, FILE, compute
from safetensors.torch import load_file
from torch import Tensor

# Ten times what other instruction sets and other algorithms of the convolutions change.
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return load_file(FILE)


@pytest.mark.parametrize("case", CASES)
def test_values_are_as_before(case: str, expected: dict[str, Tensor]) -> None:
    computed = compute(case)
    assert set(computed) == {name for name in expected if name.startswith(f"{case}/")}
    differences = {name: (value - expected[name]).abs().max().item() for name, value in computed.items()}
    assert {name: difference for name, difference in differences.items() if not difference < TOLERANCE} == {}
