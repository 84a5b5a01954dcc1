"""A camera of this machine that shows what we make: to video calls, for one."""

from types import TracebackType
from typing import Any

import cv2
import numpy as np

from mrfa.errors import InputError
from mrfa.extras import require

RATE = 25


class VirtualCamera:
    """Shows pictures as a camera, through `pyvirtualcam`. A context manager; the first picture sets its size.

    Raises:
        InputError: the package is absent.
    """

    def __init__(self) -> None:
        require("pyvirtualcam", extra="live")
        self._camera: Any = None

    def __enter__(self) -> "VirtualCamera":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._camera is not None:
            self._camera.close()

    def show(self, image: np.ndarray) -> None:
        """The next picture, uint8 RGB `[H, W, 3]`; one of another size than the first is scaled.

        Raises:
            InputError: this machine has no device for it.
        """
        import pyvirtualcam

        if self._camera is None:
            height, width = image.shape[:2]
            try:
                self._camera = pyvirtualcam.Camera(width=width, height=height, fps=RATE)
            except RuntimeError as error:
                hint = "on Linux  modprobe v4l2loopback, on Windows and macOS OBS with its virtual camera"
                raise InputError(f"there is no virtual camera ({error}): it needs {hint}") from None
        size = self._camera.width, self._camera.height
        self._camera.send(image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA))
