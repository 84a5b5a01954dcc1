"""What animation leaves of the parts of a portrait that do not move, and how long it takes to set the portrait in motion.

    python -m benchmarks.surroundings PORTRAIT DRIVER [PORTRAIT DRIVER ...]

Still are places of the crop that never move by half a pixel of the network's picture, nor are shown by places that do. A line
a pair: their share of the crop; their sharpness (mean absolute Laplacian) as a share of the portrait's; how much their values
vary over time (standard deviation, of 255); the whole crop's sharpness; and milliseconds a frame on one core. After a stroke,
the same of the generated crop alone, enlarged.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from mrfa.animation.animator import Animator
from mrfa.animation.crop import CropBox, crop_image, picture_crop
from mrfa.animation.driver import open_driver
from mrfa.animation.portrait import Portrait, crop_displacement
from mrfa.animation.settings import MotionSettings
from mrfa.animation.start import parse_start, study_track
from mrfa.data.images import read_image
from mrfa.data.tensors import to_pictures

FRAMES = 24
STILL = 0.5 / 256


def generate(animator: Animator, image: np.ndarray, box: CropBox, driver: Path) -> tuple[np.ndarray, np.ndarray]:
    """Crops and displacements of the first frames, with default settings."""
    settings = MotionSettings()
    source = animator.encode(crop_image(image, box, animator.size))
    track = open_driver(driver, "auto").read(animator)
    study = study_track(track, animator.network, source.keypoints, settings, parse_start("best"), name=driver)
    transfer = settings.transfer(animator.network, source.keypoints, study.initial, study.clip, track.shape)
    crops, displacements = [], []
    for begun in range(0, min(FRAMES, track.length), animator.batch_size):
        animated = animator.step(source, track.keypoints.part(slice(begun, begun + animator.batch_size)), transfer=transfer)
        crops.append(to_pictures(animated.image))
        displacements.append(crop_displacement(animated, animator.network.conventions).cpu().numpy())
    return np.concatenate(crops), np.concatenate(displacements)


def still_places(displacements: np.ndarray) -> np.ndarray:
    """Where nothing ever moves, nor is shown elsewhere, with some distance from all that does; `[h, w]`."""
    height, width = displacements.shape[1:3]
    moving = np.linalg.norm(displacements, axis=-1) >= STILL
    changing = moving.any(0)
    rows, columns = np.mgrid[:height, :width]
    for displacement, moves in zip(displacements, moving, strict=True):
        x = np.clip(np.rint(columns + displacement[..., 0] * width), 0, width - 1).astype(int)
        y = np.clip(np.rint(rows + displacement[..., 1] * height), 0, height - 1).astype(int)
        changing[y[moves], x[moves]] = True
    return cv2.dilate(changing.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0


def measure(crops: np.ndarray, own: np.ndarray, still: np.ndarray) -> tuple[float, float, float]:
    """Sharpness of still places, their variation, and sharpness of all: of crops `[T, S, S, 3]`, beside the portrait's own."""
    details = np.mean([detail(crop) for crop in crops[::6]], axis=0)
    flicker = float(crops[:, still].astype(np.float32).std(0).mean())
    own_detail = detail(own)
    return float(details[still].mean() / own_detail[still].mean()), flicker, float(details.mean() / own_detail.mean())


def detail(picture: np.ndarray) -> np.ndarray:
    """Absolute Laplacian of a picture's brightness."""
    return np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="PORTRAIT DRIVER")
    files = parser.parse_args().files
    cv2.setNumThreads(1)
    animator = Animator.from_pretrained()
    for path, driver in zip(files[::2], files[1::2], strict=True):
        image = read_image(path)
        box = picture_crop(image, "auto", path).box
        crops, displacements = generate(animator, image, box, driver)
        portrait = Portrait(image, box, long_side=max(image.shape))
        moved, milliseconds = [], []
        for crop, displacement in zip(crops, displacements, strict=True):
            begun = time.thread_time()
            picture = portrait.paste(crop, displacement)
            milliseconds.append(1000 * (time.thread_time() - begun))
            moved.append(crop_image(picture, box, box.side))
        own = crop_image(image, box, box.side)
        still = (
            cv2.resize(still_places(displacements).astype(np.uint8), (box.side, box.side), interpolation=cv2.INTER_NEAREST) > 0
        )
        enlarged = [cv2.resize(crop, (box.side, box.side), interpolation=cv2.INTER_CUBIC) for crop in crops]
        for_both = (measure(np.stack(pictures), own, still) for pictures in (moved, enlarged))
        columns = [" ".join(f"{value:.3f}" for value in values) for values in for_both]
        print(f"{path.name} {driver.name} still {still.mean():.2f} {columns[0]} {np.median(milliseconds):.1f} ms | {columns[1]}")


if __name__ == "__main__":
    main()
