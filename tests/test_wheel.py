"""A wheel brings every command, the bundled models, presets and examples: it is built, installed and used without the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mrfa.cli import app

ROOT = Path(__file__).parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what the wheel installs, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "source" / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), str(folder / "source")], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(folder / "installed"), str(wheel)], check=True)
    return folder / "installed"


def run(installed: Path, *command: str) -> str:
    """What a command says in a process that finds our package in the installed folder alone."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=installed.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_is_there(installed: Path) -> None:
    said = run(installed, sys.executable, str(installed / "bin" / "mrfa"), "--help")
    commands = [command.name or command.callback.__name__ for command in app.registered_commands]  # type: ignore[union-attr]
    groups = [str(group.name) for group in app.registered_groups]
    assert len(commands) >= 9 and all(name in said for name in commands + groups)


def test_models_presets_and_examples_are_there(installed: Path) -> None:
    code = """
import mrfa
from mrfa.animation.job import demo_files
from mrfa.config import preset_names
from mrfa.weights import bundled_names, load_model
print(mrfa.__file__)
print(*bundled_names())
for name in bundled_names():
    load_model(name)
print(*preset_names())
print(*demo_files())
"""
    where, models, presets, examples = run(installed, sys.executable, "-c", code).splitlines()
    assert Path(where).is_relative_to(installed)
    assert sorted(models.split()) == sorted(path.name for path in (ROOT / "src" / "mrfa" / "models").iterdir())
    assert {"small", "voxceleb1-transformer", "table3-affine"} <= set(presets.split())
    assert all(Path(example).is_relative_to(installed) for example in examples.split())


def test_no_file_of_the_package_is_left_out(installed: Path) -> None:
    def files(folder: Path) -> set[str]:
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.as_posix() for path in found}

    assert files(ROOT / "src" / "mrfa") == files(installed / "mrfa")
