"""Figures 4 to 7: known colours, known changes, sizes, choices, and errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_preset
from PIL import Image, ImageFont
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.cli_figures import SMALLEST_LABELLED
from mrfa.config import Config
from mrfa.data.clips import read_clip
from mrfa.data.flow_colours import colour_wheel, displacement_colours, flow_colours
from mrfa.data.images import write_image
from mrfa.errors import InputError
from mrfa.evaluation.figures.command import figure_flow, figure_reconstruction
from mrfa.evaluation.figures.flow import LEAST_FULL_PX, draw_flow, draw_keypoints, full_colour
from mrfa.evaluation.figures.motion_steps import flow_changes, trace_motion
from mrfa.evaluation.figures.results import load_methods
from mrfa.evaluation.figures.shots import cross_identity_shots, read_shot, reconstruction_shots
from mrfa.evaluation.picture_grid import GAP, fit_text, line_height
from mrfa.evaluation.trials import cross_identity_trials
from mrfa.network.coarse import CoarseMotion
from mrfa.network.geometry import CONSISTENT, resize, to_flow
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output
from mrfa.network.refinement import Motion
from mrfa.weights import save_model

CELL = 64
LINE = line_height(CELL)


@pytest.fixture
def model(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> str:
    save_model(tiny_network, tiny_config, tmp_path / "run" / "model", "# tiny")
    return str(tmp_path / "run" / "model")


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize(
    ("displacement", "colour"),
    [
        ((0, 0), (1, 1, 1)),
        ((2, 0), (1, 0, 0)),
        ((0, 2), (0.5, 1, 0)),
        ((-2, 0), (0, 1, 1)),
        ((0, -2), (0.5, 0, 1)),
        ((1, 0), (1, 0.5, 0.5)),
        ((9, 0), (1, 0, 0)),
    ],
    ids=["still", "right", "down", "left", "up", "half as far", "beyond"],
)
def test_colours_of_displacements(displacement: tuple[float, float], colour: tuple[float, ...]) -> None:
    field = torch.tensor(displacement, dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, 3, 4)
    expected = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 3, 4)
    torch.testing.assert_close(displacement_colours(field, 2.0), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(flow_colours(to_flow(field), 2.0), expected, atol=1e-5, rtol=0)


def test_wheel_shows_what_the_colours_mean() -> None:
    wheel = colour_wheel(41)
    torch.testing.assert_close(wheel[:, 20, 20], torch.ones(3))
    torch.testing.assert_close(wheel[:, 20, 40], torch.tensor([1.0, 0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(wheel[:, 40, 20], torch.tensor([0.5, 1, 0]), atol=1e-5, rtol=0)
    assert (wheel[:, [0, 0, -1, -1], [0, -1, 0, -1]] == 1).all()


def test_full_colour_ignores_strays_and_never_blows_up_noise() -> None:
    field = torch.zeros(2, 10, 100)
    field[0], field[1] = 3, 4
    field[:, 0, 0] = 1000
    assert full_colour([field, torch.zeros(2, 4, 4)]) == pytest.approx(5)
    assert full_colour([torch.full((2, 4, 4), 1e-6)]) == LEAST_FULL_PX


def test_changes_are_the_residuals_of_the_iterations() -> None:
    torch.manual_seed(0)
    coarse = torch.randn(1, 2, 16, 16) * 0.2
    steps = [torch.randn(1, 2, side, side) * 0.1 for side in (4, 8, 16, 32)]
    residual, flows = torch.zeros(1, 2, 1, 1), []
    for step in steps:
        residual = resize(residual, step.shape[2:]) + step
        flows.append(to_flow(resize(coarse, step.shape[2:]) + residual))
    nothing, points = torch.zeros(1, 1, 16, 16), Keypoints(torch.zeros(1, 1, 2), None)
    motion = Motion(flows, [nothing] * 4, flows[-1])
    output = Output(torch.zeros(1, 3, 64, 64), points, points, CoarseMotion(to_flow(coarse), nothing, None), motion)
    for found, expected in zip(flow_changes(output, CONSISTENT), steps, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_motion_is_that_of_the_network(tiny_network: Network, people: Path) -> None:
    (shot,) = reconstruction_shots(people, ["ben_0:3"], rows=1, seed=0)
    footage = read_shot(shot, 64)
    steps = trace_motion(tiny_network, footage, relative=False, one_video=True)
    images = [torch.from_numpy(footage.clip[i]).permute(2, 0, 1)[None] / 255 for i in (0, 3)]
    with torch.inference_mode():
        output = tiny_network(*images)
    # Normalised positions -1 and 1 are the centres of the outer pixels: 63 pixels apart.
    assert [tuple(field.shape[1:]) for field in steps.displacements] == [tuple(f.shape[1:3]) for f in output.motion.flows]
    last = to_flow(steps.displacements[-1][None] / 31.5)
    torch.testing.assert_close(last, output.motion.flows[-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(steps.driving_keypoints, output.driving_keypoints.positions[0])
    assert np.abs(steps.result / 255 - output.image[0].permute(1, 2, 0).numpy()).max() < 1 / 255


def test_keypoints_are_drawn_at_their_positions() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    drawn = draw_keypoints(black, torch.tensor([[-0.5, 0.5], [0.5, -0.5]]), 128)
    assert drawn.shape == (128, 128, 3)
    assert draw_keypoints(black, torch.zeros(1, 2), 64).max() == 255 and (black == 0).all()
    rows, columns = np.nonzero(drawn.max(axis=2) > 128)
    left = columns < 64
    assert (columns[left].mean(), rows[left].mean()) == pytest.approx((127 / 4, 127 * 3 / 4), abs=0.5)
    assert (columns[~left].mean(), rows[~left].mean()) == pytest.approx((127 * 3 / 4, 127 / 4), abs=0.5)


def test_results_of_several_methods(people: Path, model: str, tmp_path: Path) -> None:
    # The driving clips themselves take part as the results of a perfect method.
    arguments = ["figure", "reconstruction", model, f"perfect={people}", "--data", str(people), "--cell", str(CELL)]
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        done = CliRunner().invoke(app, [*arguments, "--rows", "2", "--coarse", "-o", str(path)])
        assert done.exit_code == 0, done.output
    assert first.read_bytes() == second.read_bytes()
    columns = 5  # source, driving, coarse, result, perfect
    assert _size(first) == (columns * (CELL + GAP) - GAP, LINE + 2 * (LINE + CELL + GAP))
    picture = np.asarray(Image.open(first))
    cells = [picture[2 * LINE : 2 * LINE + CELL, i * (CELL + GAP) : i * (CELL + GAP) + CELL] for i in range(columns)]
    assert (cells[4] == cells[1]).all() and not (cells[3] == cells[1]).all() and not (cells[0] == cells[1]).all()


def test_labels_of_methods(people: Path, model: str) -> None:
    methods = load_methods([model, f"ours={model}", str(people)], relative=True)
    assert [method.label for method in methods] == ["run", "ours", "people"]


def test_cross_identity_shows_the_protocols_first_pairs(people: Path, model: str, tmp_path: Path) -> None:
    shots = cross_identity_shots(people, [], rows=2, seed=3)
    evaluated = cross_identity_trials(people, tmp_path / "pairs.json", pairs=4, seed=3)
    assert [shot.trial for shot in shots] == evaluated[:2]
    path = tmp_path / "a.png"
    arguments = ["figure", "cross-identity", model, "--data", str(people), "--cell", str(CELL), "-o", str(path)]
    done = CliRunner().invoke(app, [*arguments, "--pair", "anna_0,ben_0:2", "--pair", f"ben_0,{people / 'anna_1.mp4'}"])
    assert done.exit_code == 0, done.output
    assert _size(path) == (3 * (CELL + GAP) - GAP, LINE + 2 * (LINE + CELL + GAP))


def test_choice_of_clips_and_frames(people: Path) -> None:
    chosen = reconstruction_shots(people, [], rows=2, seed=0)
    assert chosen == reconstruction_shots(people, [], rows=2, seed=0) and len(chosen) == 2
    assert len({tuple(reconstruction_shots(people, [], rows=1, seed=seed)) for seed in range(9)}) > 1
    assert len(reconstruction_shots(people, [], rows=9, seed=0)) == 3
    (shot,) = cross_identity_shots(people, ["anna_0,ben_0"], rows=1, seed=0)
    assert shot.trial.name == "anna_0--ben_0"
    footage = read_shot(shot, 64)
    assert footage.frame == 5  # the square moves on and on: the last frame differs most
    assert (footage.source == read_clip(people / "anna_0.mp4", 64)[0]).all()


def test_flow_figure(people: Path, model: str, tiny_network: Network, tmp_path: Path) -> None:
    path = tmp_path / "flow.png"
    arguments = ["figure", "flow", model, "--data", str(people), "-o", str(path)]
    done = CliRunner().invoke(app, [*arguments, "--clip", "anna_1", "--pair", "anna_0,ben_0:2"])
    assert done.exit_code == 0, done.output
    columns = 3 + tiny_network.config.refinement.iterations
    assert _size(path) == (columns * (192 + GAP) - GAP, 2 * (4 * line_height(192) + 3 * (192 + GAP)))
    chosen, again = tmp_path / "chosen.png", tmp_path / "again.png"
    figure_flow(model, chosen, data=people, cell=CELL)
    figure_flow(model, again, data=people, cell=CELL)
    assert chosen.read_bytes() == again.read_bytes()


def test_motion_is_relative_between_people_unless_told(tiny_network: Network, people: Path) -> None:
    shots = cross_identity_shots(people, ["anna_0,ben_0:4"], rows=1, seed=0)
    pictures = [draw_flow(tiny_network, shots, absolute=absolute, cell=CELL)[LINE:] for absolute in (False, True)]
    assert not (pictures[0] == pictures[1]).all()
    # Without motion of the driver nothing moves.
    still = trace_motion(tiny_network, read_shot(shots[0]._replace(frame=0), 64), relative=True)
    assert still.coarse.abs().max() < 1e-3


def test_captions_are_whole_at_the_smallest_size(tiny_network: Network, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, str]] = []

    def note(text: str, width: int, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
        fitted, font = fit_text(text, width, size)
        written.append((text, fitted))
        return fitted, font

    monkeypatch.setattr("mrfa.evaluation.picture_grid.fit_text", note)
    monkeypatch.setattr("mrfa.evaluation.figures.flow.fit_text", note)
    monkeypatch.setattr("mrfa.evaluation.figures.flow.full_colour", lambda fields: 12.34)
    draw_flow(tiny_network, reconstruction_shots(people, ["anna_0"], rows=1, seed=0), cell=SMALLEST_LABELLED)
    assert "change 1, edge 12.3 px" in dict(written) and "edge: 12.3 px or more" in dict(written)
    assert all(text == fitted for text, fitted in written)


@pytest.mark.parametrize("preset", ["table3-affine", "table3-thin-plate", "table3-npmr"])
def test_flow_of_other_models(preset: str, people: Path) -> None:
    torch.manual_seed(0)
    network = Network(tiny_preset(preset).network).eval()
    shots = reconstruction_shots(people, ["anna_0"], rows=1, seed=0)
    iterations = 0 if network.refinement is None else network.config.refinement.iterations
    assert draw_flow(network, shots, cell=CELL).shape[1] == (3 + iterations) * (CELL + GAP) - GAP


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--clip", "carl_0"], "no clip 'carl_0'"),
        (["--clip", "anna_0:99"], "no frame 99: it has 4"),
        (["--pair", "anna_0"], "is no pair"),
        (["--pair", "anna_0,carl_0:1"], "no clip 'carl_0'"),
        (["--pair", "anna_0,PICTURE"], "is a picture"),
        (["--pair", "PICTURE,anna_0"], "no face"),
    ],
)
def test_what_cannot_be_shown(arguments: list[str], message: str, people: Path, model: str, tmp_path: Path) -> None:
    picture, path = tmp_path / "grey.png", tmp_path / "flow.png"
    write_image(picture, np.full((96, 96, 3), 128, np.uint8))
    arguments = [argument.replace("PICTURE", str(picture)) for argument in arguments]
    done = CliRunner().invoke(app, ["figure", "flow", model, "--data", str(people), "-o", str(path), *arguments])
    assert isinstance(done.exception, InputError)
    assert message in str(done.exception) and "\n" not in str(done.exception)
    assert not list(tmp_path.glob("*flow*"))


def test_what_is_missing(people: Path, model: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data"):
        figure_reconstruction([model], tmp_path / "a.png")
    with pytest.raises(InputError, match="no picture format"):
        figure_reconstruction([model], tmp_path / "a.mp4", data=people)
    with pytest.raises(InputError, match="no folder"):
        figure_reconstruction([model], tmp_path / "missing" / "a.png", data=people)
    with pytest.raises(InputError, match="no model 'large'"):
        figure_reconstruction(["large"], tmp_path / "a.png", data=people)
    (tmp_path / "others").mkdir()
    with pytest.raises(InputError, match="no result video anna_0"):
        figure_reconstruction([str(tmp_path / "others")], tmp_path / "a.png", data=people, clips=["anna_0"])
