"""Small pictures, and their files."""

from pathlib import Path

import cv2
import numpy as np


def texture(seed: int, height: int = 90, width: int = 100) -> np.ndarray:
    """A smooth random colour picture, uint8 [height, width, 3], RGB."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def write_picture(path: Path, image: np.ndarray) -> Path:
    """Write a picture in the format of its suffix; any depth and number of channels, RGB order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR)
    path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
    return path
