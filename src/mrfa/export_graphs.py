"""The network as three graphs of named tensors, which other runtimes are given, in files or in memory.

| graph | inputs | outputs |
| --- | --- | --- |
| `detect` | `image` | `positions`, `affine` |
| `encode` | `image` | `source_keypoints_positions`, `source_thumbnail`, `source_features_0`, ... |
| `animate` | `source_image`, the outputs of `encode`, `driving_positions`, `driving_affine` | `image`, `coarse_flow`, ... |

Names are those of the fields of `Keypoints`, `Source` and `Output`; what a model does not have is left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from mrfa.network.model import Network, Output, Source

GraphName = Literal["detect", "encode", "animate"]

# Of examples: with one picture torch would take the batch for a constant.
_BATCH = 2


class NamedTensors(nn.Module):
    """A function of the network from tensors by name to tensors by name."""

    def __init__(self, network: Network, function: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inputs to outputs."""
        return self.function(tensors)


class Graph(NamedTuple):
    """One of the three graphs.

    Attributes:
        module: what computes it.
        inputs: examples, in order.
        batched: of which inputs the first dimension, the batch, may be of any size: all but the source's, which is one portrait.
        outputs: names in order, with the shapes that come of the examples.
    """

    module: NamedTensors
    inputs: dict[str, Tensor]
    batched: frozenset[str]
    outputs: dict[str, torch.Size]


def graphs(network: Network) -> dict[GraphName, Graph]:
    """The graphs `detect`, `encode` and `animate` of a network on the CPU, in evaluation mode."""
    size = network.config.image_size
    pictures = torch.rand(_BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        source, driving = network.encode_source(pictures[:1]), network.detect(pictures)

    def detect(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return named(network.detect(tensors["image"]))

    def encode(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return encoded(network.encode_source(tensors["image"]))

    def animate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return drawn(network.animate(like(source, tensors, "source"), like(driving, tensors, "driving")))

    posed = named(driving, "driving")
    return {
        "detect": _graph(network, detect, {"image": pictures}, {"image"}),
        "encode": _graph(network, encode, {"image": pictures}, {"image"}),
        "animate": _graph(network, animate, named(source, "source") | posed, posed),
    }


def _graph(
    network: Network,
    function: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    inputs: dict[str, Tensor],
    batched: Iterable[str],
) -> Graph:
    with torch.no_grad():
        outputs = function(inputs)
    shapes = {name: value.shape for name, value in outputs.items()}
    return Graph(NamedTensors(network, function), inputs, frozenset(batched), shapes)


def encoded(source: Source) -> dict[str, Tensor]:
    """What the graph `encode` gives: the source without its image, which who encodes it has."""
    return {name: value for name, value in named(source, "source").items() if name != "source_image"}


def drawn(output: Output) -> dict[str, Tensor]:
    """What the graph `animate` gives: image and motion over a background that stands still, each tensor once."""
    motion = output.motion
    if motion.picture_flow is motion.flows[-1]:
        motion = motion._replace(picture_flow=None)  # type: ignore[arg-type]
    return named(output.image, "image") | named(output.coarse, "coarse") | named(motion, "motion")


def named(value: Any, name: str = "") -> dict[str, Tensor]:
    """The tensors of a tree of named tuples and lists by the names that lead to them, such as `motion_flows_0`."""
    return dict(_tensors(value, name))


def like(tree: Any, tensors: Mapping[str, Tensor], name: str = "") -> Any:
    """The inverse of `named`: a tree as another is, of other tensors; None where these have none of the name."""
    if tree is None or isinstance(tree, Tensor):
        return tensors.get(name)
    parts = [like(part, tensors, f"{name}_{field}" if name else field) for field, part in _parts(tree)]
    return parts if isinstance(tree, list) else type(tree)(*parts)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif value is not None:
        for field, part in _parts(value):
            yield from _tensors(part, f"{name}_{field}" if name else field)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of a named tuple, or the places of a list."""
    if isinstance(value, list):
        return ((str(number), part) for number, part in enumerate(value))
    return iter(value._asdict().items())
