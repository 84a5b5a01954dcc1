"""From a portrait and a driver to a video: crops, motion transfer, the animator, compositing and whole jobs."""

from mrfa.animation.motion import transfer_motion

__all__ = ["transfer_motion"]
