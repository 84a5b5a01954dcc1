import numpy as np
import pytest
import torch

from mrfa.animation.crop import crop_image, whole_picture
from mrfa.animation.pictures import as_batch
from mrfa.data.tensors import to_pictures, to_tensor

SIZE = 48


def picture(height: int, width: int) -> np.ndarray:
    """Smooth and yet uneven, so that a shift by a part of a pixel shows; with a hard edge."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = np.stack([127 + 120 * np.sin(9 * x), 127 + 120 * np.cos(7 * y), 255 * (x + y) / 2], -1)
    image[height // 3 :, width // 2] = 10
    return image.astype(np.uint8)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255


def test_pictures_are_rounded_to_the_nearest_value() -> None:
    values = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    np.testing.assert_array_equal(to_pictures(to_tensor(values)), values)
    between = torch.tensor([-0.2, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.2]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_pictures(between)[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]


@pytest.mark.parametrize("shape", [(48, 48), (96, 96), (100, 100), (131, 131), (30, 30), (60, 90), (91, 50), (20, 33), (1, 1)])
def test_arrays_and_tensors_are_resized_as_crops_are(shape: tuple[int, int]) -> None:
    image = picture(*shape)
    expected = tensor(crop_image(image, whole_picture(shape[1], shape[0]), SIZE))[None]
    torch.testing.assert_close(as_batch(image, SIZE), expected, rtol=0, atol=1e-6)
    # OpenCV rounds to whole values, and its cubic weights to 11 bits.
    torch.testing.assert_close(as_batch(tensor(image), SIZE), expected, rtol=0, atol=1.01 / 255)
    assert (as_batch(tensor(image), SIZE) - expected).abs().mean() < 0.3 / 255


def test_batches_and_lists() -> None:
    images = np.stack([picture(60, 70), picture(60, 70)[:, ::-1]])
    singles = torch.cat([as_batch(image, SIZE) for image in images])
    torch.testing.assert_close(as_batch(images, SIZE), singles)
    torch.testing.assert_close(as_batch(list(images), SIZE), singles)
    tensors = torch.stack([tensor(image) for image in images])
    torch.testing.assert_close(as_batch(tensors, SIZE), as_batch(list(tensors), SIZE))
    mixed = as_batch([images[0], tensors[1], picture(20, 20)], SIZE)
    assert mixed.shape == (3, 3, SIZE, SIZE) and mixed.dtype == torch.float32
    torch.testing.assert_close(mixed[0], singles[0])


def test_half_precision_tensors_and_read_only_arrays() -> None:
    image = picture(SIZE, SIZE)
    image.flags.writeable = False
    torch.testing.assert_close(as_batch(tensor(image).half(), SIZE), as_batch(image, SIZE), rtol=0, atol=1e-3)


def test_enlarging_stays_in_range() -> None:
    edge = torch.zeros(3, 8, 8)
    edge[:, :, 4:] = 1
    batch = as_batch(edge, SIZE)
    assert batch.min() == 0 and batch.max() == 1
