"""Records what mediapipe itself finds in variants of the bundled portrait, for the test that the bundled networks find the same.

mediapipe needs packages that do not go with this one's, so it has an environment of its own, with Python 3.11 or 3.12:

    python -m venv /tmp/mediapipe && /tmp/mediapipe/bin/pip install mediapipe==0.10.14
    /tmp/mediapipe/bin/python benchmarks/record_face_mesh.py tests/face_mesh.npz
"""

import sys
from pathlib import Path

import cv2
import numpy as np

PORTRAIT = Path(__file__).parents[1] / "src" / "mrfa" / "assets" / "astronaut.jpg"


def pictures() -> dict[str, np.ndarray]:
    """Variants of the portrait, uint8 RGB: whole, near, cut by the border, inclined, mirrored, grey, dark, and stretched."""
    portrait = cv2.imread(str(PORTRAIT))
    assert portrait is not None
    whole = np.ascontiguousarray(portrait[..., ::-1])
    head = np.ascontiguousarray(whole[:256, 96:352])
    inclined = cv2.getRotationMatrix2D((128, 115), 25, 1.2)
    grey = cv2.cvtColor(head, cv2.COLOR_RGB2GRAY)
    return {
        "whole": whole,
        "head": head,
        "close": cv2.resize(np.ascontiguousarray(whole[50:180, 160:290]), (256, 256), interpolation=cv2.INTER_CUBIC),
        "beyond the border": np.ascontiguousarray(whole[80:336, 64:320]),
        "inclined": cv2.warpAffine(head, inclined, (256, 256)),
        "mirrored": np.ascontiguousarray(head[:, ::-1]),
        "grey": cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB),
        "dark": head // 3,
        "wide": cv2.resize(head, (300, 256), interpolation=cv2.INTER_AREA),
    }


def record(target: Path) -> None:
    """Write float32 `[478, 3]` for each picture: pixels, counted as `mrfa.faces` counts them, and depth."""
    from mediapipe.python.solutions.face_mesh import FaceMesh

    found = {}
    with FaceMesh(static_image_mode=True, max_num_faces=1, refine_landmarks=True) as mesh:
        for name, picture in pictures().items():
            height, width = picture.shape[:2]
            points = mesh.process(picture).multi_face_landmarks[0].landmark
            found[name] = np.array([(p.x * width - 0.5, p.y * height - 0.5, p.z * width) for p in points], np.float32)
    np.savez_compressed(target, **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    record(Path(sys.argv[1]))
