"""Makes the weights of `mrfa.identity`: a small network learns dlib's face descriptor, which has no gradients.

    python -m benchmarks.identity_network CLIPS STILLS ... --test CLIPS --efficientnet lite0.pth -o identity.safetensors

Each argument is a folder of clips or of stills, of people who occur in no other split; it takes `mrfa[identity]`. Of a person all
pictures have one target, the mean of dlib's descriptors of them less the mean of all people's: so a turn of the head, or an
expression, changes little. Blocks of EfficientNet-lite0 before `CUT` stay as they are: what they say of `VIEWS` augmented views
of each picture is computed once, which makes the training a matter of minutes on a CPU.
"""

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from mrfa.data.clips import list_clips, read_clip, read_still
from mrfa.data.guidance import normalised_groups
from mrfa.efficientnet import TAKEN, load_efficientnet
from mrfa.evaluation.metrics.identity import load_dlib
from mrfa.faces.landmarks import FaceLandmarker
from mrfa.identity import HALF, LENGTH, SIDE, IdentityNetwork, face_crops

FRAMES = 8  # of a clip, from all over it
MARGIN = 1.25  # crops are kept so much larger, for augmentation
VIEWS, CUT = 5, 3
BATCH, RATES, TEMPERATURE, CONTRAST = 96, (6e-4, 2e-3), 0.1, 0.5


class Faces(NamedTuple):
    """Pictures of faces.

    Attributes:
        crops: uint8 `[N, 3, S, S]`, of `MARGIN` times the side that the network sees.
        descriptors: dlib's, `[N, 128]`.
        people: number of whom each shows, `[N]`.
        clips: number of the clip that each is of, `[N]`.
    """

    crops: Tensor
    descriptors: Tensor
    people: Tensor
    clips: Tensor


def collect(roots: list[Path], frames: int = FRAMES) -> Faces:
    """Faces of all clips and stills below folders."""
    landmarker, describe = FaceLandmarker(), load_dlib()
    crops, descriptors, people, numbers = [], [], [], []
    for number, clip in enumerate(clip for root in roots for clip in list_clips(root, stills=True)):
        pictures = (read_still if clip.still else read_clip)(clip.path, 256)
        for index in sorted({int(value) for value in np.linspace(0, len(pictures) - 1, frames)}):
            picture = pictures[index]
            landmarks = landmarker(picture)
            if landmarks is None:
                continue
            places = torch.from_numpy(normalised_groups(landmarks, picture.shape[:2])).float()
            image = torch.from_numpy(picture).permute(2, 0, 1).float()
            crop = face_crops(image[None], places[None], round(SIDE * MARGIN), HALF * MARGIN)[0]
            crops.append(crop.round().clamp(0, 255).byte())
            descriptors.append(torch.from_numpy(describe(picture, landmarks)).float())
            people.append(clip.identity)
            numbers.append(number)
    _, inverse = np.unique(np.array(people), return_inverse=True)
    return Faces(torch.stack(crops), torch.stack(descriptors), torch.from_numpy(inverse), torch.tensor(numbers))


def augmented(crops: Tensor) -> Tensor:
    """Random views `[N, 3, SIDE, SIDE]` in [0, 1]: flipped, moved, blurred, greyed, relit and noisy."""
    count = len(crops)

    def uniform(limit: float, *size: int) -> Tensor:
        return (torch.rand(count, *size) * 2 - 1) * limit

    angle, scale = uniform(math.radians(6)), torch.exp(uniform(0.09)) / MARGIN
    flip = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    maps = torch.stack(
        [torch.stack([cos * flip, -sin, uniform(0.06)], -1), torch.stack([sin * flip, cos, uniform(0.06)], -1)], -2
    )
    views = _seen(crops, maps)
    soft = F.interpolate(F.avg_pool2d(views, 2), size=(SIDE, SIDE), mode="bilinear")
    views = torch.lerp(views, soft, torch.rand(count, 1, 1, 1) * (torch.rand(count, 1, 1, 1) < 0.5))
    grey = views.mean(1, keepdim=True).expand_as(views)
    views = torch.where(torch.rand(count, 1, 1, 1) < 0.15, grey, views)
    mean = views.mean((1, 2, 3), keepdim=True)
    light = mean * (1 + uniform(0.25, 1, 1, 1)) * (1 + uniform(0.06, 3, 1, 1))
    views = (views - mean) * (1 + uniform(0.25, 1, 1, 1)) + light
    return (views + torch.randn_like(views) * 0.03 * torch.rand(count, 1, 1, 1)).clamp(0, 1)


def straight(crops: Tensor) -> Tensor:
    """What `face_crops` gives, of the larger crops."""
    return _seen(crops, (torch.eye(2, 3) / MARGIN).expand(len(crops), 2, 3))


