"""Schedule of the dropout of part flows, with which the thin-plate prior is trained."""

from mrfa.training.config import PartDropoutConfig


def part_dropout(config: PartDropoutConfig, progress: float) -> float:
    """Probability of leaving a part out at a share of the training in [0, 1]: it rises, stays, and ends."""
    if progress >= config.until:
        return 0.0
    return config.first + (config.peak - config.first) * min(progress / config.rise, 1.0)
