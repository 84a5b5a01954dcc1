"""The reconstruction protocol, its report and its command."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mrfa.config import Config
from mrfa.data.clips import Clip
from mrfa.data.files import check_writable
from mrfa.errors import InputError
from mrfa.evaluation.contact_sheet import COLUMNS, make_contact_sheet, write_contact_sheet
from mrfa.evaluation.reconstruction import (
    METHODS,
    METRICS,
    Evaluation,
    evaluate_clip,
    evaluate_reconstruction,
    evenly_spaced,
    later_frames,
)
from mrfa.evaluation.report import make_table, summarise, to_json, write_json
from mrfa.network.model import Network
from mrfa.weights import save_model


class StubLandmarker:
    """Finds a face that lies where the brightest pixel is; none in pictures that are dark."""

    def __call__(self, image: np.ndarray) -> np.ndarray | None:
        grey = image.sum(-1)
        if grey.max() < 60:
            return None
        row, column = np.unravel_index(grey.argmax(), grey.shape)
        spread = np.random.default_rng(0).uniform(-9, 9, (478, 2))
        return (spread + np.array([column, row])).astype(np.float32)


def _made_clip(monkeypatch: pytest.MonkeyPatch, count: int, *, dark: tuple[int, ...] = ()) -> Clip:
    """A clip of a bright blob that moves right, two pixels a frame."""
    frames = np.full((count, 64, 64, 3), 10, np.uint8)
    for index in set(range(count)) - set(dark):
        cv2.circle(frames[index], (20 + 2 * index, 32), 8, (200, 180, 160), -1)
        frames[index, 32, 20 + 2 * index] = 255
    monkeypatch.setattr("mrfa.evaluation.reconstruction.read_clip", lambda path, size: frames)
    return Clip(Path("p1_0.mp4"), "p1")


def test_frames_are_evenly_spaced_and_never_the_first() -> None:
    assert later_frames(61, 6) == [1, 13, 25, 36, 48, 60]
    assert later_frames(4, 6) == [1, 2, 3]
    assert later_frames(5, None) == [1, 2, 3, 4]
    assert later_frames(2, 1) == [1]
    assert evenly_spaced(45, 3) == [7, 22, 37]


def test_a_made_clip(tiny_network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = _made_clip(monkeypatch, 9, dark=(8,))
    scores = evaluate_clip(tiny_network, clip, StubLandmarker(), frames_per_clip=3)
    assert scores.frames == [1, 4, 8]
    assert scores.driving_found.tolist() == [True, True, False]
    repeated = scores.values["source"]
    assert repeated.shape == (3, len(METRICS))
    # The blob moves by two pixels a frame, on a picture of 64: eight a frame on one of 256.
    akd = repeated[:, METRICS.index("akd")]
    assert akd[:2] == pytest.approx([8, 32], abs=1e-3)
    assert np.isnan(akd[2])
    assert np.isnan(scores.values["thin_plate"][2]).all()
    assert not np.isnan(repeated[:, :3]).any()
    assert repeated[0, 0] < repeated[1, 0]
    # The repeated source is the same blob: as sharp as the driver, in a box of about the same content.
    assert repeated[0, METRICS.index("sharpness")] == pytest.approx(1, abs=0.35)
    # The picture for the sheet is that of the most different frame.
    assert scores.pictures.driving[32, 28].tolist() == [255, 255, 255]
    assert scores.pictures.methods["thin_plate"] is not None

    summary = summarise([scores])
    assert (summary.frames, summary.judged) == (3, 2)
    assert summary.shares["source"]["l1"] == pytest.approx(1)
    assert summary.shares["thin_plate"]["l1"] < 0.8
    # Shares are of the frames that both have.
    own = scores.values["thin_plate"][:2, 0].mean() / repeated[:2, 0].mean()
    assert summary.shares["thin_plate"]["l1"] == pytest.approx(own)
    assert make_table(summary).row_count == len(METRICS) + 1


def test_failures_and_unknown_values(tiny_network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = _made_clip(monkeypatch, 4)
    scores = evaluate_clip(tiny_network, clip, StubLandmarker(), frames_per_clip=None)
    scores.found["result"][:] = (False, True, True)
    scores.values["result"][0, METRICS.index("akd")] = np.nan
    scores.values["coarse"][:, METRICS.index("akd")] = np.nan
    summary = summarise([scores])
    assert summary.failures["result"] == 1
    content = to_json(Evaluation([scores], ["a line"]), summary, model="m", data="d")
    assert content["no_face_found"]["result"] == {"frames": 1, "rate": pytest.approx(1 / 3)}
    assert content["means"]["coarse"]["akd"] is None
    akd = scores.values["source"][1:, METRICS.index("akd")].mean()
    expected = scores.values["result"][1:, METRICS.index("akd")].mean() / akd
    assert content["shares_of_repeated_source"]["result"]["akd"] == pytest.approx(expected)
    path = tmp_path / "report.json"
    write_json(path, content)
    read = json.loads(path.read_text())
    assert read["clips"][0]["name"] == "p1_0.mp4"
    assert set(read["clips"][0]["methods"]) == set(METHODS)
    assert read["skipped_clips"] == ["a line"]


def test_contact_sheet(tiny_network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = _made_clip(monkeypatch, 4)
    scores = evaluate_clip(tiny_network, clip, StubLandmarker(), frames_per_clip=2)
    sheet = make_contact_sheet([scores, scores], cell=64)
    assert sheet.shape == (18 + 2 * (18 + 66), len(COLUMNS) * 66 - 2, 3)
    assert (sheet[36 : 36 + 64, :64] == scores.pictures.source).all()
    result = scores.pictures.methods["result"]
    assert result is not None
    assert (sheet[36 : 36 + 64, 5 * 66 :] == cv2.absdiff(result, scores.pictures.driving)).all()
    write_contact_sheet(tmp_path / "sheet.png", [scores], cell=64)
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[1] == len(COLUMNS) * 66 - 2


def test_outputs_without_a_folder_are_refused_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.json")
    with pytest.raises(InputError, match="no folder"):
        check_writable(tmp_path / "missing" / "a.json")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)


def test_command_skips_broken_clips(tiny_network: Network, tiny_config: Config, faces: Path, tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    from mrfa.cli import app

    save_model(tiny_network, tiny_config, tmp_path / "model", "# tiny\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "a_0.mp4").symlink_to(sorted((faces / "test").glob("*.mp4"))[0])
    (data / "b_0.mp4").write_bytes(b"no video at all")
    arguments = ["evaluate", "reconstruction", str(tmp_path / "model"), "--data", str(data), "--frames-per-clip", "2"]
    outputs = ["--output", str(tmp_path / "o.json"), "--sheet", str(tmp_path / "o.png")]
    done = CliRunner().invoke(app, [*arguments, *outputs], catch_exceptions=False)
    assert done.exit_code == 0
    content = json.loads((tmp_path / "o.json").read_text())
    assert [clip["name"] for clip in content["clips"]] == ["a_0.mp4"]
    assert len(content["skipped_clips"]) == 1
    assert "b_0.mp4" in content["skipped_clips"][0]
    assert (tmp_path / "o.png").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"model", "data", "o.json", "o.png"}

    (data / "a_0.mp4").unlink()
    with pytest.raises(InputError, match="no usable clip"):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_real_clips(tiny_network: Network, faces: Path) -> None:
    pytest.importorskip("mediapipe")
    steps: list[tuple[int, int]] = []
    evaluation = evaluate_reconstruction(
        tiny_network,
        faces / "test",
        frames_per_clip=2,
        clips=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(1, 2), (2, 2)]
    assert not evaluation.problems
    summary = summarise(evaluation.clips)
    assert summary.shares["thin_plate"]["l1_face"] < 0.8
    assert summary.shares["thin_plate"]["akd"] < 0.3
    assert summary.means["source"]["sharpness"] == pytest.approx(1, abs=0.4)
