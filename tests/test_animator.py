from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_preset

import mrfa
from mrfa.animation.animator import Animator
from mrfa.animation.smoothing import SmoothMotion
from mrfa.devices import pick_device
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network, Output, Source
from mrfa.training.config import Config
from mrfa.weights import save_model


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(count)]


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def difference(one: object, other: object) -> float:
    return max(float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()) for a, b in zip(one, other, strict=True))  # type: ignore[call-overload]


@pytest.fixture
def animator(tiny_network: Network) -> Animator:
    return Animator(tiny_network)


@pytest.fixture
def source(animator: Animator) -> Source:
    return animator.encode(pictures(1, seed=9)[0])


def test_absolute_motion_is_the_forward_pass_over_a_still_background(animator: Animator, source: Source) -> None:
    still = Network(animator.network.config.model_copy(update={"background": "still"})).eval()
    still.load_state_dict(animator.network.state_dict())
    portrait, driving = pictures(1, seed=9)[0], pictures(1)[0]
    (result,) = animator.animate(source, [driving], motion="absolute")
    with torch.no_grad():
        expected = still(tensor(portrait)[None], tensor(driving)[None]).image
    expected = expected.clamp(0, 1).mul(255)[0].permute(1, 2, 0).numpy()
    assert result.dtype == np.uint8 and result.shape == (64, 64, 3)
    assert np.abs(result - expected).max() < 0.6


def test_a_step_within_one_video_is_the_forward_pass(animator: Animator, source: Source) -> None:
    assert animator.network.config.background == "aligned"
    driving = torch.stack([tensor(picture) for picture in pictures(3)])
    output = animator.step(source, driving, same_video=True)
    with torch.no_grad():
        expected = animator.network(source.image.expand(3, -1, -1, -1), driving)
    torch.testing.assert_close(output.image, expected.image, atol=1e-5, rtol=0)
    assert output.background is not None and expected.background is not None
    torch.testing.assert_close(output.background, expected.background)
    assert animator.step(source, driving).background is None


def test_a_step_by_coarse_motion_alone(animator: Animator, source: Source) -> None:
    driving = animator.detect(pictures(2))
    with torch.no_grad():
        expected = animator.network.animate(source, driving, coarse_only=True).image
    torch.testing.assert_close(animator.step(source, driving, coarse_only=True).image, expected)
    assert (animator.step(source, driving).image - expected).abs().max() > 1e-3


def test_the_first_frame_shows_the_portrait_in_its_own_pose(animator: Animator, source: Source) -> None:
    """Relative motion of an unmoved driver is no motion: keypoints of the source drive the source."""
    first, second = animator.animate(source, [pictures(1)[0]] * 2)
    (own,) = animator.animate(source, [source.keypoints], motion="absolute")
    np.testing.assert_array_equal(first, second)
    assert np.abs(first.astype(int) - own).max() <= 1


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_batches_and_keypoints_give_the_same_pictures(animator: Animator, source: Source, batch_size: int) -> None:
    driving = pictures(5)
    expected = list(Animator(animator.network, batch_size=1).animate(source, driving))
    keypoints: list[np.ndarray | Keypoints] = [animator.detect(picture) for picture in driving]
    mixed = [driving[0], *keypoints[1:3], *driving[3:]]
    animator = Animator(animator.network, batch_size=batch_size)
    for frames in (driving, keypoints, mixed):
        result = list(animator.animate(source, frames))
        assert len(result) == 5
        assert difference(result, expected) <= 1


@pytest.mark.parametrize("adapt_scale", [False, True])
def test_several_portraits_are_animated_as_each_alone(animator: Animator, adapt_scale: bool) -> None:
    portraits, driving = pictures(3, seed=9), pictures(5)
    together = list(animator.animate(animator.encode(portraits), driving, adapt_scale=adapt_scale))
    assert together[0].shape == (3, 64, 64, 3) and together[0].dtype == np.uint8 and len(together) == 5
    for number, portrait in enumerate(portraits):
        alone = list(animator.animate(animator.encode(portrait), driving, adapt_scale=adapt_scale))
        assert difference([frame[number] for frame in together], alone) <= 1


def test_a_step_orders_its_pictures_portrait_by_portrait(animator: Animator) -> None:
    portraits, driving = pictures(2, seed=9), pictures(3)
    images = animator.step(animator.encode(np.stack(portraits)), driving, same_video=True).image
    assert images.shape == (6, 3, 64, 64)
    for number, portrait in enumerate(portraits):
        alone = animator.step(animator.encode(portrait), driving, same_video=True).image
        torch.testing.assert_close(images[3 * number : 3 * number + 3], alone, atol=1e-4, rtol=0)


def test_tensors_come_out_where_tensors_go_in(animator: Animator, source: Source) -> None:
    driving = pictures(3)
    arrays = list(animator.animate(source, driving))
    images = list(animator.animate(animator.encode(tensor(pictures(1, seed=9)[0])), [tensor(picture) for picture in driving]))
    assert all(image.shape == (3, 64, 64) and image.dtype == torch.float32 for image in images)
    assert difference([255 * image.permute(1, 2, 0) for image in images], arrays) < 0.51
    several = animator.encode(torch.stack([tensor(picture) for picture in pictures(2)]))
    (image,) = animator.animate(several, [tensor(driving[0])])
    assert image.shape == (2, 3, 64, 64)


