import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import mrfa
from mrfa.animation.animator import Animator
from mrfa.animation.crop import CropBox, crop_image
from mrfa.config import Config
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network
from mrfa.weights import save_model


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(count)]


@pytest.fixture
def animator(tiny_network: Network) -> Animator:
    animator = Animator(tiny_network)
    animator.set_source(pictures(1, seed=9)[0], "none")
    return animator


def test_absolute_motion_is_the_forward_pass_over_a_still_background(animator: Animator) -> None:
    still = Network(animator.network.config.model_copy(update={"background": "still"})).eval()
    still.load_state_dict(animator.network.state_dict())
    driving = pictures(1)[0]
    (result,) = animator.animate([driving], relative=False)

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255

    assert animator.source_picture is not None
    with torch.no_grad():
        expected = still(tensor(animator.source_picture), tensor(driving)).image
    expected = expected.clamp(0, 1).mul(255)[0].permute(1, 2, 0).numpy()
    assert result.dtype == np.uint8 and result.shape == (64, 64, 3)
    assert np.abs(result - expected).max() < 0.6


def test_the_first_frame_shows_the_portrait_in_its_own_pose(animator: Animator) -> None:
    """Relative motion of an unmoved driver is no motion: keypoints of the source drive the source."""
    first, second = animator.animate([pictures(1)[0]] * 2)
    (own,) = animator.animate([animator.source_keypoints], relative=False)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first.astype(int) - own).max() <= 1


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_batches_and_keypoints_give_the_same_pictures(animator: Animator, batch_size: int) -> None:
    driving = pictures(5)
    expected = list(animator.animate(driving))
    keypoints: list[np.ndarray | Keypoints] = [animator.detect(picture) for picture in driving]
    mixed = [driving[0], *keypoints[1:3], *driving[3:]]
    for frames in (driving, keypoints, mixed):
        result = list(animator.animate(frames, batch_size=batch_size))
        assert len(result) == 5
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(result, expected, strict=True)) <= 1


def test_detect_takes_batches(animator: Animator) -> None:
    driving = pictures(3)
    batch = animator.detect(np.stack(driving))
    assert batch.positions.shape == (3, 28, 2)
    torch.testing.assert_close(batch.positions[1:2], animator.detect(driving[1]).positions)


def test_frames_are_taken_as_they_are_needed(animator: Animator) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield pictures(1)[0]

    results = animator.animate(endless(), batch_size=2)
    for _ in range(3):
        next(results)
    assert taken == 4
    assert not torch.is_inference_mode_enabled()


def test_an_initial_frame_of_the_callers(animator: Animator) -> None:
    driving = pictures(3)
    whole = list(animator.animate(driving))
    part = list(animator.animate(driving[1:], initial=animator.detect(driving[0])))
    assert np.abs(whole[2].astype(int) - part[1]).max() <= 1


def test_source_crops(animator: Animator) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 140, 3), np.uint8)
    animator.set_source(image, "10,20,64,64")
    assert animator.source_crop == CropBox(10, 20, 64)
    assert animator.source_picture is not None
    np.testing.assert_array_equal(animator.source_picture, crop_image(image, CropBox(10, 20, 64), 64))
    animator.set_source(image, "none")
    assert animator.source_crop == CropBox(20, 0, 100)


def test_misuse(tiny_network: Network, animator: Animator) -> None:
    with pytest.raises(RuntimeError, match="set_source"):
        next(Animator(tiny_network).animate(pictures(1)))
    with pytest.raises(ValueError, match="expected a crop of 64x64x3, got 32x64x3"):
        animator.detect(np.zeros((32, 64, 3), np.uint8))


def test_from_pretrained(tiny_network: Network, tiny_config: Config, tmp_path: Path) -> None:
    save_model(tiny_network, tiny_config, tmp_path / "tiny", "card")
    animator = mrfa.Animator.from_pretrained(tmp_path / "tiny", device="cpu")
    assert animator.size == 64
    assert animator.fingerprint == Animator(tiny_network).fingerprint
    with pytest.raises(mrfa.InputError, match="no model"):
        mrfa.Animator.from_pretrained("no-such-model")


def test_public_names_are_imported_on_first_use() -> None:
    code = "import sys, mrfa; assert 'torch' not in sys.modules; mrfa.__version__; mrfa.load_model; mrfa.transfer_motion"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(mrfa.__all__) <= set(dir(mrfa))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mrfa.nothing
