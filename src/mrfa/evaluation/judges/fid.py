"""FID (Heusel et al. 2017): Frechet distance of the Inception features of all generated and all driving frames."""

from pathlib import Path

import numpy as np
import torch

from mrfa.backbones import find_weights
from mrfa.data.tensors import to_tensor
from mrfa.errors import InputError
from mrfa.evaluation.judges.inception import InceptionFeatures
from mrfa.evaluation.judges.protocol import BOTH, Frames, JudgeUnavailableError

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
BATCH = 16


class FIDJudge:
    """FID of generated against driving frames; it needs some thousands of them to mean much."""

    name = "FID (Inception)"
    lower_is_better = True
    protocols = BOTH

    def __init__(self, network: torch.nn.Module, device: str) -> None:
        self.network = network.to(device).eval()
        self.device = device

    @torch.inference_mode()
    def features(self, frames: Frames) -> np.ndarray:
        """Features of the generated frames and, beside them, of the driving ones: `[F, 2 D]`."""
        rows = []
        for start in range(0, len(frames.driving), BATCH):
            pair = [frames.generated[start : start + BATCH], frames.driving[start : start + BATCH]]
            rows.append(torch.cat([self.network(to_tensor(pictures, self.device)) for pictures in pair], dim=1).cpu().numpy())
        return np.concatenate(rows)

    def result(self, features: np.ndarray) -> float:
        """FID of all frames, `[N, 2 D]`; NaN of fewer than two."""
        if len(features) < 2:
            return float("nan")
        generated, driving = np.split(features.astype(np.float64), 2, axis=1)
        return frechet_distance(generated, driving)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of the Gaussians that fit two sets `[N, D]`."""
    covariance_a, covariance_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = _root(np.atleast_2d(covariance_a))
    # The trace of the root of the product of two covariances is that of a symmetric matrix's root.
    eigenvalues = np.linalg.eigvalsh(root @ np.atleast_2d(covariance_b) @ root)
    cross = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    difference = np.square(a.mean(0) - b.mean(0)).sum()
    return float(difference + np.trace(np.atleast_2d(covariance_a)) + np.trace(np.atleast_2d(covariance_b)) - 2 * cross)


def fid_judge(*, weights: Path | None, device: str) -> FIDJudge:
    """Load the Inception network that FID is defined by.

    Raises:
        JudgeUnavailableError: its weights are missing or are others.
    """
    network = InceptionFeatures()
    try:
        path = find_weights(URL, weights)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except InputError as error:
        raise JudgeUnavailableError(str(error)) from None
    except Exception:  # torch raises many kinds for damaged files
        raise JudgeUnavailableError(f"{path} is not a weights file: get {URL}") from None
    state = {key: value for key, value in state.items() if not key.startswith(("fc.", "AuxLogits."))}
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise JudgeUnavailableError(f"{path} holds other weights than FID's Inception: get {URL}") from None
    return FIDJudge(network, device)


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of a symmetric matrix without negative eigenvalues, but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
