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

from mrfa.data.tensors import to_tensor
from mrfa.evaluation.intervals import bootstrap_interval
from mrfa.network.geometry import resize, to_displacement, to_flow
from mrfa.network.model import Network, Output
from mrfa.synthetic import PairMotion, Rendered, SyntheticHead, pair_motion, render, talking_sequence

REGIONS = ("picture", "face", "eyes", "mouth", "background")
# Errors are given in pixels of a picture of this side, whatever the network's.
REFERENCE_SIDE = 256
FRAMES_OF_A_HEAD = 100


class MotionPair(NamedTuple):
    """Two pictures of a head, what is known of the motion between them, and what the network made of it.

    Attributes:
        source, driving: the pictures.
        truth: the exact motion.
        output: of the network.
    """

    source: Rendered
    driving: Rendered
    truth: PairMotion
    output: Output


class MotionScores(NamedTuple):
    """Errors of all heads.

    Attributes:
        stages: `still`, `coarse`, `iteration 1` ..
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


@torch.inference_mode()
def evaluate_motion(
    network: Network,
    *,
    heads: int = 40,
    pairs: int = 6,
    seed: int = 1000,
    kept: int = 4,
    progress: Callable[[int, int], None] | None = None,
) -> MotionScores:
    """Drive synthetic heads by their own later frames, by absolute motion, and compare the flows with the truth.

    Args:
        network: in evaluation mode, on any device.
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
        found = list(_pairs_of(network, seed + number, pairs))
        for stage, of_regions in _mean_errors(found).items():
            for region, value in of_regions.items():
                errors.setdefault(stage, {}).setdefault(region, []).append(value)
        for stage, value in _occlusion_quality(found).items():
            occlusion.setdefault(stage, []).append(value)
        if number < kept:
            examples.append(max(found, key=lambda pair: float(np.abs(pair.truth.flow - still_flow(pair)).mean())))
        if progress:
            progress(number + 1, heads)
    arrays = {stage: {region: np.array(values) for region, values in of.items()} for stage, of in errors.items()}
    return MotionScores(list(errors), arrays, {stage: np.array(values) for stage, values in occlusion.items()}, examples)


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


def flows_by_stage(output: Output, height: int, width: int) -> dict[str, Tensor]:
    """The coarse flow and that of each iteration, at full size: `[1, height, width, 2]`, normalised."""
    flows = {"coarse": output.coarse.flow}
    flows |= {f"iteration {number}": flow for number, flow in enumerate(output.motion.flows, start=1)}
    return {stage: _full_size(to_displacement(flow), height, width) for stage, flow in flows.items()}


def still_flow(pair: MotionPair) -> np.ndarray:
    """The flow that moves nothing, `[H, W, 2]`."""
    height, width = pair.truth.flow.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    return np.stack([x, y], axis=-1)


def end_point_error(flow: np.ndarray, truth: PairMotion) -> np.ndarray:
    """Distance of a flow `[H, W, 2]` from the truth, in pixels of 256: `[H, W]`."""
    return np.linalg.norm(flow - truth.flow, axis=-1) * (REFERENCE_SIDE - 1) / 2


def _pairs_of(network: Network, seed: int, pairs: int) -> list[MotionPair]:
    size, device = network.config.image_size, next(network.parameters()).device
    head, states = SyntheticHead.draw(seed), talking_sequence(seed, FRAMES_OF_A_HEAD)
    source = render(head, states[0], size)
    encoded = network.encode_source(to_tensor(source.image[None], device))
    found = []
    for index in np.linspace(0, FRAMES_OF_A_HEAD - 1, pairs + 1).round().astype(int)[1:]:
        driving = render(head, states[index], size)
        image = to_tensor(driving.image[None], device)
        keypoints = network.detect(image)
        output = network.animate(encoded, keypoints, background=network.follow_background(encoded, image, keypoints))
        found.append(MotionPair(source, driving, pair_motion(source, driving), output))
    return found


def _mean_errors(pairs: list[MotionPair]) -> dict[str, dict[str, float]]:
    """Mean error over the visible pixels of each region, over all pairs of one head."""
    collected: dict[str, dict[str, list[np.ndarray]]] = {}
    for pair in pairs:
        masks = {"picture": np.ones_like(pair.truth.visible), **pair.truth.regions._asdict()}
        flows = {"still": still_flow(pair)}
        height, width = pair.truth.visible.shape
        flows |= {stage: flow[0].float().cpu().numpy() for stage, flow in flows_by_stage(pair.output, height, width).items()}
        for stage, flow in flows.items():
            error = end_point_error(flow, pair.truth)
            for region in REGIONS:
                chosen = error[masks[region] & pair.truth.visible]
                collected.setdefault(stage, {}).setdefault(region, []).append(chosen)
    return {stage: {region: _mean(np.concatenate(parts)) for region, parts in of.items()} for stage, of in collected.items()}


def _occlusion_quality(pairs: list[MotionPair]) -> dict[str, float]:
    """How well the occlusion maps tell hidden from visible pixels (area under the ROC curve), over all pairs of one head."""
    values: dict[str, list[np.ndarray]] = {}
    hidden = []
    for pair in pairs:
        height, width = pair.truth.visible.shape
        hidden.append(~pair.truth.visible.ravel())
        maps = {"coarse": torch.sigmoid(pair.output.coarse.occlusion)}
        maps |= {f"iteration {number}": x for number, x in enumerate(pair.output.motion.occlusions, start=1)}
        for stage, occlusion in maps.items():
            values.setdefault(stage, []).append(resize(occlusion.float(), (height, width)).cpu().numpy().ravel())
    truth = np.concatenate(hidden)
    return {stage: separation(np.concatenate(parts), truth) for stage, parts in values.items()}


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


def _full_size(displacement: Tensor, height: int, width: int) -> Tensor:
    return to_flow(resize(displacement, (height, width)))


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
