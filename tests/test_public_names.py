import subprocess
import sys

import pytest

import mrfa

NAMES = {"Animator", "InputError", "Keypoints", "Network", "animate_file", "load_model", "open_frames", "read_image"}


def test_public_names() -> None:
    assert set(mrfa.__all__) == {*NAMES, "__version__"}
    assert set(mrfa.__all__) <= set(dir(mrfa))
    for name in NAMES:
        assert getattr(mrfa, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mrfa.nothing


@pytest.mark.parametrize("module", ["mrfa", "mrfa.cli"])
def test_heavy_packages_are_imported_on_first_use(module: str) -> None:
    """So that `mrfa --help` comes at once."""
    heavy = ("torch", "numpy", "cv2", "av", "mediapipe", "lightning")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
