"""The README's examples run, with small files under the names that they give."""

import json
import os
import re
import shlex
import shutil
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY
from test_convert import checkpoint_of, tiny
from typer.testing import CliRunner

from mrfa import weights
from mrfa.animation.extraction import extract_motion
from mrfa.backbones import feature_layers
from mrfa.cli import app
from mrfa.data.images import read_image, write_image
from mrfa.data.video import VideoWriter
from mrfa.network.model import Network
from mrfa.training.config import load_config
from mrfa.weights import save_model

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL | re.MULTILINE)
EXAMPLES = [block for language, block in BLOCKS if language == "python"]
LINES = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith(".venv/bin/mrfa ")]
# What else may stand there: it sets up the machine, or runs these tests.
OTHERS = ("make ", ".venv/bin/pip ")

# Commands that are too long as they stand, and what makes them short.
SHORTER = {"train": [f"--set={key}={json.dumps(value)}" for key, value in {**TINY, "training.steps": 1}.items()]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that an example takes, and a bundled model that is tiny."""
    folder = tmp_path_factory.mktemp("readme")
    torch.manual_seed(0)
    config = load_config("small", TINY)
    for name in ("bundled/small", "RUN/model", "MODEL"):
        save_model(Network(config.network).eval(), folder / name, "card")
    portrait = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
    shutil.copy(portrait, folder / "portrait.jpg")
    face = read_image(portrait)[:256, 90:346]
    write_image(folder / "face-centred.jpg", face)
    for name in ("driving", "video", "face-centred", "DIR/anna_0", "DIR/ben_0", "OTHER_PEOPLE/carl_0"):
        (folder / name).parent.mkdir(exist_ok=True)
        with VideoWriter(folder / f"{name}.mp4", width=256, height=256, time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
            for number in range(4):
                writer.write(np.roll(face, 2 * number, axis=1), number, 1)
    extract_motion(folder / "driving.mp4", folder / "motion.safetensors", model=folder / "bundled" / "small")
    torch.save({"model": checkpoint_of(tiny("transformer"), "transformer")}, folder / "CHECKPOINT")
    vgg = {f"features.{name}": value for name, value in feature_layers("vgg19").state_dict().items()}
    torch.save(vgg, folder / "vgg19.pth")
    return folder


@pytest.fixture(autouse=True)
def _working_folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(prepared, tmp_path / "here", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(weights, "bundled_models", lambda: tmp_path / "here" / "bundled")


@pytest.mark.parametrize("example", EXAMPLES)
def test_python(example: str) -> None:
    names: dict[str, object] = {}
    exec(example, names)
    image = names["image"]
    assert Path("result.mp4").is_file()
    assert isinstance(image, np.ndarray) and image.shape == (64, 64, 3) and image.dtype == np.uint8


@pytest.mark.parametrize("line", COMMANDS)
def test_command(line: str) -> None:
    arguments = shlex.split(line, comments=True)[1:]
    values = [value for option, value in pairwise(arguments) if option in ("-o", "--output", "--sheet")]
    outputs = [Path(value) for value in (values if arguments[0] != "convert" else arguments[2:3])]
    for output in outputs:
        shutil.rmtree(output, ignore_errors=True)
        output.unlink(missing_ok=True)
    done = CliRunner().invoke(app, [*arguments, *SHORTER.get(arguments[0], [])], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert outputs and all(output.exists() for output in outputs)


def test_no_example_is_overlooked() -> None:
    assert len(EXAMPLES) >= 1 and len(COMMANDS) >= 10
    assert {language for language, _ in BLOCKS} == {"sh", "python"}
    assert [line for line in LINES if line not in COMMANDS and not line.startswith(OTHERS)] == []
