"""How a driver's motion becomes a portrait's: the choice between the transfers."""

from typing import Literal, NamedTuple, get_args

from torch import Tensor

from mrfa.animation.face_motion import FaceMotion, PoseKind, Strengths, has_named_keypoints, nearest_frame
from mrfa.animation.motion import RelativeMotion, nearest_shape
from mrfa.errors import InputError
from mrfa.network.keypoints import Keypoints
from mrfa.network.model import Network

MotionKind = Literal["auto", "relative", "absolute"]


class MotionSettings(NamedTuple):
    """What of the driver a portrait gets.

    Attributes:
        kind: `auto`: the driver's expression on the portrait's own face, and its head motion (`FaceMotion`), where the model's
            keypoints have meaning, else `relative`; `relative`: the driver's keypoints' changes (`RelativeMotion`); `absolute`:
            the driver's keypoints, and so its face's shape, too.
        strengths: for `auto` alone, and models that can do it.
        adapt_scale: scale relative motion by the size of the faces; `auto` does so by itself.
        pose: for `auto` alone: `relative`: the head moves on from the portrait's pose; `absolute`: it is turned as the driver's.
    """

    kind: MotionKind = "auto"
    strengths: Strengths = Strengths()
    adapt_scale: bool = False
    pose: PoseKind = "relative"

    def check(self) -> None:
        """Check that the settings go together.

        Raises:
            InputError: they do not.
        """
        if self.kind not in get_args(MotionKind):
            raise InputError(f"there is no motion '{self.kind}': choose from {', '.join(get_args(MotionKind))}")
        if self.adapt_scale and self.kind == "absolute":
            raise InputError("adapting the scale is for relative motion: it does not go with absolute motion")
        self.strengths.check()
        if self.pose not in get_args(PoseKind):
            raise InputError(f"there is no pose '{self.pose}': choose from {', '.join(get_args(PoseKind))}")
        if self._chooses_parts and self.kind != "auto":
            raise InputError(f"strengths and poses are for motion 'auto': they do not go with '{self.kind}'")

    def check_model(self, network: Network) -> None:
        """Check that the network can do it.

        Raises:
            InputError: it cannot.
        """
        if self._chooses_parts and not has_named_keypoints(network):
            raise InputError("strengths and poses need a model that knows where eyes and lips are, such as small")
        if self.adapt_scale and self.takes_faces_apart(network):
            raise InputError("motion 'auto' adapts the scale by itself: leave it out, or choose relative motion")

    @property
    def _chooses_parts(self) -> bool:
        return self.strengths != Strengths() or self.pose != "relative"

    def takes_faces_apart(self, network: Network) -> bool:
        """Whether the transfer is `FaceMotion`."""
        return self.kind == "auto" and has_named_keypoints(network)

    def best_start(self, network: Network, source: Keypoints, clip: Tensor) -> int:
        """The frame of a driver `[N, K, 2]` that is nearest to the portraits `[S, K, 2]`, as far as the transfer is concerned."""
        if self.takes_faces_apart(network):
            return nearest_frame(network, source, clip)
        return nearest_shape(source.positions, clip)

    def transfer(
        self,
        network: Network,
        source: Keypoints,
        initial: Keypoints,
        clip: Tensor | None = None,
        shape: Tensor | None = None,
    ) -> FaceMotion | RelativeMotion | None:
        """What moves S portraits `[S, K, 2]`, from the driver's frame that counts as their pose; None: nothing is changed.

        Args:
            network: of the keypoints.
            source: the portraits'.
            initial: the driver's frame, positions `[1, K, 2]` or more.
            clip: positions `[N, K, 2]` of the driver, where these are known beforehand.
            shape: of the driver's face, `[G, 2]`, where it is known, see `FaceMotion`.
        """
        if self.kind == "absolute":
            return None
        if self.takes_faces_apart(network):
            return FaceMotion(network, source, initial, clip=clip, shape=shape, strengths=self.strengths, pose=self.pose)
        return RelativeMotion(source, initial, self.adapt_scale)
