"""A stream's best start: the frame that counts as the portraits' pose is the best of those so far."""

from collections.abc import Callable

import torch
from torch import Tensor

from mrfa.animation.face_motion import FaceMotion
from mrfa.animation.motion import RelativeMotion
from mrfa.network.keypoints import Keypoints, stack_keypoints

# Every so many frames one is kept to choose from; when there are many, every second is forgotten and they are kept more rarely.
_STRIDE, _MOST = 10, 64
# Share of the way to a better start that is gone each frame, so that portraits do not jump: half of it in 14 frames.
_EASE = 0.05


class BestSoFar:
    """Moves portraits from the best start so far, and eases over to a better one when it comes.

    Args:
        transfer: what moves them, from its first frame at first.
        choose: of frames, positions `[N, K, 2]`, the best start, such as `MotionSettings.best_start`.
    """

    def __init__(self, transfer: FaceMotion | RelativeMotion, choose: Callable[[Tensor], int]) -> None:
        self._transfer, self._choose = transfer, choose
        self._kept: list[Keypoints] = []
        self._seen, self._stride = 0, _STRIDE
        self._best: Keypoints | None = None
        self._initial: Keypoints | None = None

    def __call__(self, driving: Keypoints) -> Keypoints:
        """Keypoints for driving frames, positions `[B, K, 2]`: `[S * B, K, 2]`, portrait by portrait."""
        frames = [driving.part(slice(number, number + 1)) for number in range(driving.positions.shape[0])]
        moved = [self._next(frame) for frame in frames]
        portraits = range(moved[0].positions.shape[0])
        return stack_keypoints(frame.part(slice(number, number + 1)) for number in portraits for frame in moved)

    def _next(self, frame: Keypoints) -> Keypoints:
        if self._seen % self._stride == 0:
            self._keep(frame)
        self._seen += 1
        if self._initial is None or self._best is None:
            self._initial = self._best = frame
        else:
            self._initial = self._initial.towards(self._best, _EASE)
        self._transfer.begin_at(self._initial)
        return self._transfer(frame)

    def _keep(self, frame: Keypoints) -> None:
        self._kept.append(frame)
        if len(self._kept) > _MOST:
            self._kept, self._stride = self._kept[::2], 2 * self._stride
        self._best = self._kept[self._choose(torch.cat([kept.positions for kept in self._kept]))]
