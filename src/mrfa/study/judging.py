"""How a trained model of a study is judged: one function, so that a study needs to know nothing of the evaluation."""

from pathlib import Path
from typing import Any

from mrfa.evaluation.protocols import evaluate_model
from mrfa.study.plan import EvaluationPlan


def judge_model(model: Path, data: Path, folder: Path, plan: EvaluationPlan) -> dict[str, Any]:
    """Judge a model by self-reconstruction and write `summary.json` into `folder`.

    Returns:
        The content of `summary.json`.

    Raises:
        InputError: no usable clip in `data`, or a judge that does not exist.
    """
    return evaluate_model(
        str(model),
        data,
        folder,
        variant=plan.variant,
        judges=plan.judges,
        frames_per_clip=plan.frames_per_clip,
        clips=plan.clips,
    )