def _seen(crops: Tensor, maps: Tensor) -> Tensor:
    grid = F.affine_grid(maps, [len(crops), 3, SIDE, SIDE], align_corners=False)
    return F.grid_sample(crops.float() / 255, grid, padding_mode="border", align_corners=False)


def before_cut(network: IdentityNetwork, views: Tensor) -> Tensor:
    """What the frozen blocks say."""
    x = network.layers.start(views.contiguous(memory_format=torch.channels_last))
    for number in range(CUT):
        x = network.layers.narrow(number, x, network.layers.widen(number, x))
    return x


def after_cut(network: IdentityNetwork, x: Tensor) -> Tensor:
    """Descriptors of that."""
    for number in range(CUT, TAKEN[-1]):
        x = network.layers.narrow(number, x, network.layers.widen(number, x))
    return network.described(network.layers.widen(TAKEN[-1], x))


def train(network: IdentityNetwork, faces: Faces, steps: int) -> None:
    """Draw descriptors to their person's target, and away from those of others (as in contrastive learning)."""
    people = int(faces.people.max()) + 1
    centred = faces.descriptors - faces.descriptors.mean(0)
    targets = F.normalize(torch.zeros(people, LENGTH).index_add(0, faces.people, centred), dim=1)
    with torch.no_grad():
        views = [before_cut(network, augmented(part)).half() for _ in range(VIEWS) for part in faces.crops.split(64)]
    seen = torch.cat(views).unflatten(0, (VIEWS, -1))
    layers = network.layers
    blocks = [weight for part in (layers.expand, layers.depthwise, layers.project) for weight in part[CUT:].parameters()]
    head = [*network.reduce.parameters(), *network.describe.parameters()]
    for weight in blocks:
        weight.requires_grad_(True)
    learned: list[dict[str, Any]] = [{"params": blocks}, {"params": head, "weight_decay": 0.1}]
    optimizer = torch.optim.AdamW(learned)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, list(RATES), total_steps=steps, pct_start=0.1)
    pictures = [torch.nonzero(faces.people == person)[:, 0] for person in range(people)]
    often = torch.tensor([min(len(those), 3) for those in pictures]).float()
    for _ in range(steps):
        drawn = torch.multinomial(often, min(BATCH, people))
        chosen = torch.stack([pictures[person][torch.randint(len(pictures[person]), ())] for person in drawn.tolist()])
        x = seen[torch.randint(VIEWS, (len(drawn),)), chosen].float()
        alike = after_cut(network, x.contiguous(memory_format=torch.channels_last)) @ targets[drawn].T
        apart = F.cross_entropy(alike / TEMPERATURE, torch.arange(len(drawn)))
        optimizer.zero_grad()
        ((1 - alike.diagonal()).mean() + CONTRAST * apart).backward()
        torch.nn.utils.clip_grad_norm_([*blocks, *head], 5.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def measure(network: IdentityNetwork, faces: Faces) -> dict[str, float]:
    """How well faces of one person in two clips are told from faces of two people, and how that goes with dlib's distances."""
    described = torch.cat([after_cut(network, before_cut(network, straight(part))) for part in faces.crops.split(32)])
    one, other = torch.triu_indices(len(described), len(described), 1)
    same, clip = faces.people[one] == faces.people[other], faces.clips[one] == faces.clips[other]
    alike = (described @ described.T)[one, other]
    theirs = -torch.cdist(faces.descriptors, faces.descriptors)[one, other]
    wanted, different = same & ~clip, ~same
    return {
        "pairs of one person": int(wanted.sum()),
        "pairs of two people": int(different.sum()),
        "area under the curve": _area(alike[wanted], alike[different]),
        "of dlib": _area(theirs[wanted], theirs[different]),
        "balanced accuracy": _accuracy(alike[wanted], alike[different]),
        "of dlib, too": _accuracy(theirs[wanted], theirs[different]),
        "correlation with dlib, different people": float(torch.corrcoef(torch.stack([alike, theirs])[:, different])[0, 1]),
        "mean of one person": float(alike[wanted].mean()),
        "mean of two people": float(alike[different].mean()),
    }


def _area(high: Tensor, low: Tensor) -> float:
    """Probability that one of the high values is above one of the low ones."""
    return float(torch.searchsorted(low.sort().values, high).double().mean() / len(low))


def _accuracy(high: Tensor, low: Tensor) -> float:
    """Mean share on the right side of the best threshold."""
    limits = torch.cat([high, low]).sort().values
    right = [(torch.searchsorted(values.sort().values, limits) / len(values)) for values in (high, low)]
    return float(((1 - right[0] + right[1]) / 2).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--efficientnet", type=Path, help="EfficientNet-lite0's weights; by default the installed package's")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    network = IdentityNetwork(load_efficientnet(args.efficientnet)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train(network, collect(args.data), args.steps)
    save_file({name: value.contiguous().half() for name, value in network.state_dict().items()}, args.output)
    for name, value in measure(network, collect([args.test])).items():
        print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main()
