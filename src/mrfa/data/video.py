"""Reading and writing video; see `mrfa.data.video_reader` and `mrfa.data.video_writer`."""

from mrfa.data.video_reader import Frame, PictureFolder, VideoReader, open_frames
from mrfa.data.video_writer import VideoWriter

__all__ = ["Frame", "PictureFolder", "VideoReader", "VideoWriter", "open_frames"]
