"""Synthetic talking heads whose motion is known exactly: for tests, for measuring motion, and for those without a data set.

Two pictures of one head, and the motion between them:

    head = SyntheticHead.draw(seed=1)
    source = render(head, State())
    driving = render(head, State(Pose(yaw=20), Expression(mouth_open=0.5)))
    motion = pair_motion(source, driving)
"""

from benchmarks.synthetic.identity import SyntheticHead
from benchmarks.synthetic.motion import PairMotion, Regions, find_regions, pair_motion
from benchmarks.synthetic.render import Rendered, render
from benchmarks.synthetic.sequence import talking_sequence
from benchmarks.synthetic.state import Expression, Pose, State

__all__ = [
    "Expression",
    "PairMotion",
    "Pose",
    "Regions",
    "Rendered",
    "State",
    "SyntheticHead",
    "find_regions",
    "pair_motion",
    "render",
    "talking_sequence",
]
