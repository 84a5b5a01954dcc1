"""Still pictures as uint8 RGB arrays."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from mrfa.data.files import check_readable, is_folder, replacing
from mrfa.errors import InputError

if TYPE_CHECKING:
    from mrfa.data.origin import Origin

_JPEG_SUFFIXES = {".jpg", ".jpeg"}
# What Pillow raises for pictures that are cut short or malformed, depending on the format.
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)

# Anamorphic material has pixels up to twice as wide as high; what is far beyond is a mistake of the file.
LARGEST_ASPECT = 8

# Endings by which a folder of pictures is known.
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
# Endings by which a file that is nothing known is taken for a picture and not for a video.
_PICTURE_NAMES = PICTURE_SUFFIXES | {".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"}


def is_picture(path: str | Path) -> bool:
    """Whether there is a picture, which may be an animated one, and not a video or a folder; its content says so, else its name.

    Raises:
        InputError: there is no file and no folder.
    """
    path = Path(path)
    if is_folder(path):
        return False
    check_readable(path, "picture or video")
    try:
        with Image.open(path) as picture:
            return picture.format != "MPEG"  # which Pillow knows and cannot read
    except BROKEN:
        return path.suffix.lower() in _PICTURE_NAMES


LUMINANCE = np.array([0.299, 0.587, 0.114])
# In cycles a pixel, of the faster of both directions: what a blur takes away first, and what lies next to the Nyquist frequency
# of 0.5, where portraits have next to nothing and checkerboards and saw-teeth have all.
MIDDLE_BAND = (0.12, 0.3)
TOP_BAND = (0.42, 0.5)


def read_image(path: str | Path) -> np.ndarray:
    """Read a picture the way it is meant to be seen: uint8 RGB `[H, W, 3]`.

    The EXIF orientation is applied, pixels that are not square are made so, transparency is laid over white, and grey,
    palette, CMYK and 16-bit pictures are converted. Of an animated picture, the first frame is read.

    Raises:
        InputError: no such file, or it is not a complete picture of a known format.
    """
    with _opened(path) as picture:
        picture.load()
        ratio = _aspect(picture.info)
        upright = _upright(picture)
        turned = upright.size != picture.size
        return np.array(_with_square_pixels(_to_rgb(upright), 1 / ratio if turned else ratio))


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture in its own pixels, by its header alone.

    Raises:
        InputError: no such file, or it is no picture of a known format.
    """
    with _opened(path) as picture:
        return picture.size


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """A picture of which no more than the header is read; errors of reading it are those of input, here and in the context."""
    path = Path(path)
    check_readable(path, "picture")
    try:
        with Image.open(path) as picture:
            yield picture
    except Image.UnidentifiedImageError:
        raise InputError(f"cannot read {path}: not a picture of a known format (use PNG, JPEG or WebP)") from None
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot read the picture {path}: {reason}") from None


def write_image(path: str | Path, array: np.ndarray, *, origin: "Origin | None" = None) -> None:
    """Write uint8 RGB `[H, W, 3]` in the format that the suffix names; the file appears only when it is complete.

    Args:
        path: the file to write.
        array: the picture.
        origin: that it is synthetic, and what made it, for the file's metadata: in PNG, JPEG and WebP.

    Raises:
        InputError: the suffix names no picture format, or the folder cannot be written to.
        ValueError: `array` is not a uint8 RGB picture.
    """
    path = Path(path)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3], got {array.dtype} {list(array.shape)}")
    picture_format = format_of(path)
    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if path.suffix.lower() in _JPEG_SUFFIXES else {}
    if origin is not None:
        options |= _metadata(origin)
    with replacing(path) as temporary:
        try:
            Image.fromarray(np.ascontiguousarray(array)).save(temporary, format=picture_format, **options)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from None


def format_of(path: Path) -> str:
    """The picture format that a file's suffix names, to be known before the work is done.

    Raises:
        InputError: it names none that can be written.
    """
    picture_format = Image.registered_extensions().get(path.suffix.lower())
    if picture_format is None or picture_format not in Image.SAVE:
        raise InputError(f"cannot write {path}: {path.suffix or 'no suffix'} is no picture format (use .png or .jpg)")
    return picture_format


def _metadata(origin: "Origin") -> dict[str, Any]:
    """What Pillow is told; each format takes of it what it knows."""
    texts = PngInfo()
    texts.add_text("Comment", str(origin))
    texts.add_itxt("XML:com.adobe.xmp", origin.xmp)
    return {"comment": str(origin), "xmp": origin.xmp.encode(), "pnginfo": texts}


def pixel_aspect(ratio: Fraction | None) -> Fraction:
    """Width of a file's pixels over their height; 1 where it is unknown, or is no ratio of any format."""
    return ratio if ratio and 1 / LARGEST_ASPECT <= ratio <= LARGEST_ASPECT else Fraction(1)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except (*BROKEN, TypeError, KeyError):
        return picture  # a damaged EXIF block: the pixels are good, only their orientation is unknown


def _with_square_pixels(picture: Image.Image, ratio: Fraction) -> Image.Image:
    """Enlarged one way, never shrunk the other, which would lose detail."""
    if ratio == 1:
        return picture
    width, height = picture.size
    return picture.resize(
        (round(width * max(ratio, Fraction(1))), round(height / min(ratio, Fraction(1)))), Image.Resampling.BICUBIC
    )


def _aspect(info: dict[Any, Any]) -> Fraction:
    """Of the pixels of a picture, from what Pillow found in its file.

    FFmpeg, whose frames of broadcast material are what is met in practice, writes the ratio itself into the fields for pixels a
    unit (JFIF, and PNG's pHYs) and leaves the unit out; with a unit they are densities, of which the ratio is the inverse.
    """
    density = info.get("aspect") or (info.get("jfif_density") if info.get("jfif_unit") == 0 else None)
    inverse = None if density else info.get("dpi")
    try:
        x, y = density or inverse or (1, 1)
        ratio = Fraction(x).limit_denominator(1000) / Fraction(y).limit_denominator(1000)
        return pixel_aspect(1 / ratio if inverse else ratio)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return Fraction(1)


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(picture))).convert("RGB")
    if picture.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Grey values as uint8: integers span 16 bits; floats span [0, 1], or [0, 255] where any is above 1."""
    values = np.nan_to_num(grey.astype(np.float32))
    if grey.dtype.kind != "f":
        values /= 257.0
    elif values.max(initial=0.0) <= 1.0:
        values *= 255.0
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def band_energy(picture: np.ndarray, band: tuple[float, float]) -> float:
    """Energy of a band of frequencies in the luminance of a uint8 picture `[H, W, 3]`, a pixel, of values in [0, 1].

    A Hann window keeps the borders out of the spectrum. The frequency is the larger one of both directions', in cycles a pixel,
    so that stripes along either axis and checkerboards all have 0.5.
    """
    luminance = picture @ LUMINANCE / 255
    window = np.outer(np.hanning(picture.shape[0] + 2)[1:-1], np.hanning(picture.shape[1] + 2)[1:-1])
    spectrum = np.abs(np.fft.fft2((luminance - luminance.mean()) * window)) ** 2
    rows, columns = (np.abs(np.fft.fftfreq(side)) for side in picture.shape[:2])
    frequency = np.maximum(rows[:, None], columns[None])
    inside = (frequency >= band[0]) & (frequency <= band[1])
    return float(spectrum[inside].sum() / (spectrum.size * np.square(window).sum()))
