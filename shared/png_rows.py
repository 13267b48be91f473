"""The compiled loop behind `images.decode_png`, in a module of its own because Numba takes half a second to import."""

import numpy as np

from .compiled import compiled


@compiled
def add_rows(stored, pixels):
    """Running sums down the columns: uint8 [h, 1 + w], the filter in front, into uint8 [h, w]."""
    for x in range(pixels.shape[1]):
        pixels[0, x] = stored[0, x + 1]
    for y in range(1, pixels.shape[0]):
        for x in range(pixels.shape[1]):
            pixels[y, x] = np.uint8(pixels[y - 1, x] + stored[y, x + 1])
