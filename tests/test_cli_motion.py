"""The commands `mrfa motion ...` but for `extract`, which the tests of `mrfa animate` run."""

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from test_cli_animate import command, fails
from test_template_editing import moving

from mrfa.animation.template import MotionTemplate
from mrfa.animation.template_editing import join, loop, mirror, retime, trim


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    moving().save(tmp_path / "whole.safetensors")
    return tmp_path / "whole.safetensors"


EDITS = {
    ("trim", "--from", "2", "--to", "0.4s"): trim(moving(), 2, 8),
    ("trim", "--to", "3"): trim(moving(), 0, 3),
    ("mirror",): mirror(moving()),
    ("retime", "--speed", "0.5", "--rate", "30000/1001"): retime(moving(), Fraction(1, 2), Fraction(30000, 1001)),
    ("loop", "--ease", "0.2", "--times", "2"): loop(moving(), "fade", Fraction(1, 5), 2),
    ("loop", "--kind", "back"): loop(moving(), "back"),
    ("join", "--ease", "0.1"): join([moving()], Fraction(1, 10)),
}


@pytest.mark.parametrize("arguments", EDITS)
def test_edits(whole: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    output = whole.with_name("edited.safetensors")
    assert command(monkeypatch, "motion", arguments[0], whole, "-o", output, *arguments[1:]) == 0
    edited, expected = MotionTemplate.load(output), EDITS[arguments]
    assert (edited.pts, edited.durations, edited.time_base) == (expected.pts, expected.durations, expected.time_base)
    assert torch.equal(edited.named_face().places, expected.named_face().places)
    assert (edited.detected is None) == (expected.detected is None)


def test_several_are_joined_in_their_order(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, output = whole.with_name("other.safetensors"), whole.with_name("joined.safetensors")
    moving(6, begin=30).save(other)
    assert command(monkeypatch, "motion", "join", whole, other, "-o", output, "--ease", "0.1") == 0
    expected = join([moving(), moving(6, begin=30)], Fraction(1, 10))
    assert torch.equal(MotionTemplate.load(output).named_face().places, expected.named_face().places)


def test_show(whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plot = whole.with_name("plot.png")
    assert command(monkeypatch, "motion", "show", whole) == 0
    assert "mrfa-landmarks-26" in capsys.readouterr().out
    assert command(monkeypatch, "motion", "show", whole, "-o", plot) == 0
    assert plot.is_file() and "plot.png: 10 frames" in capsys.readouterr().out


def test_errors_are_one_line(whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output, content = whole.with_name("edited.safetensors"), whole.read_bytes()
    for arguments, message in {
        ("mirror", whole, "-o", whole): "would replace its own input",
        ("join", output.with_name("absent.safetensors"), whole, "-o", whole): "would replace its own input",
        ("show", whole, "-o", whole): "its name must end in",
        ("mirror", whole, "-o", output.with_suffix(".mp4")): "its name must end in .safetensors",
        ("mirror", output, "-o", output.with_name("b.safetensors")): "no motion template at",
        ("trim", whole, "-o", output, "--from", "soon"): "whole.safetensors: 'soon' is no place in a template",
        ("trim", whole, "-o", output, "--from", "8", "--to", "3"): "whole.safetensors: there are no frames 8 to 3",
        ("retime", whole, "-o", output, "--rate", "25/0"): "--rate takes a number such as",
        ("retime", whole, "-o", output, "--speed", "nan"): "--speed takes a number such as",
        ("loop", whole, "-o", output, "--kind", "round"): "there is no loop 'round'",
        ("loop", whole, "-o", output, "--ease", "9"): "whole.safetensors: a template of 0.50 s is too short",
    }.items():
        assert message in fails(monkeypatch, capsys, "motion", *arguments)
    assert whole.read_bytes() == content and not output.exists()
