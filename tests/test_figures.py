"""Figures 4 to 7: known colours, known changes, sizes, choices, and errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_preset
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from mrfa.animation.animator import Animator
from mrfa.cli import app
from mrfa.cli_figures import SMALLEST_LABELLED
from mrfa.data.clips import read_clip
from mrfa.data.images import write_image
from mrfa.errors import InputError
from mrfa.evaluation.figures.examples import Example, Footage, cross_identity_examples, read_example, reconstruction_examples
from mrfa.evaluation.figures.flow import LEAST_FULL_PX, draw_flow, flow_changes, full_colour, keypoint_picture, trace_motion
from mrfa.evaluation.figures.grid import GAP, Row, draw_grid, line_height
from mrfa.evaluation.figures.results import draw_results, load_columns
from mrfa.evaluation.methods import CrossMotion
from mrfa.evaluation.trials import cross_identity_trials
from mrfa.network.coarse import CoarseMotion
from mrfa.network.geometry import CORNER_ALIGNED, HALF_PIXEL
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output
from mrfa.network.refinement import Motion
from mrfa.training.config import Config
from mrfa.weights import save_model

CELL = 64
LINE = line_height(CELL)


@pytest.fixture
def model(tmp_path: Path, tiny_network: Network, tiny_config: Config) -> str:
    save_model(tiny_network, tmp_path / "run" / "model", "# tiny")
    return str(tmp_path / "run" / "model")


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


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
        residual = CORNER_ALIGNED.resize(residual, step.shape[2:]) + step
        flows.append(CORNER_ALIGNED.to_flow(CORNER_ALIGNED.resize(coarse, step.shape[2:]) + residual))
    nothing, points = torch.zeros(1, 1, 16, 16), Keypoints(torch.zeros(1, 1, 2), None)
    motion = Motion(flows, [nothing] * 4, flows[-1])
    output = Output(
        torch.zeros(1, 3, 64, 64), points, points, CoarseMotion(CORNER_ALIGNED.to_flow(coarse), nothing, None), motion
    )
    for found, expected in zip(flow_changes(output, CORNER_ALIGNED), steps, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_motion_is_that_of_the_network(tiny_network: Network, people: Path) -> None:
    (example,) = reconstruction_examples(people, ["ben_0:3"], rows=1, seed=0)
    footage = read_example(example, 64)
    steps = trace_motion(Animator(tiny_network), footage, None)
    images = [torch.from_numpy(footage.clip[i]).permute(2, 0, 1)[None] / 255 for i in (0, 3)]
    with torch.inference_mode():
        output = tiny_network(*images)
    # Normalised positions -1 and 1 are the outer edges: 64 pixels apart.
    flows = [output.coarse.flow, *output.motion.flows]
    assert [tuple(field.shape[1:]) for field in steps.displacements] == [tuple(flow.shape[1:3]) for flow in flows]
    last = HALF_PIXEL.to_flow(steps.displacements[-1][None] / 32)
    torch.testing.assert_close(last, output.motion.flows[-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(steps.driving_keypoints, output.driving_keypoints.positions[0])
    assert np.abs(steps.result / 255 - output.image[0].permute(1, 2, 0).numpy()).max() < 1 / 255


def test_keypoints_are_drawn_at_their_positions() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    drawn = draw_grid([Row([keypoint_picture(black, torch.tensor([[-0.5, 0.5], [0.5, -0.5]]))])], cell=128)[:128]
    assert (drawn[:20] < 10).all()  # the picture fills its cell
    rows, columns = np.nonzero(drawn.max(axis=2) > 128)
    left = columns < 64
    # Positions -1 and 1 are the centres of the outer pixels of the network's picture.
    low, high = (63 / 4 + 0.5) * 2 - 0.5, (63 * 3 / 4 + 0.5) * 2 - 0.5
    assert (columns[left].mean(), rows[left].mean()) == pytest.approx((low, high), abs=0.5)
    assert (columns[~left].mean(), rows[~left].mean()) == pytest.approx((high, low), abs=0.5)


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


def test_methods_of_all_sizes_show_the_same_frame(people: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int | None, int]] = []

    def note(example: Example, size: int) -> Footage:
        read.append((example.frame, size))
        return read_example(example, size)

    monkeypatch.setattr("mrfa.evaluation.figures.results.read_example", note)
    columns = load_columns([model, str(people)])
    draw_results(reconstruction_examples(people, ["ben_0"], rows=1, seed=0), columns, cell=CELL)
    assert read == [(None, 256), (5, 64)]


def test_labels_of_methods(people: Path, model: str) -> None:
    columns = load_columns([model, f"ours={model}", str(people)])
    assert [column.label for column in columns] == ["run", "ours", "people"]


def test_cross_identity_shows_the_protocols_first_pairs(people: Path, model: str, tmp_path: Path) -> None:
    examples = cross_identity_examples(people, [], rows=2, seed=3)
    evaluated = cross_identity_trials(people, tmp_path / "pairs.json", pairs=4, seed=3)
    assert [example.trial for example in examples] == evaluated[:2]
    path = tmp_path / "a.png"
    arguments = ["figure", "cross-identity", model, "--data", str(people), "--cell", str(CELL), "-o", str(path)]
    done = CliRunner().invoke(app, [*arguments, "--pair", "anna_0,ben_0:2", "--pair", f"ben_0,{people / 'anna_1.mp4'}"])
    assert done.exit_code == 0, done.output
    assert _size(path) == (3 * (CELL + GAP) - GAP, LINE + 2 * (LINE + CELL + GAP))


def test_choice_of_clips_and_frames(people: Path) -> None:
    chosen = reconstruction_examples(people, [], rows=2, seed=0)
    assert chosen == reconstruction_examples(people, [], rows=2, seed=0) and len(chosen) == 2
    assert len({tuple(reconstruction_examples(people, [], rows=1, seed=seed)) for seed in range(9)}) > 1
    assert len(reconstruction_examples(people, [], rows=9, seed=0)) == 3
    (example,) = cross_identity_examples(people, ["anna_0,ben_0"], rows=1, seed=0)
    assert example.trial.name == "anna_0--ben_0"
    footage = read_example(example, 64)
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
    for path in (chosen, again):
        arguments = ["figure", "flow", model, "--data", str(people), "-o", str(path), "--cell", "128"]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert chosen.read_bytes() == again.read_bytes()


def test_motion_between_people_is_as_told(tiny_network: Network, people: Path) -> None:
    examples = cross_identity_examples(people, ["anna_0,ben_0:4"], rows=1, seed=0)
    kinds = [CrossMotion("relative"), CrossMotion("absolute")]
    pictures = [draw_flow(Animator(tiny_network), examples, kind, cell=CELL)[LINE:].tobytes() for kind in kinds]
    assert len(set(pictures)) == len(kinds)
    # Without motion of the driver nothing moves.
    first = read_example(examples[0]._replace(frame=0), 64)
    still = trace_motion(Animator(tiny_network), first, CrossMotion("relative", "first"))
    assert still.displacements[0].abs().max() < 1e-3


def test_captions_are_whole_at_the_smallest_size(tiny_network: Network, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets: list[Figure] = []
    monkeypatch.setattr("matplotlib.backends.backend_agg.FigureCanvasAgg.draw", _noting(sheets))
    monkeypatch.setattr("mrfa.evaluation.figures.flow.full_colour", lambda fields: 12.34)
    draw_flow(Animator(tiny_network), reconstruction_examples(people, ["anna_0"], rows=1, seed=0), cell=SMALLEST_LABELLED)
    written = [text.get_text() for text in sheets[0].texts]
    assert "change 1, edge 12.3 px" in written and not any("..." in text for text in written)
    legend = [text for axes in sheets[0].axes for text in axes.texts]
    assert "edge: 12.3 px or more" in [text.get_text() for text in legend]
    for text in legend:
        cell, box = text.axes.get_window_extent(), text.get_window_extent()
        assert cell.x0 <= box.x0 and box.x1 <= cell.x1 and cell.y0 <= box.y0 and box.y1 <= cell.y1, text.get_text()


def _noting(sheets: list[Figure]) -> Callable[[FigureCanvasAgg], None]:
    draw = FigureCanvasAgg.draw

    def drawn(canvas: FigureCanvasAgg) -> None:
        sheets.append(canvas.figure)
        draw(canvas)

    return drawn


@pytest.mark.parametrize("preset", ["table3-affine", "table3-thin-plate", "table3-npmr"])
def test_flow_of_other_models(preset: str, people: Path) -> None:
    torch.manual_seed(0)
    network = Network(tiny_preset(preset).network).eval()
    examples = reconstruction_examples(people, ["anna_0"], rows=1, seed=0)
    iterations = 0 if network.refinement is None else network.config.refinement.iterations
    assert draw_flow(Animator(network), examples, cell=CELL).shape[1] == (3 + iterations) * (CELL + GAP) - GAP


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
    (tmp_path / "others").mkdir()
    given = ["--data", str(people)]
    for models, output, more, message in (
        (model, "a.png", [], "--data"),
        (model, "a.mp4", given, "no picture format"),
        (model, "missing/a.png", given, "no folder"),
        ("large", "a.png", given, "no model 'large'"),
        (str(tmp_path / "others"), "a.png", [*given, "--clip", "anna_0"], "no result video anna_0"),
    ):
        done = CliRunner().invoke(app, ["figure", "reconstruction", models, "-o", str(tmp_path / output), *more])
        assert isinstance(done.exception, InputError) and message in str(done.exception)
    assert not list(tmp_path.glob("*a.*"))
