"""The README's and the site's examples run, with small files under the names that they give; and the site builds."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
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
from mrfa.data.packed import pack_clips
from mrfa.data.video import VideoWriter
from mrfa.network.model import Network
from mrfa.training.config import load_config
from mrfa.weights import save_model

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [(page.stem, language, code) for page in PAGES for language, code in BLOCK.findall(page.read_text())]
# What else may stand there: it sets up the machine, runs these tests, or has a test of its own.
OTHERS = (
    "make ",
    "pip install ",
    "python3 -m venv ",
    "mrfa demo",
    "mrfa prepare ",
    "mrfa shard ",
    "mrfa train voxceleb1-transformer --data s",
    "mrfa train small-512 ",
    "mrfa evaluate RUN/model --data voxceleb1/",
    "torchrun ",
    *("HOST=", "RESUME=", "export ", "srun "),
    "mrfa serve",
    "mrfa bench",
    "mrfa batch jobs.csv --ray",
    "mrfa animate portrait.jpg driving.mp4 -o signed.mp4",
    "mrfa --install-completion",
    "python -m benchmarks.",
    "mkdocs ",
)

CLIPS = (
    *("driving", "video", "speaker", "face-centred", "heads/head0677071331_0", "DIR/anna_0", "DIR/ben_0", "OTHER_PEOPLE/carl_0"),
    *("CLIPS/dora_0", "CLIPS/eve_0", "FOLDER/dora_0--eve_0", "FOLDER/eve_0--dora_0"),
)
# Commands that are too long as they stand, and what makes them short.
SHORT = {**TINY, "training.steps": 1, "training.objective.perceptual_weight": 0}
SHORTER = {"train": [f"--set={key}={json.dumps(value)}" for key, value in SHORT.items()]}


def commands(code: str) -> list[str]:
    """Command lines of a block, continued ones joined, as they are with mrfa on the path."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line.removeprefix(".venv/bin/") for line in lines if line.strip() and not line.startswith("#")]


def named(language: str, wanted: str) -> list[object]:
    """Blocks that hold a text, as parameters of a test."""
    return [
        pytest.param(code, id=f"{page}-{number}")
        for number, (page, kind, code) in enumerate(BLOCKS)
        if kind == language and wanted in code
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file that an example takes, and a bundled model that is tiny."""
    folder = tmp_path_factory.mktemp("documentation")
    torch.manual_seed(0)
    config = load_config("small", TINY)
    for name in ("bundled/small", "RUN/model", "MODEL"):
        save_model(Network(config.network).eval(), folder / name, "card")
    portrait = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
    shutil.copy(portrait, folder / "portrait.jpg")
    face = read_image(portrait)[:256, 90:346]
    write_image(folder / "face-centred.jpg", face)
    for name in CLIPS:
        (folder / name).parent.mkdir(exist_ok=True)
        with VideoWriter(folder / f"{name}.mp4", width=256, height=256, time_base=Fraction(1, 2), rate=Fraction(2)) as writer:
            for number in range(38 if name.startswith("heads") else 4):
                writer.write(np.roll(face, 2 * number, axis=1), number, 1)
    (folder / "src" / "mrfa").mkdir(parents=True)
    shutil.copytree(portrait.parent, folder / "src" / "mrfa" / "assets")
    (folder / "jobs.csv").write_text("source,driving,output\nportrait.jpg,driving.mp4,first.mp4\n")
    (folder / "stills").mkdir()
    write_image(folder / "stills" / "fay.png", face)
    extract_motion(folder / "driving.mp4", folder / "motion.safetensors", model=folder / "bundled" / "small")
    for name, data in (("train", "DIR"), ("clips", "DIR"), ("stills", "stills"), ("studio", "stills")):
        pack_clips(folder / data, folder / f"{name}.safetensors", folder / "cache", size=64)
    torch.save({"model": checkpoint_of(tiny("transformer"), "transformer")}, folder / "CHECKPOINT")
    vgg = {f"features.{name}": value for name, value in feature_layers("vgg19").state_dict().items()}
    torch.save(vgg, folder / "vgg19.pth")
    return folder


@pytest.fixture
def working_folder(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(prepared, tmp_path / "here", copy_function=os.link)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(weights, "bundled_models", lambda: tmp_path / "here" / "bundled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))  # for processes that commands start: it may be relative


@pytest.mark.usefixtures("working_folder")
@pytest.mark.parametrize("code", named("python", "from mrfa"))
def test_python(code: str) -> None:
    names: dict[str, object] = {}
    before = set(Path.cwd().iterdir())
    exec(code, names)
    assert set(Path.cwd().iterdir()) - before
    if "image" in names:
        image = names["image"]
        assert isinstance(image, np.ndarray) and image.shape == (64, 64, 3) and image.dtype == np.uint8


@pytest.mark.usefixtures("working_folder")
@pytest.mark.parametrize("code", [*named("sh", "mrfa "), *named("bash", "mrfa ")])
def test_commands(code: str) -> None:
    for line in commands(code):
        arguments = shlex.split(line, comments=True)
        if arguments[0] != "mrfa" or line.startswith(OTHERS):
            continue
        values = [value for option, value in pairwise(arguments) if option in ("-o", "--output", "--sheet")]
        outputs = [Path(value) for value in (arguments[3:4] if arguments[1] in ("convert", "export") else values)]
        for output in outputs:
            shutil.rmtree(output, ignore_errors=True)
            output.unlink(missing_ok=True)
        done = CliRunner().invoke(app, [*arguments[1:], *SHORTER.get(arguments[1], [])], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert all(output.exists() for output in outputs)


def test_no_example_is_overlooked() -> None:
    assert {language for _, language, _ in BLOCKS} <= {"sh", "bash", "python", "yaml", "text"}
    lines = [line for _, language, code in BLOCKS if language in ("sh", "bash") for line in commands(code)]
    assert [line for line in lines if not line.startswith(("mrfa ", *OTHERS))] == []
    assert sum(line.startswith("mrfa ") for line in lines) >= 30


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.name for path in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "api.html", "cli.html"} <= pages
    text = (tmp_path / "site" / "cli.html").read_text()
    assert all(f"mrfa {command.name or command.callback.__name__}" in text for command in app.registered_commands)  # type: ignore[union-attr]
    assert "fonts.googleapis.com" not in text
