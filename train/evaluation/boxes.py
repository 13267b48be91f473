"""Where to look: the square of an image in which something is largest."""

from collections.abc import Sequence

import cv2
import numpy as np


def most_different(images: Sequence[np.ndarray], side: int) -> tuple[int, int]:
    """Top left corner of the crop in which the images differ most from each other."""
    return busiest(np.stack(images).astype(np.float32).var(axis=0).sum(axis=2), side)


def busiest(energy: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner of the crop with the largest sum, of float32 [H, W]."""
    sums = cv2.boxFilter(energy, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    centre = np.unravel_index(int(sums.argmax()), sums.shape)
    y, x = (max(0, min(int(c) - side // 2, n - side)) for c, n in zip(centre, energy.shape, strict=True))
    return y, x
