"""Made-up pictures."""

import cv2
import numpy as np

from shared.degradation.cpu import to_8bit


def picture(height, width, seed=0):
    """Random float32 samples in [0, 1]: the hardest picture for a filter."""
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


def smooth_picture(height, width, seed=0):
    """uint8, with the edges and colours of a photograph rather than its noise."""
    coarse = np.random.default_rng(seed).random((6, 6, 3), dtype=np.float32)
    return to_8bit(np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1))
