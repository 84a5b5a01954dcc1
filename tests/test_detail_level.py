"""The generator's level at the full size, above a network that works at half of it."""

from pathlib import Path

import cv2
import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_preset
from torch import Tensor

from mrfa.animation.job import animate_file
from mrfa.data.images import MIDDLE_BAND, band_energy, write_image
from mrfa.data.tensors import to_pictures
from mrfa.data.video import VideoReader
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.training.config import load_config
from mrfa.training.passes import frozen_keypoints
from mrfa.weights import load_model, save_model

ASTRONAUT = Path(__file__).parents[1] / "src" / "mrfa" / "assets" / "astronaut.jpg"


def enlarged(network: Network, preset: str) -> Network:
    """A network of the preset with all weights of one of half its size."""
    config = load_config(preset) if network.config.image_size == 256 else tiny_preset(preset)
    large = Network(config.network).eval()
    lacking, unknown = large.load_state_dict(network.state_dict(), strict=False)
    assert not unknown and all("detail" in name for name in lacking)
    return large


def tiny(preset: str, **settings: object) -> Network:
    torch.manual_seed(0)
    return Network(tiny_preset(preset, **settings).network).eval()


def moved(keypoints: Keypoints) -> Keypoints:
    shifts = torch.tensor([0.04, 0.02]) + 0.01 * torch.randn(
        keypoints.positions.shape, generator=torch.Generator().manual_seed(0)
    )
    return keypoints._replace(positions=keypoints.positions + shifts)


@pytest.fixture(scope="module")
def portrait() -> Tensor:
    picture = cv2.cvtColor(cv2.imread(str(ASTRONAUT)), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def test_bundled_model_begins_with_its_own_picture_and_a_sharper_one(portrait: Tensor) -> None:
    small = load_model("small")
    large, half = enlarged(small, "small-512"), F.avg_pool2d(portrait, 2)
    with torch.inference_mode():
        source, smaller = large.encode_source(portrait), small.encode_source(half)
        torch.testing.assert_close(source.keypoints, smaller.keypoints)
        driving = moved(source.keypoints)
        got, expected = large.animate(source, driving), small.animate(smaller, driving)
    assert got.image.shape == (1, 3, 512, 512)
    torch.testing.assert_close(got.motion, expected.motion)
    assert (F.avg_pool2d(got.image, 2) - expected.image).abs().mean() < 0.008
    repeated = F.interpolate(expected.image, scale_factor=2, mode="bicubic")
    sharp, soft = (band_energy(to_pictures(image)[0], MIDDLE_BAND) for image in (got.image, repeated))
    assert sharp > 1.5 * soft


def test_what_it_adds_to_the_enlarged_picture_is_nothing_at_first() -> None:
    """Without a blend the picture is the smaller one's, enlarged before its sigmoid."""
    small, large = (tiny(preset, network__generator__image_blend="none") for preset in ("paper-affine", "paper-512-affine"))
    large.load_state_dict(small.state_dict(), strict=False)
    image = torch.rand(2, 3, 128, 128)
    with torch.inference_mode():
        got, expected = large(image, image.flip(0)).image, small(*(F.avg_pool2d(x, 2) for x in (image, image.flip(0)))).image
        torch.testing.assert_close(got, torch.sigmoid(F.interpolate(torch.logit(expected), scale_factor=2, mode="bilinear")))
        assert large.decoder.detail is not None
        large.decoder.detail.last.weight.normal_(std=0.1)
        assert (large(image, image.flip(0)).image - got).abs().max() > 0.01


@pytest.mark.parametrize("preset", ["paper-512-affine", "paper-512-thin-plate", "paper-512-transformer"])
@pytest.mark.parametrize("iterations", [6, 7])
def test_sizes(preset: str, iterations: int) -> None:
    """All but the finest level sees half of the size; from the seventh iteration on the flow is refined at all of it."""
    network = tiny(preset, network__refinement__iterations=iterations)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    seen: list[int] = []
    network.detector.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2]))
    output = network(*torch.rand(2, 2, 3, 128, 128))
    assert seen == [64] and output.image.shape == (2, 3, 128, 128) and output.coarse.flow.shape[1] == 16
    assert [flow.shape[1] for flow in output.motion.flows] == [2, 4, 8, 16, 32, 64, 128][:iterations]
    output.image.sum().backward()
    assert all(p.grad is not None for name, p in network.named_parameters() if "detail" in name and not name.endswith("0.bias"))


@pytest.mark.parametrize("preset", ["small-512", "paper-512-affine", "paper-512-thin-plate", "paper-512-transformer"])
def test_preset_takes_over_all_weights_of_its_smaller_kind(preset: str) -> None:
    with torch.device("meta"):
        large, small = (Network(load_config(name).network).state_dict() for name in (preset, preset.replace("-512", "")))
    assert {key: value.shape for key, value in large.items() if "detail" not in key} == {k: v.shape for k, v in small.items()}
    assert load_config(preset).training.image_size == load_config(preset).network.image_size == 512


def test_frozen_detector_sees_generated_pictures_at_half_of_their_size() -> None:
    network, image = tiny("small-512"), torch.rand(2, 3, 128, 128)
    torch.testing.assert_close(frozen_keypoints(network, image), network.detect(image).positions)


def test_training_goes_on_from_the_smaller_model(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sharp stage's objective but for what needs files, at a rate that changes nothing."""
    pytest.importorskip("lightning")
    from mrfa.training.run import train

    small = tiny("small", network__coordinates="corner_aligned")
    save_model(small, tmp_path / "small", "card")
    settings = {"steps": 1, "learning_rate": 1e-12, "workers": 0}
    settings |= {"objective__perceptual_weight": 0, "augmentation__backgrounds__share": 0}
    config = tiny_preset("small-512", **{f"training__{name}": value for name, value in settings.items()})
    large = load_model(train(config, data=clips, output=tmp_path / "run", init=str(tmp_path / "small")))
    said = "".join(capsys.readouterr().err.split())
    assert "decoder.detail.last" in said and "leftbehind" not in said and "readspositions" not in said
    assert large.config.image_size == 128 and large.decoder.detail is not None
    torch.testing.assert_close(large.encoder.first[0].weight, small.encoder.first[0].weight, atol=1e-3, rtol=0)
    assert large.decoder.detail.last.weight.abs().max() < 1e-6


def test_portrait_and_driver_become_a_video_of_the_full_size(portrait: Tensor, tmp_path: Path) -> None:
    picture = to_pictures(portrait)[0]
    write_image(tmp_path / "portrait.png", picture)
    writer = cv2.VideoWriter(str(tmp_path / "driver.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (512, 512))
    for _ in range(2):
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    save_model(enlarged(load_model("small"), "small-512"), tmp_path / "model", "card")
    output = tmp_path / "out.mp4"
    animate_file(tmp_path / "portrait.png", tmp_path / "driver.mp4", output, model=tmp_path / "model", paste_back=False)
    video = VideoReader(output)
    assert (video.width, video.height) == (512, 512)
