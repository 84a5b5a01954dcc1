"""The bundled model: small, cheap, and better than its baselines on people whom it never saw."""

import json
from dataclasses import replace
from pathlib import Path

import av
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from mrfa.animation.job import animate_file, demo_files
from mrfa.animation.template import MotionTemplate
from mrfa.cli import app
from mrfa.data.images import read_image
from mrfa.faces.landmarks import FaceLandmarker, eye_opening, mouth_opening
from mrfa.training.config import load_config
from mrfa.weights import find_model, load_model

LIMIT_MB = 16
LIMIT_GMAC = 5


def test_size_and_cost() -> None:
    folder = find_model("small")
    assert (folder / "model.safetensors").stat().st_size <= LIMIT_MB * 2**20
    network = load_model("small")
    image = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        source = network.encode_source(image)
        with FlopCounterMode(display=False) as counter:
            network.animate(source, network.detect(image))
    assert counter.get_total_flops() / 2e9 <= LIMIT_GMAC


def test_demo_moves_head_lips_and_lids(tmp_path: Path) -> None:
    """Every fourth frame of it, at which blinks still show."""
    portrait, motion = demo_files()
    template = MotionTemplate.load(motion)
    face, detected = template.face, template.detected
    assert face is not None and detected is not None and detected.affine is not None
    fourth = slice(None, None, 4)
    replace(
        template,
        pts=template.pts[fourth],
        durations=template.durations[fourth],
        face=face._replace(places=face.places[fourth]),
        detected=detected._replace(positions=detected.positions[fourth], affine=detected.affine[fourth]),
    ).save(tmp_path / "motion.safetensors")
    target = tmp_path / "demo.mp4"
    animate_file(portrait, tmp_path / "motion.safetensors", target)
    eyes, mouths, noses = [], [], []
    landmarker = FaceLandmarker(static=False)
    with av.open(str(target)) as container:
        for frame in container.decode(video=0):
            landmarks = landmarker(frame.to_ndarray(format="rgb24"))
            assert landmarks is not None
            eyes.append(eye_opening(landmarks))
            mouths.append(mouth_opening(landmarks))
            noses.append((landmarks[1, 0] - landmarks[[33, 263], 0].mean()) / abs(landmarks[33, 0] - landmarks[263, 0]))
    assert max(eyes) - min(eyes) > 0.04
    assert max(mouths) - min(mouths) > 0.08
    assert max(noses) - min(noses) > 0.1


def test_better_than_the_coarse_motion_on_people_never_seen(faces: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(faces / "test"), "--clips", "8", "--frames-per-clip", "3", "--folder", str(tmp_path)]
    result = CliRunner().invoke(app, ["evaluate", "small", *arguments, "--metrics", "L1,face L1,AKD (mediapipe)"])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "summary.json").read_text())["methods"]
    for metric, limit in {"L1": 0.6, "face L1": 0.5, "AKD (mediapipe)": 0.2}.items():
        refined, coarse, repeated = (figures[method][metric]["mean"] for method in ("result", "coarse", "source"))
        assert refined < coarse, metric
        assert refined < limit * repeated, metric


def test_the_folder_holds_what_its_training_needs() -> None:
    config = load_config(find_model("small"))
    assert config.network == load_model("small").config
    assert config.training.objective.image == "pyramid"


def test_portrait_of_the_demo_is_there() -> None:
    image = read_image(Path(str(find_model("small"))).parents[1] / "assets" / "astronaut.jpg")
    assert image.shape[2] == 3
