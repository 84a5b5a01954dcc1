"""Checkpoints in the authors' format: made from a tiny network here, converted back, and refused where they do not fit."""

import pickle
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import torch
from conftest import tiny_preset
from torch import Tensor
from typer.testing import CliRunner

from mrfa.cli import app
from mrfa.conversion import convert_checkpoint
from mrfa.data.video import VideoReader
from mrfa.errors import InputError
from mrfa.network.model import Network
from mrfa.official import official_name
from mrfa.weights import convert_official, load_model

PRESETS = {"affine": "paper-affine", "tps": "paper-thin-plate", "transformer": "paper-transformer"}


def tiny(prior: str, **settings: object) -> Network:
    """A tiny network of the released models' structure."""
    torch.manual_seed(0)
    changes = {f"network__{name}": value for name, value in settings.items()}
    return Network(tiny_preset(PRESETS[prior], network__coordinates="official", **changes).network).eval()


def checkpoint_of(network: Network, prior: str, *, prefix: str = "module.") -> dict[str, Tensor]:
    """The weights under the authors' names, with what their checkpoints hold besides."""
    state = {official_name(name, prior): value for name, value in network.state_dict().items()}
    state["vgg.slice1.0.weight"] = torch.zeros(2)
    state["pyramid.downs.1.weight"] = torch.full((3, 1, 1, 1), torch.nan)
    state["down.weight"] = state["dense_motion.down.weight"] = torch.zeros(3, 1, 13, 13)
    return {prefix + name: value for name, value in state.items()}


def animated(network: Network) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return network(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)).image


@pytest.mark.parametrize("prior", PRESETS)
@pytest.mark.parametrize("motion", ["refined", "prior_only"])
def test_conversion_gives_the_same_network(prior: str, motion: str) -> None:
    network = tiny(prior, motion=motion)
    converted = convert_official(checkpoint_of(network, prior), prior=prior, prior_only=motion == "prior_only")
    assert not converted.training
    # Without a refinement there is no position embedding to tell the size, nor settings that nothing uses.
    if motion == "refined":
        assert converted.config.model_dump(exclude={"coarse", "detector"}) == network.config.model_dump(
            exclude={"coarse", "detector"}
        )
    assert torch.equal(animated(converted), animated(network))


def test_sizes_are_read_off_the_tensors() -> None:
    network = tiny("affine", correlation__radius=2, correlation__pyramid_levels=2, refinement__iterations=4)
    converted = convert_official(checkpoint_of(network, "affine"), prior="affine")
    assert (converted.config.correlation.radius, converted.config.correlation.pyramid_levels) == (2, 2)
    assert converted.config.refinement.iterations == 4
    assert torch.equal(animated(converted), animated(network))


def test_background_predictor_is_kept() -> None:
    network = tiny("affine", background="predicted")
    converted = convert_official(checkpoint_of(network, "affine"), prior="affine")
    assert converted.background is not None and network.background is not None
    assert torch.equal(converted.background.trunk.conv1.weight, network.background.trunk.conv1.weight)


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("wrapped", [True, False])
def test_command_writes_a_model_that_loads(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    network = tiny("affine")
    state = checkpoint_of(network, "affine", prefix=prefix)
    optimizer = torch.optim.Adam(network.parameters()).state_dict()
    torch.save({"model": state, "optimizer": optimizer, "epoch": 99} if wrapped else state, tmp_path / "vox.pth.tar")
    arguments = ["convert", str(tmp_path / "vox.pth.tar"), str(tmp_path / "out" / "model"), "--prior", "affine"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    loaded = load_model(tmp_path / "out" / "model")
    assert torch.equal(animated(loaded), animated(network))
    assert "vox.pth.tar" in (tmp_path / "out" / "model" / "README.md").read_text()


@pytest.mark.parametrize("prior", PRESETS)
def test_from_a_checkpoint_to_a_video(prior: str, clips: Path, tmp_path: Path) -> None:
    torch.save({"model": checkpoint_of(tiny(prior), prior)}, tmp_path / "vox.pth.tar")
    model, output = tmp_path / "model", tmp_path / "out.mp4"
    portrait = Path(str(resources.files("mrfa"))) / "assets" / "astronaut.jpg"
    convert = ["convert", tmp_path / "vox.pth.tar", model, "--prior", prior]
    uncropped = ["--crop", "none", "--driving-crop", "none", "--no-paste-back"]
    animate = ["animate", portrait, next(clips.iterdir()), "-o", output, "--model", model, *uncropped]
    for arguments in (convert, animate):
        assert CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    assert [frame.image.shape for frame in VideoReader(output)] == 6 * [(64, 64, 3)]


Spoil = Callable[[dict[str, Tensor]], object]


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (lambda s: s.pop("module.encoder.kp.bias"), {}, "it lacks encoder.kp.bias"),
        (lambda s: s.update({"module.decoder.extra": torch.ones(1)}), {}, "it has the unknown decoder.extra"),
        (lambda s: s.update({"module.decoder.kp_head.bias": torch.ones(3)}), {}, r"decoder.kp_head.bias is \[3\] instead"),
        (lambda s: s.update({"kp_detector": {}, "generator": {}}), {}, "the unknown kp_detector, generator"),
        (lambda s: s.update({"module.encoder.kp.weight": "text"}), {}, "encoder.kp.weight is a str"),
        (lambda s: s.update({"module.encoder.kp.weight": torch.ones(2)}), {}, "fit no model"),
        (lambda s: s.clear(), {}, "the keypoint detector of none"),
        (lambda s: s.pop("module.decoder.pos_embedding"), {}, "convert it with --prior-only"),
        (lambda s: None, {"prior_only": True}, "convert it without --prior-only"),
        (lambda s: None, {"prior": "tps"}, "convert it with --prior affine"),
        (lambda s: None, {"prior": "fomm"}, "no prior 'fomm'"),
    ],
)
def test_what_does_not_fit_is_named(spoil: Spoil, options: dict[str, object], words: str) -> None:
    state = checkpoint_of(tiny("affine"), "affine")
    spoil(state)
    with pytest.raises(InputError, match=words) as error:
        convert_official(state, **({"prior": "affine"} | options))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


class Malicious:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def _save_old(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("write", [torch.save, _save_old, _pickle])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, write: Callable[[object, Path], None]) -> None:
    path = tmp_path / "evil.pth"
    write({"model": {"module.encoder.kp.weight": Malicious(tmp_path / "harmed")}}, path)
    with pytest.raises(InputError, match=r"evil\.pth: refused, for .* code"):
        convert_checkpoint(path, tmp_path / "model", prior="affine")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["evil.pth"]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 a damaged archive"])
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"some\.pth: (refused|not a checkpoint)"):
        convert_checkpoint(tmp_path / "some.pth", tmp_path / "model", prior="affine")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="it holds a list"):
        convert_checkpoint(tmp_path / "list.pth", tmp_path / "model", prior="affine")


def test_existing_folders_are_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no checkpoint at .*missing\.pth"):
        convert_checkpoint(tmp_path / "missing.pth", tmp_path / "model", prior="affine")
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(InputError, match="exists already"):
        convert_checkpoint(tmp_path / "missing.pth", tmp_path, prior="affine")
