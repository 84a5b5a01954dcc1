"""Where in a picture a person is: MediaPipe's selfie segmentation, see `models/NOTICE`."""

import threading

import cv2
import numpy as np

from mrfa.faces.networks import load_network, read_model

# Sides in pixels of what the network reads, and of the masks that are kept.
_INPUT_SIDE = 256
MASK_SIDE = 128


class PersonSegmenter:
    """Tells people from their background. Threads may share it."""

    def __init__(self) -> None:
        self._net = load_network(read_model("selfie_segmentation"))
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """How surely each place of a uint8 RGB picture `[H, W, 3]` shows a person: uint8 `[MASK_SIDE, MASK_SIDE]`."""
        blob = cv2.dnn.blobFromImage(image, 1 / 255, (_INPUT_SIDE, _INPUT_SIDE))
        with self._lock:
            self._net.setInput(blob)
            person = self._net.forward()[0, 0]
        small = cv2.resize(person, (MASK_SIDE, MASK_SIDE), interpolation=cv2.INTER_AREA)
        return np.rint(255 * small.clip(0, 1)).astype(np.uint8)
