"""What a model puts where the portrait's person was, when a driver moves it far aside: ghosts, or background.

    python -m benchmarks.uncovered MODEL ... --data TEST -o sheet.png

Frames of each clip are put before one background that stands still, and the driver's person is moved, as in training with
`mrfa.training.backgrounds`, so that the true picture is known. The network is told of no motion of the background, as in use.
Of the places that the person leaves: the mean error, as a share of that of the repeated portrait (which has the whole person
there), and how much stronger edges are than in the true picture, in grey levels a pixel. Means over clips, with 95 % intervals.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mrfa.animation.animator import Animator
from mrfa.data.clips import list_clips, read_clip
from mrfa.data.images import write_image
from mrfa.data.tensors import to_pictures
from mrfa.evaluation.summary import bootstrap_interval
from mrfa.faces.person import PersonSegmenter
from mrfa.training.augmentation import with_person
from mrfa.training.backgrounds import replace_backgrounds
from mrfa.training.config import BackgroundsConfig

MOVES = BackgroundsConfig(share=1.0, shift=0.25, scale=0.1)
# Masks above and below these: a person is there, none is.
THERE, GONE = 0.9, 0.02
# Fewer places than this share of the picture say nothing.
SMALLEST = 0.01


class Scene(NamedTuple):
    """Pairs of one clip before a background that stands still: source, driving `[n, 3, H, W]`, and what the person leaves."""

    source: Tensor
    driving: Tensor
    left: Tensor


def read_scene(path: Path, size: int, pairs: int, seed: int) -> Scene:
    """The first frame of a clip, and `pairs` others whose person is moved."""
    frames = read_clip(path, size)
    chosen = frames[np.linspace(len(frames) / (pairs + 1), len(frames) - 1, pairs).astype(int)]
    segmenter = PersonSegmenter()
    both = [frame for other in chosen for frame in (frames[0], other)]
    pictures = torch.from_numpy(np.stack(both)).permute(0, 3, 1, 2)
    layers = with_person(pictures, torch.from_numpy(np.stack([segmenter(frame) for frame in both]))[:, None])
    torch.manual_seed(seed)
    second = torch.ones(pairs, dtype=torch.long)
    moved = replace_backgrounds(layers.unflatten(0, (pairs, 2)), torch.zeros(pairs, 2, 1, 2), second, MOVES)[0][:, :, :3]
    there = [[torch.from_numpy(segmenter(picture)) / 255 for picture in to_pictures(pair)] for pair in moved]
    left = torch.stack([(source > THERE) & (driving < GONE) for source, driving in there])[:, None]
    return Scene(moved[:, 0], moved[:, 1], torch.nn.functional.interpolate(left.float(), size=(size, size)))


def measure(animator: Animator, scene: Scene) -> tuple[Tensor, Tensor, Tensor]:
    """Generated pictures, and of each pair the share of the error and the excess of edges; NaN where little was left."""
    network = animator.network
    image = network.animate(network.encode_source(scene.source), network.detect(scene.driving)).image.float()
    share = _mean(image - scene.driving, scene.left) / _mean(scene.source - scene.driving, scene.left)
    edges = 255 * (_mean(_gradient(image), scene.left) - _mean(_gradient(scene.driving), scene.left))
    few = scene.left.mean((1, 2, 3)) < SMALLEST
    return image, share.masked_fill(few, torch.nan), edges.masked_fill(few, torch.nan)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean size of values `[n, C, H, W]` by weights `[n, 1, H, W]`: `[n]`."""
    return (values.abs() * weight).sum((1, 2, 3)) / (weight.sum((1, 2, 3)) * values.shape[1]).clamp_min(1)


def _gradient(image: Tensor) -> Tensor:
    across, down = image.diff(dim=3, append=image[..., -1:]), image.diff(dim=2, append=image[:, :, -1:])
    return (across**2 + down**2).sqrt()


def _line(values: list[float]) -> str:
    low, high = bootstrap_interval(np.array(values))
    return f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or folders of models")
    parser.add_argument("--data", type=Path, required=True, help="folder of clips of people never trained on")
    parser.add_argument("--pairs", type=int, default=4, help="of each clip")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a picture of one pair of each clip")
    arguments = parser.parse_args()
    animators = [Animator.from_pretrained(name) for name in arguments.models]
    clips = list_clips(arguments.data)
    scenes = [read_scene(clip.path, animators[0].size, arguments.pairs, seed) for seed, clip in enumerate(clips)]
    columns = [[scene.source[0] for scene in scenes], [scene.driving[0] for scene in scenes]]
    for name, animator in zip(arguments.models, animators, strict=True):
        images, shares, edges = zip(*(measure(animator, scene) for scene in scenes), strict=True)
        columns.append([image[0] for image in images])
        means = [[float(v.nanmean()) for v in values if not v.isnan().all()] for values in (shares, edges)]
        print(f"{name}: error {_line(means[0])}, edges {_line(means[1])} over {len(means[0])} clips", flush=True)
    rows = [np.concatenate(to_pictures(torch.stack(row)), axis=1) for row in zip(*columns, strict=True)]
    write_image(arguments.output, np.concatenate(rows))


if __name__ == "__main__":
    main()
