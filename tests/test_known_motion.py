"""Flow against the truth: an oracle has no error, standing still has all of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.config import Config
from mrfa.data.tensors import to_tensor
from mrfa.evaluation import motion
from mrfa.evaluation.motion import MotionPair, end_point_error, evaluate_motion, separation, still_flow, summarise_motion
from mrfa.network.coarse import CoarseMotion
from mrfa.network.model import Network, Output
from mrfa.network.refinement import Motion
from mrfa.synthetic import Expression, Pose, State, SyntheticHead, pair_motion, render
from mrfa.weights import save_model


def _pair(size: int = 96) -> tuple[Any, Any, Any]:
    head = SyntheticHead.draw(3)
    source = render(head, State(), size)
    driving = render(head, State(Pose(yaw=15, x=0.1), Expression(mouth_open=0.6)), size)
    return source, driving, pair_motion(source, driving)


def _output(flow: np.ndarray, visible: np.ndarray) -> Output:
    """What a network would give whose coarse motion stands still and whose refinement knows all."""
    true = torch.tensor(flow, dtype=torch.float32)[None]
    seen = torch.tensor(visible, dtype=torch.float32)[None, None]
    still = torch.tensor(np.stack(np.meshgrid(*[np.linspace(-1, 1, len(flow))] * 2), -1), dtype=torch.float32)[None]
    coarse = CoarseMotion(still, torch.zeros_like(seen), None)
    return Output(torch.zeros(1, 3, 8, 8), None, None, coarse, Motion([true], [seen], true))  # type: ignore[arg-type]


def test_oracle_and_standing_still() -> None:
    source, driving, truth = _pair()
    pair = MotionPair(source, driving, truth, _output(truth.flow, truth.visible))
    errors = motion._mean_errors([pair])
    assert max(errors["iteration 1"].values()) < 1e-3
    assert errors["coarse"] == pytest.approx(errors["still"], abs=1e-3)
    displacement = np.linalg.norm(truth.flow - still_flow(pair), axis=-1) * 127.5
    face = truth.regions.face & truth.visible
    assert errors["still"]["face"] == pytest.approx(displacement[face].mean(), rel=1e-5)
    assert errors["still"]["mouth"] == pytest.approx(displacement[truth.regions.mouth & truth.visible].mean(), rel=1e-5)
    quality = motion._occlusion_quality([pair])
    assert quality["iteration 1"] == pytest.approx(1) and quality["coarse"] == pytest.approx(0.5)


def test_error_of_a_known_shift() -> None:
    _, _, truth = _pair(64)
    assert np.allclose(end_point_error(truth.flow + np.array([3, 4]) / 127.5, truth), 5, atol=1e-4)


def test_separation_of_occlusion() -> None:
    hidden = np.array([True, True, False, False])
    assert separation(np.array([0.1, 0.2, 0.8, 0.9]), hidden) == 1
    assert separation(np.array([0.8, 0.9, 0.1, 0.2]), hidden) == 0
    assert separation(np.array([0.1, 0.8, 0.2, 0.9]), hidden) == 0.75
    assert np.isnan(separation(np.ones(2), np.zeros(2, bool)))


def test_background_is_followed_as_in_training(tiny_network: Network) -> None:
    (pair,) = motion._pairs_of(tiny_network, 0, 1)
    source, driving = (to_tensor(picture.image[None], torch.device("cpu")) for picture in (pair.source, pair.driving))
    with torch.no_grad():
        expected = tiny_network(source, driving)
    assert expected.background is not None
    torch.testing.assert_close(pair.output.coarse.flow, expected.coarse.flow, atol=1e-5, rtol=0)


def test_scores_of_a_network_have_every_stage(tiny_network: Network) -> None:
    done: list[tuple[int, int]] = []
    scores = evaluate_motion(tiny_network, heads=2, pairs=2, progress=lambda a, b: done.append((a, b)))
    iterations = tiny_network.config.refinement.iterations
    assert scores.stages == ["still", "coarse", *(f"iteration {number}" for number in range(1, iterations + 1))]
    assert done == [(1, 2), (2, 2)] and len(scores.pairs) == 2
    summary = summarise_motion(scores)
    figure = summary["coarse"]["face"]
    assert figure["low"] <= figure["mean"] <= figure["high"]  # type: ignore[operator]
    again = evaluate_motion(tiny_network, heads=2, pairs=2)
    assert np.array_equal(again.errors["coarse"]["face"], scores.errors["coarse"]["face"])


def test_command(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> None:
    save_model(tiny_network, tiny_config, tmp_path / "model", "# tiny")
    arguments = ["evaluate", "motion", str(tmp_path / "model"), "--heads", "1", "--pairs", "1"]
    outputs = ["--output", str(tmp_path / "motion.json"), "--picture", str(tmp_path / "motion.png")]
    done = CliRunner().invoke(app, [*arguments, *outputs])
    assert (tmp_path / "motion.png").is_file()
    assert done.exit_code == 0 and "still" in done.stdout
    figures = json.loads((tmp_path / "motion.json").read_text())["stages"]
    assert set(figures["still"]) == {"picture", "face", "eyes", "mouth", "background"}
    assert "occlusion" in figures["coarse"]
