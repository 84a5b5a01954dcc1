"""The moving pictures of docs/gallery.md: the bundled portrait and motion, animated in several ways by the bundled model.

python -m benchmarks.gallery -o docs/images
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from mrfa.animation.animator import Animator
from mrfa.animation.face_motion import Strengths
from mrfa.animation.job import animate_file, demo_files
from mrfa.animation.template import MotionTemplate
from mrfa.animation.template_editing import mirror, trim
from mrfa.data.video import open_frames

FRAMES = (125, 225)
SIDE, EVERY, QUALITY = 224, 2, 55

ANIMATIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "keep-pose": {"strengths": Strengths(head=0)},
    "strong": {"strengths": Strengths(expression=1.5)},
    "eyes-alone": {"strengths": Strengths(expression=0, head=0, lips=0)},
    "mirrored": {},
    "crop": {"paste_back": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", "-o", type=Path, required=True, help="folder of the pictures")
    folder = parser.parse_args().output
    animator = Animator.from_pretrained()
    portrait, motion = demo_files()
    part = trim(MotionTemplate.load(motion), *FRAMES)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for title, options in ANIMATIONS.items():
            (mirror(part) if title == "mirrored" else part).save(work / "motion.safetensors")
            animate_file(portrait, work / "motion.safetensors", work / f"{title}.mp4", model=animator, **options)
            write_moving(work / f"{title}.mp4", folder / f"gallery-{title}.webp")


def write_moving(video: Path, output: Path) -> None:
    """A video as a small moving picture, of every second frame."""
    shown = [Image.fromarray(frame.image) for number, frame in enumerate(open_frames(video)) if number % EVERY == 0]
    small = [picture.resize((SIDE * picture.width // picture.height, SIDE), Image.Resampling.LANCZOS) for picture in shown]
    small[0].save(output, save_all=True, append_images=small[1:], duration=40 * EVERY, loop=0, quality=QUALITY, method=6)
    print(f"{output}: {output.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main()
