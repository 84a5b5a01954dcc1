"""LPIPS (Zhang et al. 2018), on VGG-16 or AlexNet."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mrfa.backbones import FeatureLayers, load_backbone
from mrfa.data.tensors import to_tensor
from mrfa.errors import InputError
from mrfa.evaluation.judges.protocol import RECONSTRUCTION, Frames, JudgeUnavailableError

BATCH = 8
# Backbone to the names under which its linear weights are published.
HEAD_FILES = {"vgg16": "vgg.pth", "alexnet": "alex.pth"}
HEADS_URL = "https://github.com/richzhang/PerceptualSimilarity/tree/master/lpips/weights/v0.1"
TITLES = {"vgg16": "LPIPS (VGG)", "alexnet": "LPIPS (AlexNet)"}


class PerceptualDistance(nn.Module):
    """Distance of unit-length features, weighted by channel, averaged over the picture, summed over levels.

    Args:
        layers: VGG-16 or AlexNet.
        heads: weight of each channel, `[1, C, 1, 1]` a level.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, layers: FeatureLayers, heads: list[Tensor]) -> None:
        super().__init__()
        self.layers = layers
        self.heads = nn.ParameterList(nn.Parameter(head, requires_grad=False) for head in heads)
        # The backbones' usual mean and deviation, for pictures in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` in [-1, 1] to distances `[B]`."""
        pairs = zip(*(self.layers((x - self.shift) / self.scale) for x in (a, b)), self.heads, strict=True)
        total = torch.zeros(len(a), device=a.device)
        for first, second, head in pairs:
            difference = (_unit(first) - _unit(second)).square()
            total = total + (difference * head).sum(1).mean(dim=(1, 2))
        return total


class LPIPSJudge:
    """LPIPS of generated against true frames.

    In the `paper` variant pictures go in as they are, in [0, 1], as the published figures were computed; LPIPS is defined for
    [-1, 1].
    """

    lower_is_better = True
    protocols = RECONSTRUCTION

    def __init__(self, name: str, distance: PerceptualDistance, *, variant: str, device: str) -> None:
        self.name = name
        self.distance = distance.to(device).eval()
        self.device = device
        self.signed = variant != "paper"

    @torch.inference_mode()
    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`."""
        found = []
        for start in range(0, len(frames.driving), BATCH):
            pair = [to_tensor(x[start : start + BATCH], self.device) for x in (frames.generated, frames.driving)]
            made, true = (x * 2 - 1 if self.signed else x for x in pair)
            found.append(self.distance(made, true).cpu().numpy())
        return np.concatenate(found).astype(np.float64)


def lpips_judge(backbone: str, *, variant: str, weights: Path | None, device: str) -> LPIPSJudge:
    """Load LPIPS on `vgg16` or `alexnet`.

    Raises:
        JudgeUnavailableError: the backbone's or the heads' weights are missing.
    """
    try:
        layers = load_backbone(backbone, weights)
        heads = _load_heads(backbone, weights)
    except InputError as error:
        raise JudgeUnavailableError(str(error)) from None
    widths = [head.shape[1] for head in heads]
    expected = [layers.layers[number - 1].out_channels for number in layers.taken]
    if widths != expected:
        raise JudgeUnavailableError(f"{HEAD_FILES[backbone]} holds no LPIPS weights for {backbone}")
    return LPIPSJudge(TITLES[backbone], PerceptualDistance(layers, heads), variant=variant, device=device)


def _load_heads(backbone: str, weights: Path | None) -> list[Tensor]:
    """Linear weights of each level, from the folder given or from those that torchmetrics brings along."""
    name = HEAD_FILES[backbone]
    folders = [] if weights is None else [weights / "lpips", weights]
    torchmetrics = find_spec("torchmetrics")
    if torchmetrics is not None and torchmetrics.origin is not None:
        folders.append(Path(torchmetrics.origin).parent / "functional" / "image" / "lpips_models")
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"no LPIPS weights {name}: pip install torchmetrics, or place {HEADS_URL}/{name} in the weights folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return [state[f"lin{level}.model.1.weight"].float() for level in range(5)]
    except Exception:  # torch raises many kinds for damaged files
        raise InputError(f"{path} is not a file of LPIPS weights") from None


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
