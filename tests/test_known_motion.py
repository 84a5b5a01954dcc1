"""Flow against the truth: an oracle has no error, standing still has all of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.known_motion.__main__ import app
from benchmarks.known_motion.flow_errors import (
    MotionPair,
    Stage,
    end_point_error,
    mean_errors,
    measure_motion,
    occlusion_quality,
    pairs_of_head,
    separation,
    stages_of,
    summarise_motion,
)
from benchmarks.synthetic import Expression, PairMotion, Pose, Rendered, State, SyntheticHead, pair_motion, render
from mrfa.animation.animator import Animator
from mrfa.data.tensors import to_tensor
from mrfa.network.coarse import CoarseMotion
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL, Conventions
from mrfa.network.model import Network, Output
from mrfa.network.refinement import Motion
from mrfa.training.config import Config
from mrfa.weights import save_model


def _pair(size: int = 96) -> tuple[Rendered, Rendered, PairMotion]:
    head = SyntheticHead.draw(3)
    source = render(head, State(), size)
    driving = render(head, State(Pose(yaw=15, x=0.1), Expression(mouth_open=0.6)), size)
    return source, driving, pair_motion(source, driving)


def _output(truth: PairMotion) -> Output:
    """What a network would give whose coarse motion stands still and whose refinement knows all."""
    displacement_px = torch.tensor(truth.displacement_px).permute(2, 0, 1)[None]
    displacement = displacement_px / CORNER_ALIGNED.pixel_scale(displacement_px.shape[2:], displacement_px)
    seen = torch.tensor(truth.visible, dtype=torch.float32)[None, None]
    coarse = CoarseMotion(CORNER_ALIGNED.to_flow(torch.zeros_like(displacement)), torch.zeros_like(seen), None)
    true = CORNER_ALIGNED.to_flow(displacement)
    return Output(torch.zeros(1, 3, 8, 8), None, None, coarse, Motion([true], [seen], true))  # type: ignore[arg-type]


def test_oracle_and_standing_still() -> None:
    source, driving, truth = _pair()
    pair = MotionPair(source, driving, truth, stages_of(_output(truth), 96, CORNER_ALIGNED))
    errors = mean_errors([pair])
    assert max(errors["iteration 1"].values()) < 1e-3
    assert errors["coarse"] == pytest.approx(errors["still"], abs=1e-3)
    distance = np.linalg.norm(truth.displacement_px, axis=-1) * 256 / 96
    for region, mask in (("face", truth.regions.face), ("mouth", truth.regions.mouth)):
        assert errors["still"][region] == pytest.approx(distance[mask & truth.visible].mean(), rel=1e-5)
    quality = occlusion_quality([pair])
    assert quality == {"coarse": pytest.approx(0.5), "iteration 1": pytest.approx(1)}


@pytest.mark.parametrize("conventions", [HALF_PIXEL, CORNER_ALIGNED])
def test_stages_of_lower_resolution_are_brought_to_full_size(conventions: Conventions) -> None:
    """A shift to the right by an eighth of the picture is one at every resolution."""
    shift = conventions.pixel_scale((64, 64), torch.zeros(())).reciprocal() * 8
    flows = [conventions.to_flow(torch.zeros(1, 2, side, side) + shift) for side in (16, 8)]
    maps = [torch.full((1, 1, side, side), 0.25) for side in (16, 8)]
    output = Output(
        torch.zeros(1, 3, 64, 64),
        None,
        None,
        CoarseMotion(flows[0], maps[0].logit(), None),
        Motion(flows[1:], maps[1:], flows[1]),
    )  # type: ignore[arg-type]
    for stage in stages_of(output, 64, conventions)[1:]:
        assert stage.displacement_px.shape == (64, 64, 2)
        assert np.allclose(stage.displacement_px, 8, atol=1e-4)
        assert stage.occlusion is not None and np.allclose(stage.occlusion, 0.25)


def test_error_of_a_known_shift() -> None:
    _, _, truth = _pair(64)
    shifted = Stage("shifted", truth.displacement_px + np.array([3, 4]), None)
    assert np.allclose(end_point_error(shifted, truth), 5 * 256 / 64, atol=1e-4)


def test_separation_of_occlusion() -> None:
    hidden = np.array([True, True, False, False])
    assert separation(np.array([0.1, 0.2, 0.8, 0.9]), hidden) == 1
    assert separation(np.array([0.8, 0.9, 0.1, 0.2]), hidden) == 0
    assert separation(np.array([0.1, 0.8, 0.2, 0.9]), hidden) == 0.75
    assert np.isnan(separation(np.ones(2), np.zeros(2, bool)))


def test_background_is_followed_as_in_training(tiny_network: Network) -> None:
    (pair,) = pairs_of_head(Animator(tiny_network), 0, 1)
    source, driving = (to_tensor(picture.image[None], torch.device("cpu")) for picture in (pair.source, pair.driving))
    with torch.no_grad():
        expected = tiny_network(source, driving)
    assert expected.background is not None
    for stage, found in zip(stages_of(expected, 64, tiny_network.conventions), pair.stages, strict=True):
        assert np.allclose(stage.displacement_px, found.displacement_px, atol=1e-3), stage.name


def test_scores_of_a_network_have_every_stage(tiny_network: Network) -> None:
    done: list[tuple[int, int]] = []
    scores = measure_motion(Animator(tiny_network), heads=2, pairs=2, progress=lambda a, b: done.append((a, b)))
    iterations = tiny_network.config.refinement.iterations
    assert scores.stages == ["still", "coarse", *(f"iteration {number}" for number in range(1, iterations + 1))]
    assert done == [(1, 2), (2, 2)] and len(scores.pairs) == 2
    assert len(set(scores.errors["still"]["picture"])) == 2, "two heads"
    lengths = [np.abs(pair.truth.displacement_px).mean() for pair in pairs_of_head(Animator(tiny_network), 1000, 2)]
    assert np.abs(scores.pairs[0].truth.displacement_px).mean() == max(lengths)
    summary = summarise_motion(scores)
    figure = summary["coarse"]["face"]
    assert figure["low"] <= figure["mean"] <= figure["high"]  # type: ignore[operator]
    again = measure_motion(Animator(tiny_network), heads=2, pairs=2)
    assert np.array_equal(again.errors["coarse"]["face"], scores.errors["coarse"]["face"])


def test_command(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> None:
    save_model(tiny_network, tmp_path / "model", "# tiny")
    arguments = [str(tmp_path / "model"), "--heads", "1", "--pairs", "1"]
    outputs = ["--output", str(tmp_path / "motion.json"), "--picture", str(tmp_path / "motion.png")]
    done = CliRunner().invoke(app, [*arguments, *outputs])
    assert (tmp_path / "motion.png").is_file()
    assert done.exit_code == 0 and "still" in done.stdout
    figures = json.loads((tmp_path / "motion.json").read_text())["stages"]
    assert set(figures["still"]) == {"picture", "face", "eyes", "mouth", "background"}
    assert "occlusion" in figures["coarse"]
