"""Where in a picture a person is: MediaPipe's selfie segmentation, see `models/NOTICE`."""

import threading

import cv2
import numpy as np

from mrfa.faces.networks import load_network, read_model

# Sides in pixels of what the network reads, and of the masks that are kept.
_INPUT_SIDE = 256
MASK_SIDE = 128

# Its last convolution, transposed, makes 2 x 2 pixels of each cell of this layer, and of each pixel a probability follows.
_FEATURE_LAYER, _LAST_CONVOLUTION = "add_13__xeno_compat__1", "segment"


class PersonSegmenter:
    """Tells people from their background. Threads may share it."""

    def __init__(self) -> None:
        self._net = load_network(read_model("selfie_segmentation"))
        kernel, bias = (self._net.getParam(_LAST_CONVOLUTION, number) for number in (0, 1))
        self._kernel, self._bias = kernel.reshape(len(kernel), 4), bias.reshape(1)
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """How surely each place of a uint8 RGB picture `[H, W, 3]` shows a person: uint8 `[MASK_SIDE, MASK_SIDE]`."""
        blob = cv2.dnn.blobFromImage(image, 1 / 255, (_INPUT_SIDE, _INPUT_SIDE))
        with self._lock:
            self._net.setInput(blob)
            features = self._net.forward(_FEATURE_LAYER)[0]
        # Not by the network, as OpenCV 5.0 takes as long for its last convolution as for all others.
        # By einsum: so small a product is slower by many threads, as which `@` computes it, while other threads segment.
        logits = np.einsum("cp,cn->pn", self._kernel, features.reshape(len(features), -1)) + self._bias
        person = (0.5 + 0.5 * np.tanh(0.5 * logits)).mean(0)
        return np.rint(255 * person).astype(np.uint8).reshape(MASK_SIDE, MASK_SIDE)
