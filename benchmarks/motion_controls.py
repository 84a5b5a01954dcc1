"""What the controls of `mrfa animate` do, on the bundled portrait and motion: the pictures of docs/transfer.md.

python -m benchmarks.motion_controls -o docs/images
"""

import argparse
from pathlib import Path
from typing import NamedTuple, get_args

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mrfa.animation.animator import Animator
from mrfa.animation.composite import Canvas
from mrfa.animation.crop import crop_image, picture_crop, whole_picture
from mrfa.animation.driver import MotionTrack, open_driver
from mrfa.animation.expression import eye_openings, take_apart
from mrfa.animation.face_motion import PoseKind, Strengths, named_places
from mrfa.animation.job import demo_files
from mrfa.animation.portrait import drawn_crops
from mrfa.animation.settings import MotionKind, MotionSettings
from mrfa.animation.start import parse_start, study_track
from mrfa.data.images import read_image
from mrfa.evaluation.figures.grid import Row, draw_grid
from mrfa.network.model import Source

SHARES = (0.0, 0.5, 1.0, 1.5, 2.0)
# Frames of the bundled motion: the head leans, lids are closed, the mouth is wide open.
LEANING, BLINKING, LAUGHING = 6, 163, 234
PLOTTED = (2, 6.2)  # seconds
CELL, QUALITY = 150, 85


class Demo(NamedTuple):
    """The bundled portrait and motion, ready to be animated."""

    animator: Animator
    picture: np.ndarray
    source: Source
    track: MotionTrack

    def frame(self, number: int, settings: MotionSettings = MotionSettings(), start: str = "best") -> np.ndarray:  # noqa: B008
        """A frame as `mrfa animate --no-paste-back` draws it, uint8 `[size, size, 3]`."""
        network, keypoints = self.animator.network, self.source.keypoints
        transfer = None
        if settings.kind != "absolute":
            study = study_track(self.track, network, keypoints, settings, parse_start(start), name="the demo's motion")
            transfer = settings.transfer(network, keypoints, study.initial, study.clip, self.track.shape)
        drawn = self.animator.step(self.source, self.track.keypoints.part(slice(number, number + 1)), transfer=transfer)
        side = self.animator.size
        canvas = Canvas(self.picture, whole_picture(side, side), side, paste_back=False, compare=False, with_driver=False)
        return canvas.draw(*next(drawn_crops(drawn, network.conventions)), None)


def open_demo() -> Demo:
    """The bundled model, portrait and motion."""
    portrait_file, motion_file = demo_files()
    animator = Animator.from_pretrained()
    portrait = read_image(portrait_file)
    box, _ = picture_crop(portrait, "auto", portrait_file, "largest")
    picture = crop_image(portrait, box, animator.size)
    return Demo(animator, picture, animator.encode(picture), open_driver(motion_file, "auto").read(animator, None))


def motions(demo: Demo) -> list[Row]:
    """The three kinds of motion, in two frames each."""
    kinds: tuple[MotionKind, ...] = get_args(MotionKind)
    frames = [demo.frame(number, MotionSettings(kind)) for kind in kinds for number in (LEANING, LAUGHING)]
    return [Row([demo.picture, *frames], captions=["the portrait", *(f"--motion {kind}" for kind in kinds for _ in range(2))])]


def starts(demo: Demo) -> list[Row]:
    """One frame, from several starts."""
    choices = ["best", "first", "90", "2.5s"]
    frames = [demo.frame(LAUGHING, start=start) for start in choices]
    return [Row([demo.picture, *frames], captions=["the portrait", *(f"--start {start}" for start in choices)])]


def strengths(demo: Demo, name: str, number: int) -> list[Row]:
    """One frame with several strengths of one kind."""
    frames = [demo.frame(number, MotionSettings(strengths=Strengths()._replace(**{name: share}))) for share in SHARES]
    return [Row([demo.picture, *frames], captions=["the portrait", *(f"--{name} {share:g}" for share in SHARES)])]


def kept_pose(demo: Demo) -> list[Row]:
    """Some frames as they are, and with the portrait's pose."""
    numbers = (LEANING, 60, 132, BLINKING, LAUGHING)
    rows = [("", Strengths()), ("--keep-pose", Strengths(head=0))]
    return [
        Row([demo.picture, *(demo.frame(n, MotionSettings(strengths=s)) for n in numbers)], captions=[title or "the portrait"])
        for title, s in rows
    ]


def poses(demo: Demo) -> list[Row]:
    """Two frames with either pose."""
    kinds: tuple[PoseKind, ...] = get_args(PoseKind)
    frames = [demo.frame(number, MotionSettings(pose=kind)) for kind in kinds for number in (LEANING, LAUGHING)]
    return [Row([demo.picture, *frames], captions=["the portrait", *(f"--pose {kind}" for kind in kinds for _ in range(2))])]


def smoothed(demo: Demo) -> np.ndarray:
    """How far the eyes are open over time, with several strengths of smoothing, uint8 `[H, W, 3]`."""
    figure = Figure(figsize=(9, 2), dpi=100, layout="constrained")
    axes = figure.subplots()
    for strength in (0.0, 0.25, 1.0):
        track = demo.track.smoothed(strength)
        openings = eye_openings(take_apart(named_places(demo.animator.network, track.keypoints.positions)).front).mean(-1)
        seconds = [float(pts * track.time_base) for pts in track.pts]
        axes.plot(seconds, openings.numpy(), linewidth=1, label=f"--smooth {strength:g}")
    axes.set(xlim=PLOTTED, xlabel="seconds", ylabel="opening of the eyes")
    axes.legend(loc="lower center", fontsize="small")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder of the pictures")
    folder = parser.parse_args().output
    demo = open_demo()
    rows = {
        "motion": motions(demo),
        "start": starts(demo),
        "expression": strengths(demo, "expression", LAUGHING),
        "head": strengths(demo, "head", LEANING),
        "eyes": strengths(demo, "eyes", BLINKING),
        "lips": strengths(demo, "lips", LAUGHING),
        "keep-pose": kept_pose(demo),
        "pose": poses(demo),
    }
    pictures = {name: draw_grid(part, cell=CELL) for name, part in rows.items()} | {"smooth": smoothed(demo)}
    for name, picture in pictures.items():
        path = folder / f"control-{name}.jpg"
        cv2.imwrite(str(path), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        print(f"{path}: {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
