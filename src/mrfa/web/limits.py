"""What the page takes: files that were uploaded to it, whose size and length are looked at before anything is worked on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mrfa.animation.template import MotionTemplate
from mrfa.data.images import image_size
from mrfa.data.video import Frame, VideoReader
from mrfa.errors import InputError

# A video of so many frames a second is no longer than it seems; more are an attempt to keep the server busy.
FASTEST = 60
MEGA = 10**6


class Limits(NamedTuple):
    """The most that one user may ask for.

    Attributes:
        megabytes: of a file.
        megapixels: of a portrait, or of a video's frame.
        seconds: of a driving video or motion.
        waiting: animations that wait while one is made, of all users.
    """

    megabytes: int = 200
    megapixels: int = 50
    seconds: int = 60
    waiting: int = 8

    @property
    def frames(self) -> int:
        """Of a driving video or motion."""
        return self.seconds * FASTEST

    def check_file(self, path: Path) -> None:
        """Check how large a file is.

        Raises:
            InputError: too large.
        """
        if path.stat().st_size > self.megabytes * MEGA:
            raise InputError(f"the file {path.name} is larger than {self.megabytes} MB: choose a smaller or shorter one")

    def check_picture(self, path: Path) -> None:
        """Check a portrait by its header.

        Raises:
            InputError: it is no picture, or too large.
        """
        self.check_file(path)
        self._check_pixels(path, *image_size(path))

    def check_template(self, path: Path, template: MotionTemplate) -> None:
        """Check a motion's length.

        Raises:
            InputError: it lasts too long.
        """
        if template.length > self.seconds or len(template) > self.frames:
            raise self._too_long(path)

    def _check_pixels(self, path: Path, width: int, height: int) -> None:
        if width * height > self.megapixels * MEGA:
            raise InputError(
                f"the picture of {path.name} has {width}x{height} pixels, more than {self.megapixels} million: make it smaller"
            )

    def _too_long(self, path: Path) -> InputError:
        return InputError(f"the motion of {path.name} lasts longer than {self.seconds} seconds: choose a part of it")


class ShortVideo(VideoReader):
    """A video that keeps within limits: what its header says is looked at first, and then its frames, as a header may lie.

    Raises:
        InputError: it is no video, too large or too long; the last while iterating, too.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        limits.check_file(path)
        super().__init__(path)
        self._limits = limits
        limits._check_pixels(path, self.width, self.height)
        frames, rate = self.frame_count_estimate, self.average_rate
        if frames is not None and (frames > limits.frames or (rate and frames / rate > limits.seconds)):
            raise limits._too_long(path)

    def __iter__(self) -> Iterator[Frame]:
        """The frames."""
        for number, frame in enumerate(super().__iter__()):
            if number >= self._limits.frames or frame.pts * self.time_base > self._limits.seconds:
                raise self._limits._too_long(self.path)
            yield frame


def uploaded(payload: object, folder: Path) -> Path:
    """The file that a browser names, if it is one that was uploaded.

    Args:
        payload: what the browser sent of it.
        folder: of the server, which holds all uploads.

    Raises:
        InputError: it is none, or it is there no more.
    """
    name = payload.get("path") if isinstance(payload, dict) else None
    try:
        path = Path(str(name)).resolve()
        found = path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        raise InputError("this file is not here any more, as files are kept for an hour: upload it again")
    return path


def in_words(text: str, folder: Path) -> str:
    """An error or warning as a user of the page understands it, who knows files in the server's folder by their names alone."""
    return re.sub(rf"{re.escape(str(folder.resolve()))}(/[0-9a-f]+)*/", "", text)
