"""L1, PSNR and SSIM of generated against true frames."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from mrfa.data.tensors import to_tensor
from mrfa.evaluation import pixels
from mrfa.evaluation.judges.protocol import RECONSTRUCTION, Frames

BATCH = 16


class PixelJudge:
    """A metric of pictures in [0, 1] that gives one value a picture."""

    protocols = RECONSTRUCTION

    def __init__(self, name: str, metric: Callable[[Tensor, Tensor], Tensor], *, lower_is_better: bool) -> None:
        self.name = name
        self.metric = metric
        self.lower_is_better = lower_is_better

    def __call__(self, frames: Frames) -> np.ndarray:
        """A value a frame, `[F]`."""
        starts = range(0, len(frames.driving), BATCH)
        parts = [
            self.metric(to_tensor(frames.generated[start : start + BATCH]), to_tensor(frames.driving[start : start + BATCH]))
            for start in starts
        ]
        return np.concatenate([part.numpy() for part in parts]).astype(np.float64)


class ClipPSNR:
    """PSNR of a clip's mean squared error: one bad frame counts as what it is, and equal frames are no infinity.

    The paper's figures average the PSNR of single frames instead, which is never less and rewards what is nearly still.
    """

    name = "PSNR"
    lower_is_better = False
    protocols = RECONSTRUCTION

    def __call__(self, frames: Frames) -> np.ndarray:
        """The clip's value for each of its frames, `[F]`."""
        difference = frames.generated.astype(np.float32) - frames.driving.astype(np.float32)
        error = float(np.square(difference / 255, dtype=np.float64).mean())
        return np.full(len(frames.driving), -10 * np.log10(max(error, pixels.LEAST_SQUARED_ERROR)))


def l1_judge() -> PixelJudge:
    """Mean absolute difference of pictures in [0, 1]."""
    return PixelJudge("L1", pixels.l1, lower_is_better=True)


def psnr_judge(variant: str) -> PixelJudge | ClipPSNR:
    """PSNR in dB: of clips, or, as in the paper, of frames."""
    return PixelJudge("PSNR", pixels.psnr, lower_is_better=False) if variant == "paper" else ClipPSNR()


def ssim_judge() -> PixelJudge:
    """Structural similarity, see `mrfa.evaluation.pixels.ssim`."""
    return PixelJudge("SSIM", pixels.ssim, lower_is_better=False)
