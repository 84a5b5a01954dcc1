"""Animate a portrait by other faces: python example.py PORTRAIT RESULT DRIVING...

All are pictures of centred faces; RESULT shows the portrait in the pose of each of the others, side by side.
"""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from runtime import load

FOLDER = Path(__file__).parent
SIZE = json.loads((FOLDER / "manifest.json").read_text())["image_size"]


def read(path: str) -> np.ndarray:
    picture = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return np.asarray(picture, np.float32).transpose(2, 0, 1) / 255


detect, encode, animate = load(FOLDER, "detect"), load(FOLDER, "encode"), load(FOLDER, "animate")
portrait, driving = read(sys.argv[1])[None], np.stack([read(path) for path in sys.argv[3:]])
source = {"source_image": portrait, **encode({"image": portrait})}  # once a portrait
pose = {f"driving_{name}": value for name, value in detect({"image": driving}).items()}
images = animate({**source, **pose})["image"]
row = np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)
Image.fromarray((row.clip(0, 1) * 255).round().astype(np.uint8)).save(sys.argv[2])
