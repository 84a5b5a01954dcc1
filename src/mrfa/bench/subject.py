"""What is animated to measure how fast that goes: the bundled portrait, and a video of it that the bundled motion makes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mrfa.animation.animator import Animator
from mrfa.animation.crop import crop_image, find_clip_crop, picture_crop
from mrfa.animation.job import animate_file, demo_files
from mrfa.animation.template import SUFFIX, MotionTemplate
from mrfa.animation.template_editing import loop, trim
from mrfa.data.images import read_image, write_image
from mrfa.data.video import VideoReader
from mrfa.weights import load_model


class Subject(NamedTuple):
    """What is animated.

    Attributes:
        portrait: file of a picture.
        driver: file of a video.
        source: the portrait as the network takes it, uint8 RGB `[size, size, 3]`.
        frames: of the driver, likewise.
    """

    portrait: Path
    driver: Path
    source: np.ndarray
    frames: list[np.ndarray]


def make_subject(folder: Path, *, frames: int, side: int, size: int, device: torch.device) -> Subject:
    """Make the files.

    Args:
        folder: where to.
        frames: of the driver.
        side: of portrait and driver, in pixels.
        size: of the network's pictures, in pixels.
        device: where the driver is computed.
    """
    picture, motion = demo_files()
    portrait, template, driver = folder / "portrait.png", folder / f"motion{SUFFIX}", folder / "driver.mp4"
    image = read_image(picture)
    box, _ = picture_crop(image, "auto", picture)
    write_image(portrait, crop_image(image, box, side))
    moves = MotionTemplate.load(motion)
    trim(loop(moves, "back", times=1 + frames // len(moves)), 0, frames).save(template)
    animate_file(portrait, template, driver, model=Animator(load_model("small", device)), source_crop="none")
    reader = VideoReader(driver)
    place = find_clip_crop(reader)
    return Subject(portrait, driver, crop_image(image, box, size), [crop_image(frame.image, place, size) for frame in reader])
