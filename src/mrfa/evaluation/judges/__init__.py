"""Judges of generated frames: one file each, loaded only when asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mrfa.errors import InputError
from mrfa.evaluation.judges.protocol import Frames, Judge, JudgeUnavailableError, SetJudge

__all__ = ["Frames", "Judge", "JudgeUnavailableError", "SetJudge", "judge_names", "load_judges"]


class Needs(NamedTuple):
    """What judges are built from.

    Attributes:
        variant: `standard`, or `paper`: as the published figures were computed.
        weights: folder of weights files, or None.
        device: where networks run.
    """

    variant: str
    weights: Path | None
    device: str


def judge_names() -> list[str]:
    """Names of all judges, as in reports."""
    return list(_LOADERS)


def load_judges(
    names: Sequence[str] | None, *, variant: str = "standard", weights: Path | None = None, device: str = "cpu"
) -> tuple[list[Judge | SetJudge], list[str]]:
    """Load judges by name.

    Args:
        names: of `judge_names`, or None for all.
        variant: see `Needs`.
        weights: see `Needs`.
        device: see `Needs`.

    Returns:
        The judges that can be had, and one line for each that cannot.

    Raises:
        InputError: no judge has such a name.
    """
    chosen = judge_names() if names is None else list(names)
    unknown = [name for name in chosen if name not in _LOADERS]
    if unknown:
        raise InputError(f"no judge '{unknown[0]}': choose among {', '.join(judge_names())}")
    judges: list[Judge | SetJudge] = []
    problems = []
    needs = Needs(variant, weights, device)
    for name in chosen:
        try:
            judges.append(_LOADERS[name](needs))
        except JudgeUnavailableError as error:
            problems.append(f"{name}: {error}")
    return judges, problems


def _l1(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.pixel_judges import l1_judge

    return l1_judge()


def _psnr(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.pixel_judges import psnr_judge

    return psnr_judge(needs.variant)


def _ssim(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.pixel_judges import ssim_judge

    return ssim_judge()


def _akd_mediapipe(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh
    from mrfa.evaluation.judges.mesh_judge import akd_judge

    return akd_judge(shared_face_mesh(), variant=needs.variant)


def _mouth_mediapipe(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh
    from mrfa.evaluation.judges.mesh_judge import mouth_judge

    return mouth_judge(shared_face_mesh())


def _eye_mediapipe(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh
    from mrfa.evaluation.judges.mesh_judge import eye_judge

    return eye_judge(shared_face_mesh())


def _ard_mediapipe(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh
    from mrfa.evaluation.judges.head_pose import ard_judge

    return ard_judge(shared_face_mesh())


def _auh_mediapipe(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.expression import auh_judge
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh

    return auh_judge(shared_face_mesh())


def _lpips_vgg(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.lpips import lpips_judge

    return lpips_judge("vgg16", variant=needs.variant, weights=needs.weights, device=needs.device)


def _lpips_alexnet(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.lpips import lpips_judge

    return lpips_judge("alexnet", variant=needs.variant, weights=needs.weights, device=needs.device)


def _akd_face_alignment(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_alignment_judge import AKDJudge, load_detector

    return AKDJudge(load_detector(needs.device), variant=needs.variant)


def _aed(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.face_mesh import shared_face_mesh
    from mrfa.evaluation.judges.identity import aed_judge

    return aed_judge(shared_face_mesh(), weights=needs.weights)


def _ard_py_feat(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.py_feat import ARDJudge, load_py_feat

    return ARDJudge(load_py_feat(needs.device))


def _auh_py_feat(needs: Needs) -> Judge:
    from mrfa.evaluation.judges.py_feat import AUHJudge, load_py_feat

    return AUHJudge(load_py_feat(needs.device))


def _fid(needs: Needs) -> SetJudge:
    from mrfa.evaluation.judges.fid import fid_judge

    return fid_judge(weights=needs.weights, device=needs.device)


_LOADERS: dict[str, Callable[[Needs], Judge | SetJudge]] = {
    "L1": _l1,
    "PSNR": _psnr,
    "SSIM": _ssim,
    "LPIPS (VGG)": _lpips_vgg,
    "LPIPS (AlexNet)": _lpips_alexnet,
    "AKD (face-alignment)": _akd_face_alignment,
    "AKD (mediapipe)": _akd_mediapipe,
    "mouth opening (mediapipe)": _mouth_mediapipe,
    "eye opening (mediapipe)": _eye_mediapipe,
    "AED (OpenFace)": _aed,
    "ARD (py-feat)": _ard_py_feat,
    "ARD (mediapipe)": _ard_mediapipe,
    "AUH (py-feat)": _auh_py_feat,
    "AUH (mediapipe)": _auh_mediapipe,
    "FID (Inception)": _fid,
}
