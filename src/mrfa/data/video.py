"""Placeholder until the real reader lands."""
from typing import NamedTuple
import av
class Frame(NamedTuple):
    image: object
    pts: int
def open_frames(path):
    with av.open(str(path)) as c:
        for f in c.decode(video=0):
            yield Frame(f.to_ndarray(format="rgb24"), f.pts)
