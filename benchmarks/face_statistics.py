"""What faces are like: makes `src/mrfa/assets/face_statistics.safetensors` of a packed data set.

    python -m benchmarks.face_statistics PACKED MESHES -o src/mrfa/assets/face_statistics.safetensors

PACKED is what `mrfa pack` writes. MESHES is an .npz file with the landmark groups of one frame of each of some people in space,
`[G, 3]`, in pixels: x right, y down, z away from the viewer, as mediapipe's mesh has them. The depths come from these; all else
from the packed landmark groups.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mrfa.animation.head import GROUP_INDEX, fit_pose, pose_weights, seen_from_front
from mrfa.data.guidance import MIRRORED_GROUPS

STRIDE = 4
FEWEST = 4
ROUNDS = 3
FLOOR = 2e-5  # variance that every coordinate has at least: the detector's noise


def mean_face(faces: Tensor) -> Tensor:
    """The mean of faces in space `[N, G, 3]`: symmetric, upright, of unit distance between the outer eye corners."""
    weights = pose_weights() + 1e-3
    both = torch.cat([faces, _mirrored(faces)])
    mean = _upright(both[0])
    for _ in range(10):
        mean = _upright(torch.stack([_aligned(face, mean, weights) for face in both]).mean(0))
        mean = (mean + _mirrored(mean)) / 2
    unit = mean[GROUP_INDEX["left_eye_outer"], 0] - mean[GROUP_INDEX["right_eye_outer"], 0]
    return (mean - (pose_weights()[:, None] * mean).sum(0)) / unit


def _mirrored(face: Tensor) -> Tensor:
    return face[..., list(MIRRORED_GROUPS), :] * torch.tensor([-1.0, 1.0, 1.0], dtype=face.dtype)


def _upright(face: Tensor) -> Tensor:
    """Centred and turned: x from each right place to its left one, forehead and chin at one depth."""
    face = face - (pose_weights()[:, None] * face).sum(0)
    x = (face[list(MIRRORED_GROUPS)] - face)[[GROUP_INDEX[name] for name in GROUP_INDEX if name.startswith("right")]].sum(0)
    x = x / x.norm()
    down = face[GROUP_INDEX["chin"]] - face[GROUP_INDEX["forehead"]]
    y = down - (down @ x) * x
    y = y / y.norm()
    return face @ torch.stack([x, y, torch.linalg.cross(x, y)], 1)


def _aligned(face: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """A face moved, turned and scaled as near to another as it goes (Umeyama 1991)."""
    face, to = (points - (weights[:, None] * points).sum(0) / weights.sum() for points in (face, target))
    u, values, v = torch.linalg.svd((weights[:, None] * to).T @ face)
    signs = torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ v).sign())], dtype=face.dtype)
    return (values * signs).sum() / (weights[:, None] * face.square()).sum() * face @ (u @ signs.diag() @ v).T


def frames_from_front(groups: Tensor, mean: Tensor) -> Tensor:
    """One clip's groups `[T, G, 2]` in the head's frame, its poses fitted to its own median face."""
    face = mean
    for _ in range(ROUNDS):
        front = seen_from_front(groups, fit_pose(groups, face), mean[:, 2])
        face = torch.cat([front.median(0).values, mean[:, 2:]], 1)
    return front


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("meshes", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    args = parser.parse_args()
    meshes = np.load(args.meshes)
    mean = mean_face(torch.from_numpy(np.stack([meshes[name] for name in meshes])).double())
    clips: list[Tensor] = []
    with safe_open(args.packed, "pt") as file:
        keys = sorted(file.keys())
        for name in (key.removeprefix("groups/") for key in keys if key.startswith("groups/")):
            groups = file.get_tensor(f"groups/{name}")[file.get_tensor(f"found/{name}").bool()][::STRIDE]
            if len(groups) >= FEWEST:
                clips.append(frames_from_front(groups.double(), mean))
    # Every clip counts as its mirror image too, so that the statistics prefer no side.
    clips = [front for clip in clips for front in (clip, _mirrored_flat(clip))]
    centres = torch.stack([clip.mean(0) for clip in clips])
    mean[:, :2] = centres.mean(0)
    within = torch.cat([(clip - clip.mean(0))[:: max(1, len(clip) // 40)] for clip in clips]).flatten(1)
    between = (centres - centres.mean(0)).flatten(1)
    floor = FLOOR * torch.eye(within.shape[1], dtype=within.dtype)
    covariances = {name: values.T @ values / len(values) + floor for name, values in (("between", between), ("within", within))}
    save_file({name: tensor.float().contiguous() for name, tensor in {"mean": mean, **covariances}.items()}, args.output)
    print(f"{args.output}: of {len(clips) // 2} clips and {len(meshes)} meshes")


def _mirrored_flat(front: Tensor) -> Tensor:
    return front[..., list(MIRRORED_GROUPS), :] * torch.tensor([-1.0, 1.0], dtype=front.dtype)


if __name__ == "__main__":
    main()
