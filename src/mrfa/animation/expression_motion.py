"""From video to video: each frame keeps its head's pose and takes the driver's expression."""

from torch import Tensor

from mrfa.animation.expression import take_apart
from mrfa.animation.face_motion import Strengths, from_half_pixel, named_places, with_expression
from mrfa.animation.head import face_statistics, project
from mrfa.data.guidance import GROUPS
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network


class ExpressionMotion:
    """Gives frames of a video the expressions of driving frames, on the shape and in the pose of the video's own face.

    In the notation of `FaceMotion`, with shapes found over both clips:

        f = s_p + h (f_p - s_p) + (1 - h) (f_d - s_d), then lids and lips as far open as the driver's, in own eye widths and
            eye distances
        R = R_p,   c = c_p,   t = t_p,   A = A_p

    Maps stay because the head does: what the driver's expression does to its own maps, carried over, blurs hair and background
    more than it helps the lips. Keypoints without a name stay, too.

    Args:
        network: one whose first keypoints have meaning, see `has_named_keypoints`.
        source: positions `[N, K, 2]` of frames from all over the video.
        driving: likewise of the driver, `[M, K, 2]`.
        strengths: how much of the driver's expression the video gets; that of the head does not matter.
        shape: the driver's, `[G, 2]`, where it is known already; it is not found in its frames then.

    Raises:
        InputError: a strength is out of range.
    """

    def __init__(
        self, network: Network, source: Tensor, driving: Tensor, strengths: Strengths, shape: Tensor | None = None
    ) -> None:
        strengths.check()
        self._network, self._strengths = network, strengths
        self._own_shape = take_apart(named_places(network, source)).shape
        self._driver_shape = take_apart(named_places(network, driving)).shape if shape is None else shape.double().cpu()

    def __call__(self, source: Keypoints, driving: Keypoints) -> Keypoints:
        """Keypoints of B frames `[B, K, 2]` with the expressions of as many driving frames: `[B, K, 2]`."""
        own = take_apart(named_places(self._network, source.positions), self._own_shape)
        driver = take_apart(named_places(self._network, driving.positions), self._driver_shape)
        places = project(with_expression(own, driver, self._strengths), own.pose, face_statistics().mean[:, 2])
        positions = source.positions.clone()
        positions[:, :GROUPS] = from_half_pixel(self._network, places).to(positions)
        return Keypoints(positions, source.affine)
