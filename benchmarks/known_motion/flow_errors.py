"""Flow against the truth: end-point errors on synthetic heads, for the coarse motion and after each refinement.

The paper claims that the refinement corrects the prior's motion (3.2, Figure 7) and shows it by pictures and by the quality of
the results. On heads whose motion is known it can be measured.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from benchmarks.synthetic import PairMotion, Rendered, SyntheticHead, pair_motion, render, talking_sequence
from mrfa.animation.animator import Animator
from mrfa.evaluation.summary import bootstrap_interval
from mrfa.network.geometry import Conventions
from mrfa.network.model import Output

REGIONS = ("picture", "face", "eyes", "mouth", "background")
# Errors are given in pixels of a picture of this side, whatever the network's.
REFERENCE_SIDE = 256
FRAMES_OF_A_HEAD = 100


class Stage(NamedTuple):
    """What is known of the motion after one step of the network.

    Attributes:
        name: `still`, `coarse`, `iteration 1` ..
        displacement_px: `[H, W, 2]`, backward, in pixels (x, y), at full size.
        occlusion: `[H, W]`, 1 means visible; None for `still`.
    """

    name: str
    displacement_px: np.ndarray
    occlusion: np.ndarray | None


class MotionPair(NamedTuple):
    """Two pictures of a head, the exact motion between them, and what the network made of it."""

    source: Rendered
    driving: Rendered
    truth: PairMotion
    stages: list[Stage]


class MotionScores(NamedTuple):
    """Errors of all heads.

    Attributes:
        stages: names, in order.
        errors: stage to region to the mean end-point error of each head, `[heads]`, in pixels of 256; NaN where a region is never
            visible.
        occlusion: stage to the chance that a hidden pixel gets a lower occlusion value than a visible one, `[heads]`; 0.5 is
            chance. There is none for `still`.
        pairs: one pair of the first heads, to look at.
    """

    stages: list[str]
    errors: dict[str, dict[str, np.ndarray]]
    occlusion: dict[str, np.ndarray]
    pairs: list[MotionPair]


def measure_motion(
    animator: Animator,
    *,
    heads: int = 40,
    pairs: int = 6,
    seed: int = 1000,
    kept: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> MotionScores:
    """Drive synthetic heads by their own later frames, by absolute motion, and compare the flows with the truth.

    Args:
        animator: of the network to measure.
        heads: how many.
        pairs: driving frames of each, evenly spaced in a talking sequence after its first frame, which is the source.
        seed: of the first head; the others follow.
        kept: heads of which a pair is kept to look at.
        progress: called with (done, total) heads.
    """
    errors: dict[str, dict[str, list[float]]] = {}
    occlusion: dict[str, list[float]] = {}
    examples = []
    for number in range(heads):
        found = pairs_of_head(animator, seed + number, pairs)
        for stage, of_regions in mean_errors(found).items():
            for region, value in of_regions.items():
                errors.setdefault(stage, {}).setdefault(region, []).append(value)
        for stage, value in occlusion_quality(found).items():
            occlusion.setdefault(stage, []).append(value)
        if number < kept:
            examples.append(max(found, key=lambda pair: float(np.abs(pair.truth.displacement_px).mean())))
        if progress:
            progress(number + 1, heads)
    arrays = {stage: {region: np.array(values) for region, values in of.items()} for stage, of in errors.items()}
    return MotionScores(list(errors), arrays, {stage: np.array(values) for stage, values in occlusion.items()}, examples)


def pairs_of_head(animator: Animator, seed: int, pairs: int) -> list[MotionPair]:
    """A synthetic head's first picture driven by so many later ones of its talking sequence."""
    head, states = SyntheticHead.draw(seed), talking_sequence(seed, FRAMES_OF_A_HEAD)
    source = render(head, states[0], animator.size)
    encoded = animator.encode(source.image)
    found = []
    for index in np.linspace(0, FRAMES_OF_A_HEAD - 1, pairs + 1).round().astype(int)[1:]:
        driving = render(head, states[index], animator.size)
        output = animator.step(encoded, driving.image, same_video=True)
        stages = stages_of(output, animator.size, animator.network.conventions)
        found.append(MotionPair(source, driving, pair_motion(source, driving), stages))
    return found


