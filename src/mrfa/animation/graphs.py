"""Functions of tensors as CUDA graphs: their hundreds of small kernels are launched at once."""

import warnings
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

# Calls outside the graph before it is recorded, in which libraries choose their kernels and set their memory aside.
WARMUP = 2
# Graphs of one function, each for shapes of its own; for more the function is called as it is.
MOST = 8

P = ParamSpec("P")
R = TypeVar("R")


class Graphed(Generic[P, R]):
    """A function that is recorded as a graph when it is called with tensors of some shapes again, and then replayed.

    One that cannot be recorded, as it waits for the GPU, is called as it is from then on, with a warning.

    Several threads may call it. Arguments and results are tensors, also in tuples and lists, and constants.

    Args:
        function: nothing in it may wait for the GPU, or depend on anything but its arguments' shapes, types and constants.
    """

    def __init__(self, function: Callable[P, R]) -> None:
        self.function = function
        self._graphs: dict[tuple[object, ...], _Graph[R] | None] = {}
        self._recordable = True
        self._lock = Lock()

    def __call__(self, *arguments: P.args, **named: P.kwargs) -> R:
        leaves, tree = tree_flatten((arguments, named))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = tuple((leaf.shape, leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves)

        def call(values: Sequence[Tensor]) -> R:
            remaining = iter(values)
            filled = [next(remaining) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            given, keywords = tree_unflatten(filled, tree)
            return self.function(*given, **keywords)

        with self._lock:
            if key not in self._graphs:
                # The last frames of a video come once.
                if len(self._graphs) < MOST:
                    self._graphs[key] = None
                return call(tensors)
            graph = self._graphs[key]
            if graph is None and self._recordable:
                graph = self._graphs[key] = self._recorded(call, tensors)
            return call(tensors) if graph is None else graph.replay(tensors)

    def _recorded(self, call: Callable[[Sequence[Tensor]], R], tensors: Sequence[Tensor]) -> "_Graph[R] | None":
        try:
            return _Graph(call, tensors)
        except RuntimeError as error:
            self._recordable = False
            warnings.warn(f"no CUDA graph can be recorded, which is slower: {str(error).splitlines()[0]}", stacklevel=4)
            return None


class _Graph(Generic[R]):
    """A recorded call."""

    def __init__(self, call: Callable[[Sequence[Tensor]], R], tensors: Sequence[Tensor]) -> None:
        self.inputs = [tensor.clone() for tensor in tensors]
        self.graph = torch.cuda.CUDAGraph()
        chooses = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = True
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARMUP):
                    call(self.inputs)
            torch.cuda.current_stream().wait_stream(stream)
            # Other threads may go on using the GPU.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.outputs = call(self.inputs)
        finally:
            torch.backends.cudnn.benchmark = chooses

    def replay(self, tensors: Sequence[Tensor]) -> R:
        torch._foreach_copy_(self.inputs, list(tensors))
        self.graph.replay()
        return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, self.outputs)  # type: ignore[no-any-return]
