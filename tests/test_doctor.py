"""`mrfa doctor` tells what is there, what is not, and what is broken; and the shell completes what the command line knows."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import cv2
import pytest
from typer.testing import CliRunner

from mrfa import doctor
from mrfa.cli import app

ROOT = Path(__file__).parents[1]


@pytest.fixture
def few_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them take seconds."""
    from mrfa.evaluation import metrics

    names = ("L1", "LPIPS (VGG)")
    monkeypatch.setattr(metrics, "METRICS", {name: metrics.METRICS[name] for name in names})


@pytest.mark.usefixtures("few_metrics")
def test_it_looks_at_everything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MRFA_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    resolve = socket.getaddrinfo
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0, done.output
    found = {(finding["part"], finding["name"]): finding for finding in json.loads(done.output)}
    assert {part for part, _ in found} == {"system", "devices", "faces", "video", "models", "extras", "metrics"}
    assert found["faces", "detector"]["state"] == found["models", "small"]["state"] == "works"
    assert found["faces", "detector"]["text"].startswith(f"OpenCV {cv2.__version__} finds the face")
    assert found["metrics", "1 of 2"]["text"] == "L1"
    assert "mrfa doctor fetches nothing" in found["metrics", "LPIPS (VGG)"]["text"]
    assert socket.getaddrinfo is resolve


def test_what_is_broken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> NoReturn:
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(doctor, "_faces", fails)
    monkeypatch.setattr(doctor, "_metrics", lambda: iter(()))
    monkeypatch.setattr(doctor, "ENCODERS", ("aac", "x999"))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "! detector" in done.output and "no such operator" in done.output
    assert "cannot write x999" in done.output and "pip install --force-reinstall mrfa" in done.output


def test_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the project's that are for users, by what their packages say of themselves."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}
    lines = [f"{line}; extra == '{extra}'" for extra, lines in project["optional-dependencies"].items() for line in lines]
    installed = {"gradio": "6.31.0", "onnx": "1.22"}

    def version(package: str) -> str:
        if package not in installed:
            raise metadata.PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr(metadata, "requires", lambda _: lines)
    monkeypatch.setattr(metadata, "version", version)
    web, onnx = doctor._extra("web"), doctor._extra("onnx")
    assert (web.state, web.text, web.remedy) == ("works", "gradio 6.31.0", None)
    assert (onnx.state, onnx.text) == ("absent", "without onnxscript, onnxruntime")
    assert onnx.remedy == "pip install 'mrfa[onnx]'"


@pytest.mark.parametrize(("words", "known"), [("mrfa ba", "batch"), ("mrfa animate --driving", "--driving-crop")])
def test_the_shell_completes(words: str, known: str) -> None:
    asked = {"_MRFA_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [sys.executable, "-c", "import sys; sys.argv = ['mrfa']; from mrfa.cli import main; main()"]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, cwd=ROOT)
    assert known in done.stdout.split(), done.stderr