def stages_of(output: Output, size: int, conventions: Conventions) -> list[Stage]:
    """Standing still, the coarse motion and every iteration of a network's output for one pair, at full size."""
    maps = [(output.coarse.flow, torch.sigmoid(output.coarse.occlusion))]
    maps += zip(output.motion.flows, output.motion.occlusions, strict=True)
    stages = [Stage("still", np.zeros((size, size, 2)), None)]
    for number, (flow, occlusion) in enumerate(maps):
        name = f"iteration {number}" if number else "coarse"
        full_size = conventions.resize(occlusion.float(), (size, size))[0, 0].cpu().numpy()
        stages.append(Stage(name, _displacement_px(flow, size, conventions), full_size))
    return stages


def _displacement_px(flow: Tensor, size: int, conventions: Conventions) -> np.ndarray:
    displacement = conventions.resize(conventions.to_displacement(flow.float()), (size, size))
    return (displacement * conventions.pixel_scale((size, size), displacement))[0].permute(1, 2, 0).cpu().numpy()


def end_point_error(stage: Stage, truth: PairMotion) -> np.ndarray:
    """Distance of a stage's motion from the truth, in pixels of 256: `[H, W]`."""
    distance_px = np.linalg.norm(stage.displacement_px - truth.displacement_px, axis=-1)
    return distance_px * (REFERENCE_SIDE / len(distance_px))


def mean_errors(pairs: list[MotionPair]) -> dict[str, dict[str, float]]:
    """Stage to region to the mean error over the region's visible pixels, over all pairs of one head; NaN without any."""
    collected: dict[str, dict[str, list[np.ndarray]]] = {}
    for pair in pairs:
        masks = {"picture": np.ones_like(pair.truth.visible), **pair.truth.regions._asdict()}
        for stage in pair.stages:
            error = end_point_error(stage, pair.truth)
            for region in REGIONS:
                chosen = error[masks[region] & pair.truth.visible]
                collected.setdefault(stage.name, {}).setdefault(region, []).append(chosen)
    return {stage: {region: _mean(np.concatenate(parts)) for region, parts in of.items()} for stage, of in collected.items()}


def occlusion_quality(pairs: list[MotionPair]) -> dict[str, float]:
    """Stage to `separation` of its occlusion maps, over all pairs of one head."""
    hidden = np.concatenate([~pair.truth.visible.ravel() for pair in pairs])
    values: dict[str, list[np.ndarray]] = {}
    for pair in pairs:
        for stage in pair.stages:
            if stage.occlusion is not None:
                values.setdefault(stage.name, []).append(stage.occlusion.ravel())
    return {stage: separation(np.concatenate(parts), hidden) for stage, parts in values.items()}


def separation(occlusion: np.ndarray, hidden: np.ndarray) -> float:
    """Chance that a hidden pixel has a lower occlusion value than a visible one, ties counted half; NaN without either.

    Args:
        occlusion: `[n]`, 1 means visible.
        hidden: bool `[n]`.
    """
    count_hidden, count_visible = int(hidden.sum()), int((~hidden).sum())
    if not count_hidden or not count_visible:
        return float("nan")
    visible = np.sort(occlusion[~hidden])
    below = np.searchsorted(visible, occlusion[hidden], side="left")
    up_to = np.searchsorted(visible, occlusion[hidden], side="right")
    return float(1 - (below + up_to).mean() / 2 / count_visible)


def summarise_motion(scores: MotionScores) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean over heads with its 95 % interval, by stage and region, and for the occlusion: JSON-ready."""
    summary = {stage: {region: _figure(values) for region, values in scores.errors[stage].items()} for stage in scores.stages}
    for stage, values in scores.occlusion.items():
        summary[stage]["occlusion"] = _figure(values)
    return summary


def make_motion_table(summary: dict[str, dict[str, dict[str, float | None]]], *, heads: int, pairs: int) -> Table:
    """A stage a row, a region a column."""
    title = f"flow end-point error, pixels of {REFERENCE_SIDE}, visible pixels: {heads} synthetic heads, {pairs} pairs each"
    table = Table(title=title, box=SIMPLE_HEAD, caption="mean over heads [95 % bootstrap interval]; occlusion: chance is 0.5")
    table.add_column("")
    for name in (*REGIONS, "occlusion"):
        table.add_column(name, justify="right")
    for stage, figures in summary.items():
        table.add_row(stage, *(_cell(figures.get(name)) for name in (*REGIONS, "occlusion")))
    return table


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _cell(figure: dict[str, float | None] | None) -> str:
    if figure is None or figure["mean"] is None:
        return "-"
    return f"{figure['mean']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _figure(values: np.ndarray) -> dict[str, float | None]:
    known = values[np.isfinite(values)]
    if not known.size:
        return {"mean": None, "low": None, "high": None}
    low, high = bootstrap_interval(known)
    return {"mean": float(known.mean()), "low": low, "high": high}
