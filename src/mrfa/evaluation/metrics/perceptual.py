"""LPIPS (Zhang et al. 2018), on VGG-16 or AlexNet, and FID (Heusel et al. 2017)."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mrfa.backbones import FeatureLayers, find_weights, load_backbone
from mrfa.data.tensors import to_tensor
from mrfa.errors import InputError
from mrfa.evaluation.metrics.metric import Frames, Measure, MetricUnavailableError, Needs, first_line

BATCH = 8
# Backbone to the names under which LPIPS's linear weights are published.
HEAD_FILES = {"vgg16": "vgg.pth", "alexnet": "alex.pth"}
HEADS_URL = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/"
INCEPTION_URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"


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
        levels = zip(*(self.layers((x - self.shift) / self.scale) for x in (a, b)), self.heads, strict=True)
        return sum(((_unit(x) - _unit(y)).square() * head).sum(1).mean(dim=(1, 2)) for x, y, head in levels)


def load_lpips(backbone: str, needs: Needs) -> Measure:
    """LPIPS of generated against true frames, on `vgg16` or `alexnet`.

    In the `paper` variant pictures go in as they are, in [0, 1], as the published figures were computed; LPIPS is defined for
    [-1, 1].

    Raises:
        MetricUnavailableError: the backbone's or the heads' weights are missing.
    """
    try:
        layers = load_backbone(backbone, needs.weights)
        heads = _load_heads(backbone, needs.weights)
    except InputError as error:
        raise MetricUnavailableError(str(error)) from None
    if [head.shape[1] for head in heads] != [layers.layers[number - 1].out_channels for number in layers.taken]:
        raise MetricUnavailableError(f"{HEAD_FILES[backbone]} holds no LPIPS weights for {backbone}")
    distance = PerceptualDistance(layers, heads).to(needs.device).eval()

    @torch.inference_mode()
    def measure(frames: Frames) -> np.ndarray:
        found = []
        for start in range(0, len(frames.driving), BATCH):
            pair = [to_tensor(x[start : start + BATCH], needs.device) for x in (frames.generated, frames.driving)]
            found.append(distance(*(x if needs.variant == "paper" else x * 2 - 1 for x in pair)).cpu().numpy())
        return np.concatenate(found).astype(np.float64)

    return measure


def load_inception(needs: Needs) -> nn.Module:
    """The Inception network that FID is defined by, by torch-fidelity: uint8 `[B, 3, H, W]` to features `[B, 2048]`.

    Raises:
        MetricUnavailableError: the package or its weights are missing.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except Exception as error:  # a torchvision that does not fit torch raises many kinds
        raise MetricUnavailableError(f"needs torch-fidelity: pip install 'mrfa[paper-metrics]' ({first_line(error)})") from None
    try:
        path = find_weights(INCEPTION_URL, needs.weights)
    except InputError as error:
        raise MetricUnavailableError(str(error)) from None
    try:
        # torch-fidelity unpickles the file as it is: make sure before that it holds nothing but tensors.
        torch.load(path, map_location="cpu", weights_only=True)
        return FeatureExtractorInceptionV3("fid", ["2048"], feature_extractor_weights_path=str(path)).to(needs.device).eval()
    except Exception:  # torch raises many kinds for damaged files
        raise MetricUnavailableError(f"{path} holds other weights than FID's Inception: get {INCEPTION_URL}") from None


def inception_features(network: nn.Module, device: str) -> Measure:
    """Features of the generated frames and, beside them, of the driving ones: `[F, 2 D]`."""

    @torch.inference_mode()
    def measure(frames: Frames) -> np.ndarray:
        rows = []
        for start in range(0, len(frames.driving), BATCH):
            pair = [x[start : start + BATCH] for x in (frames.generated, frames.driving)]
            features = [network((to_tensor(x, device) * 255).to(torch.uint8))[0] for x in pair]
            rows.append(torch.cat(features, dim=1).cpu().numpy())
        return np.concatenate(rows)

    return measure


def frechet_distance(features: np.ndarray) -> float:
    """Frechet distance of the Gaussians that fit the two halves of the columns of `[N, 2 D]`; NaN of fewer than two rows.

    It needs some thousands of rows to mean much.
    """
    if len(features) < 2:
        return float("nan")
    halves = np.split(features.astype(np.float64), 2, axis=1)
    covariance_a, covariance_b = (np.atleast_2d(np.cov(half, rowvar=False)) for half in halves)
    # The trace of the root of the product of two covariances is that of a symmetric matrix's root.
    values, vectors = np.linalg.eigh(covariance_a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance_b @ root), 0, None)).sum()
    apart = np.square(halves[0].mean(0) - halves[1].mean(0)).sum()
    return float(apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross)


def _load_heads(backbone: str, weights: Path | None) -> list[Tensor]:
    """Linear weights of each level: of the folder given, those that torchmetrics brings along, or wherever else they are."""
    folders = [] if weights is None else [weights]
    torchmetrics = find_spec("torchmetrics")
    if torchmetrics is not None and torchmetrics.origin is not None:
        folders.append(Path(torchmetrics.origin).parent / "functional" / "image" / "lpips_models")
    found = (folder / HEAD_FILES[backbone] for folder in folders)
    path = next((path for path in found if path.is_file()), None) or find_weights(HEADS_URL + HEAD_FILES[backbone], weights)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return [state[f"lin{level}.model.1.weight"].float() for level in range(5)]
    except Exception:  # torch raises many kinds for damaged files
        raise InputError(f"{path} is not a file of LPIPS weights") from None


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + 1e-10)