def test_detect_takes_batches(animator: Animator) -> None:
    driving = pictures(3)
    batch = animator.detect(np.stack(driving))
    assert batch.positions.shape == (3, 28, 2)
    torch.testing.assert_close(batch.positions[1:2], animator.detect(driving[1]).positions)


def test_frames_are_taken_as_they_are_needed(animator: Animator, source: Source) -> None:
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield pictures(1)[0]

    results = Animator(animator.network, batch_size=2).animate(source, endless())
    assert taken == 1
    for _ in range(3):
        next(results)
    assert taken == 4
    assert not torch.is_inference_mode_enabled()
    assert list(animator.animate(source, [])) == []


def test_an_initial_frame_of_the_callers(animator: Animator, source: Source) -> None:
    driving = pictures(3)
    whole = list(animator.animate(source, driving))
    part = list(animator.animate(source, driving[1:], initial=animator.detect(driving[0])))
    assert np.abs(whole[2].astype(int) - part[1]).max() <= 1


def test_a_stream_may_begin_from_its_best_frame_so_far(
    animator: Animator, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a driver that soon shows the portrait itself and stays so: the portrait goes back to its own place, in small steps."""
    own = source.keypoints
    grown = Keypoints(own.positions * torch.tensor([1.3, 1.0]), own.affine)
    moved: list[torch.Tensor] = []
    animate = animator.engine.animate

    def show(source: Source, keypoints: Keypoints, **more: object) -> Output:
        moved.append(keypoints.positions)
        return animate(source, keypoints, **more)

    monkeypatch.setattr(animator.engine, "animate", show)
    shifts = {}
    for initial in ("first", "best"):
        moved.clear()
        assert len(list(animator.animate(source, [grown] + [own] * 60, motion="relative", initial=initial))) == 61  # type: ignore[call-overload]
        shifts[initial] = (torch.cat(moved) - own.positions).abs().amax((1, 2))
    assert shifts["first"][60] == shifts["first"][1] > 0 and shifts["best"][1] == shifts["first"][1]
    assert shifts["best"][60] < 0.1 * shifts["first"][60]
    assert (shifts["best"].diff()[1:] <= 1e-6).all() and -shifts["best"].diff()[1:].min() < 0.06 * shifts["first"][1]
    with pytest.raises(ValueError, match="leave it out"):
        animator.animate(source, [own], motion="absolute", initial="best")


def test_a_streams_motion_is_smoothed_as_it_comes(animator: Animator, source: Source) -> None:
    driving = pictures(5)
    smoothed = SmoothMotion(1.0)(animator.detect(driving), [number / 50 for number in range(5)])
    expected = [smoothed.part(slice(number, number + 1)) for number in range(5)]
    one = list(animator.animate(source, driving, motion="absolute", smooth=1.0, rate=50))
    other = list(animator.animate(source, expected, motion="absolute"))
    assert max(difference(*pair) for pair in zip(one, other, strict=True)) <= 1
    raw = list(animator.animate(source, driving, motion="absolute"))
    assert difference(one[0], raw[0]) <= 1 < difference(one[4], raw[4])
    with pytest.raises(ValueError, match="rate above 0"):
        animator.animate(source, driving, smooth=1.0, rate=0)
    with pytest.raises(InputError, match="must be 0 to 1"):
        animator.animate(source, driving, smooth=2)


def test_threads_share_an_animator(animator: Animator) -> None:
    """Each has its own portrait and driver."""

    def job(seed: int) -> list[np.ndarray]:
        return list(animator.animate(animator.encode(pictures(1, seed=seed)[0]), pictures(6, seed=seed + 1)))

    expected = [job(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(job, range(4)))
    for one, other in zip(found, expected, strict=True):
        assert difference(one, other) == 0


@pytest.mark.parametrize("preset", ["small", "paper-thin-plate", "paper-transformer", "paper-npmr"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_keeps_positions_and_flows(preset: str, precision: str) -> None:
    torch.manual_seed(0)
    network = Network(tiny_preset(preset).network)
    with torch.no_grad():
        for parameter in network.parameters():  # some are zero at first
            parameter.add_(0.02 * torch.randn_like(parameter))
    full, half = Animator(network), Animator(network, dtype=precision)
    portrait, driving = pictures(1, seed=9)[0], pictures(2)
    expected = full.step(full.encode(portrait), driving, same_video=True)
    output = half.step(half.encode(portrait), driving, same_video=True)
    assert half.dtype in (torch.bfloat16, torch.float16)
    for one, other in zip(_positions(output), _positions(expected), strict=True):
        assert one.dtype == torch.float32
        # Of the last bits, which numbers rounded to half precision lack, all are in use.
        assert (one != one.to(half.dtype)).float().mean() > 0.5
        assert (one - other).abs().max() < 0.02
    assert output.image.dtype == torch.float32
    assert 0 < (output.image - expected.image).abs().mean() < 0.01


def _positions(output: Output) -> list[torch.Tensor]:
    found = [output.driving_keypoints.positions, output.driving_keypoints.affine, output.background]
    return [*(x for x in found if x is not None), output.coarse.flow, *output.motion.flows]


def test_compiling_changes_nothing(tiny_network: Network, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def record(function: Callable[..., object], dynamic: bool) -> Callable[..., object]:
        compiled.append(function.__name__)
        return lambda *arguments, **named: function(*arguments, **named)

    monkeypatch.setattr(torch, "compile", record)
    driving = pictures(2)
    result = list(Animator(tiny_network, compile=True).animate(source, driving))
    assert compiled == ["detect", "encode_source", "animate"]
    assert difference(result, Animator(tiny_network).animate(source, driving)) == 0


def test_misuse_is_told_at_the_call(animator: Animator, source: Source) -> None:
    good = pictures(1)[0]
    keypoints = animator.detect(good)
    fewer = Keypoints(keypoints.positions[:, :5], None if keypoints.affine is None else keypoints.affine[:, :5])
    for bad, message in [
        (good[..., :2], r"expected a uint8 array \[H, W, 3\], got uint8 \[64, 64, 2\]"),
        (good.astype(np.float32), r"expected a uint8 array .*got float32"),
        (torch.zeros(64, 64, 3), r"expected a floating-point tensor \[3, H, W\] in \[0, 1\], got torch.float32 \[64, 64, 3\]"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), "expected a floating-point tensor .*got torch.uint8"),
        (good[:0], r"got uint8 \[0, 64, 3\]"),
        ("face.jpg", "expected a picture, an array or a tensor, got str"),
    ]:
        with pytest.raises(ValueError, match=message):
            animator.animate(source, [bad])  # type: ignore[list-item]
        with pytest.raises(ValueError, match=message):
            animator.encode([bad])  # type: ignore[list-item]
    for wrong in (fewer, Keypoints(keypoints.positions, None)):
        message = r"expected keypoints \[B, 28, 2\] with affine maps \[B, 28, 2, 2\], as the portrait's are, got \[B, "
        with pytest.raises(ValueError, match=message):
            animator.animate(source, [wrong])
        with pytest.raises(ValueError, match=message):
            animator.animate(source, [good], initial=wrong)
        with pytest.raises(ValueError, match=message):
            animator.step(source, wrong)
    with pytest.raises(ValueError, match=r"keypoints of one frame, .* got those of 2"):
        animator.animate(source, [animator.detect([good, good])])
    stream = Animator(animator.network, batch_size=1).animate(source, [good, keypoints, fewer])
    assert [next(stream).shape for _ in range(2)] == [(64, 64, 3)] * 2
    with pytest.raises(InputError, match="as the portrait's are"):
        next(stream)
    with pytest.raises(ValueError, match="for relative motion"):
        animator.animate(source, [good], motion="absolute", adapt_scale=True)
    with pytest.raises(ValueError, match="give these, not keypoints"):
        animator.step(source, keypoints, same_video=True)
    with pytest.raises(ValueError, match="at least one picture"):
        animator.encode([])


def test_device_precision_and_batch_size_are_checked(tiny_network: Network) -> None:
    for options, message in [
        ({"device": "gpu"}, r"there is no device 'gpu' here: choose from .*cpu$"),
        ({"device": "cuda:77"}, "there is no device 'cuda:77' here"),
        ({"dtype": "fp8"}, "there is no precision 'fp8': choose from auto, fp32, bf16, fp16"),
        ({"dtype": torch.float64}, "there is no precision 'torch.float64'"),
        ({"batch_size": 0}, "must be at least 1, got 0"),
    ]:
        with pytest.raises(InputError, match=message):
            Animator(tiny_network, **options)  # type: ignore[arg-type]
    animator = Animator(tiny_network, device="cpu", dtype=torch.bfloat16, batch_size=3)
    assert (animator.device, animator.dtype, animator.batch_size) == (torch.device("cpu"), torch.bfloat16, 3)
    assert Animator(tiny_network, device="cpu").batch_size == 4


def test_the_default_device_is_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    def there(cuda: int, mps: bool) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    there(0, False)
    assert pick_device() == torch.device("cpu")
    there(0, True)
    assert pick_device() == torch.device("mps")
    there(2, True)
    assert pick_device() == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InputError, match="no device 'cuda:2' here: choose from cuda:0, cuda:1, mps, cpu"):
        pick_device("cuda:2")


def test_from_pretrained(tiny_network: Network, tiny_config: Config, tmp_path: Path) -> None:
    save_model(tiny_network, tmp_path / "tiny", "card")
    animator = mrfa.Animator.from_pretrained(tmp_path / "tiny", device="cpu", dtype="bf16", batch_size=3)
    assert (animator.size, animator.dtype, animator.batch_size) == (64, torch.bfloat16, 3)
    assert animator.fingerprint == Animator(tiny_network).fingerprint
    with pytest.raises(InputError, match="no model"):
        mrfa.Animator.from_pretrained("no-such-model")
