"""Confidence intervals over clips."""

import numpy as np


def bootstrap_interval(
    values: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean (Efron 1979).

    Clips are the units that are drawn again, not frames: frames of one clip are alike.

    Args:
        values: a figure a clip, `[C]`, at least one, all finite.
        weights: of each clip in the mean, `[C]`, such as its number of frames; None: all alike.
        level: share of the resampled means inside.
        resamples: how many.
        seed: the same seed gives the same interval.

    Returns:
        Lower and upper end; both the value itself where there is only one.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(values), size=(resamples, len(values)))
    shares = np.ones(len(values)) if weights is None else weights
    means = (values * shares)[drawn].sum(1) / shares[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
