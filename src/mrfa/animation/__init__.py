"""From a portrait and a driver to a video: crops, motion transfer, the animator, compositing and whole jobs."""
