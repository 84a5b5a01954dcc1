"""Pictures come out upright, as 8-bit RGB, whatever they were stored as."""

import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mrfa.data.images import is_picture, read_image, write_image
from mrfa.errors import InputError


@pytest.fixture
def picture() -> np.ndarray:
    """A smooth colour picture, 12 rows and 17 columns."""
    y, x = np.mgrid[:12, :17]
    return np.stack([x * 15, y * 20, 255 - x * 7 - y * 5], axis=-1).astype(np.uint8)


def test_lossless_round_trip(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.PNG", picture)
    assert np.array_equal(read_image(tmp_path / "a.PNG"), picture)
    assert read_image(str(tmp_path / "a.PNG")).flags.writeable


def test_written_files_have_the_rights_of_any_new_file(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.png", picture)
    (tmp_path / "b").touch()
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_jpeg_is_close(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.jpg", picture)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(tmp_path: Path, picture: np.ndarray, orientation: int, expected) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), expected(picture))


def test_transparency_is_laid_over_white(tmp_path: Path, picture: np.ndarray) -> None:
    alpha = np.full((12, 17, 1), 255, np.uint8)
    alpha[:4] = 0
    alpha[4:8] = 51
    Image.fromarray(np.concatenate([picture, alpha], -1)).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert (image[:4] == 255).all()
    assert np.abs(image[4:8].astype(int) - (0.2 * picture[4:8] + 0.8 * 255)).max() <= 1
    assert np.array_equal(image[8:], picture[8:])


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, -1))
    Image.fromarray(grey > 100).save(tmp_path / "bits.png")
    assert np.array_equal(read_image(tmp_path / "bits.png")[..., 0], np.where(grey > 100, 255, 0))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 200).reshape(10, 20).astype(np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert np.abs(read_image(tmp_path / "a.png")[..., 1].astype(float) - grey / 257).max() <= 0.51


def test_float_grey(tmp_path: Path) -> None:
    grey = np.linspace(0, 1, 200).reshape(10, 20).astype(np.float32)
    Image.fromarray(grey).save(tmp_path / "a.tiff")
    assert np.abs(read_image(tmp_path / "a.tiff")[..., 0] - grey * 255).max() <= 0.51


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    palette = Image.new("P", (6, 4), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((2, 1), 1)
    palette.save(tmp_path / "plain.png")
    palette.save(tmp_path / "clear.png", transparency=0)
    assert read_image(tmp_path / "plain.png")[1, 1:3].tolist() == [[10, 20, 30], [200, 100, 50]]
    assert read_image(tmp_path / "clear.png")[1, 1:3].tolist() == [[255, 255, 255], [200, 100, 50]]


def test_cmyk(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    ("suffix", "chunk"), [(".png", b"pHYs" + (2).to_bytes(4) + (1).to_bytes(4) + b"\0"), (".jpg", b"\0\x00\x02\x00\x01")]
)
def test_pixels_become_square(tmp_path: Path, picture: np.ndarray, suffix: str, chunk: bytes) -> None:
    """Frames as FFmpeg saves them, with the ratio of pixels twice as wide as high."""
    path = tmp_path / f"a{suffix}"
    write_image(path, picture)
    data = path.read_bytes()
    if suffix == ".png":
        path.write_bytes(data[:33] + (9).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) + data[33:])
    else:
        place = data.index(b"JFIF\0") + 7
        path.write_bytes(data[:place] + chunk + data[place + 5 :])
    image = read_image(path)
    assert image.shape == (12, 34, 3)
    assert np.abs(image[:, ::2].astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    ("dpi", "shape"), [((300, 600), (12, 34)), ((72, 72), (12, 17)), ((1, 9000), (12, 17)), ((0, 72), (12, 17))]
)
def test_densities_are_the_inverse(tmp_path: Path, picture: np.ndarray, dpi: tuple[int, int], shape: tuple[int, int]) -> None:
    Image.fromarray(picture).save(tmp_path / "a.jpg", dpi=dpi)
    assert read_image(tmp_path / "a.jpg").shape[:2] == shape


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, picture: np.ndarray) -> None:
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    write_image(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    for name, words in [("absent.png", "no picture at"), ("text.png", "known format"), ("empty.jpg", "known format"),
                        ("cut.png", "cannot read"), (".", "folder")]:  # fmt: skip
        with pytest.raises(InputError, match=words) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_pictures_are_told_from_videos(tmp_path: Path, picture: np.ndarray) -> None:
    """By what they hold; by their names where that is nothing known."""
    for name in ("a.png", "a.gif", "a.webp"):
        write_image(tmp_path / name, picture)
    (tmp_path / "a.png").rename(tmp_path / "picture.mp4")
    with av.open(str(tmp_path / "a.m1v"), "w", format="mpeg1video") as container:
        stream = container.add_stream("mpeg1video", rate=25)
        stream.width = stream.height = 32
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    for name in ("text.jpg", "text.HEIC", "text.mp4", "text"):
        (tmp_path / name).write_text("no picture")
    pictures = {path.name for path in tmp_path.iterdir() if is_picture(path)}
    assert pictures == {"picture.mp4", "a.gif", "a.webp", "text.jpg", "text.HEIC"}
    assert not is_picture(tmp_path)
    with pytest.raises(InputError, match="no picture or video at"):
        is_picture(tmp_path / "absent.png")


def test_what_cannot_be_written(tmp_path: Path, picture: np.ndarray) -> None:
    for target in (tmp_path / "a.txt", tmp_path / "a", tmp_path / "absent" / "a.png"):
        with pytest.raises(InputError, match="cannot write"):
            write_image(target, picture)
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "a.png", picture.astype(np.float32))
    assert not list(tmp_path.iterdir())


def test_real_portraits(faces: Path) -> None:
    portraits = [p for p in sorted((faces / "portraits").rglob("*")) if p.suffix.lower() in {".png", ".jpg", ".jpeg"}][:3]
    assert portraits
    for path in portraits:
        image = read_image(path)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.std() > 5
