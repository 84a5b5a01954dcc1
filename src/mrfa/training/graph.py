"""A training step's forward and backward pass as one CUDA graph.

A step launches some ten thousand small kernels, and eager PyTorch needs longer to launch them than the GPU to run them. A graph
is launched at once.
"""

from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor
from torch.nn import Parameter

from mrfa.training.augmentation import Pair
from mrfa.training.objective import Losses

# Passes outside the graph before it is recorded, in which libraries choose their kernels and set their memory aside.
WARMUP = 2


class GradientGraph:
    """Losses of a pair and, in the parameters, their gradients; recorded when first asked for, and again for another phase.

    Args:
        losses: of a pair; nothing in it may wait for the GPU or depend on anything but tensors and the phase.
        parameters: that learn.
    """

    def __init__(self, losses: Callable[[Pair], Losses], parameters: Iterable[Parameter]) -> None:
        self.losses = losses
        self.parameters = list(parameters)
        self.phase: Hashable = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, pair: Pair, phase: Hashable) -> Losses:
        """Losses without gradients; those of the parameters are in place, whatever was there before.

        Args:
            pair: on the GPU, of the same size every time.
            phase: stands for all that changes what a step computes.
        """
        if self.graph is None or phase != self.phase:
            self._record(pair)
            self.phase = phase
        assert self.graph is not None
        for kept, value in zip(self.pair, pair, strict=True):
            kept.copy_(value)
        self.graph.replay()
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        total, *parts = self.values.clone().unbind()
        return Losses(total, dict(zip(self.names, parts, strict=True)))

    def _record(self, pair: Pair) -> None:
        self.graph = None
        self.pair = Pair(*(value.clone() for value in pair))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARMUP):
                self._run()
        torch.cuda.current_stream().wait_stream(stream)
        # Weights rounded outside the graph would stay what they are now.
        torch.clear_autocast_cache()
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as those that watch over messages between processes, may go on asking the GPU.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            losses = self._run()
            self.values = torch.stack([losses.total.detach(), *(value.detach().float() for value in losses.parts.values())])
        torch.clear_autocast_cache()
        self.names = list(losses.parts)
        self.gradients = [parameter.grad for parameter in self.parameters]
        self.graph = graph

    def _run(self) -> Losses:
        for parameter in self.parameters:
            parameter.grad = None
        losses = self.losses(self.pair)
        with torch.autocast("cuda", enabled=False):
            losses.total.backward()
        return losses


def average_gradients(parameters: Iterable[Parameter], count: int) -> None:
    """Replace the gradients by their mean over all processes, in one message."""
    import torch.distributed as dist

    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    message = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(message)
    parts = (message / count).split([gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)])
