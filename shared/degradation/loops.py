"""The CPU backend's inner loops over pixels: one pass over memory each. How they are compiled: `shared/compiled.py`."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..compiled import aligned, compiled, fma
from .noise import RATE_BITS

ZERO, ONE, TOP = np.float32(0), np.float32(1), np.float32(255)
TO_UNIT = np.float32(1 / 255)
HALF_AND_A_BIT = np.float32(0.5 + 1 / 1024)


# --- 8 bits ---------------------------------------------------------------------------------------------------------


@compiled
def round_levels(image, levels):
    """floor(255 x + 1/2 + 1/1024), clipped to 0 .. 255: float32 [n] into uint8 [n]."""
    for i in range(image.size):
        level = image[i] * TOP + HALF_AND_A_BIT
        level = level if level > ZERO else ZERO
        levels[i] = np.uint8(level if level < TOP else TOP)


@compiled
def unit_levels(levels, image):
    """uint8 [n] / 255 into float32 [n]."""
    for i in range(levels.size):
        image[i] = np.float32(levels[i]) * TO_UNIT


# --- filters --------------------------------------------------------------------------------------------------------


def correlate(image: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Correlation with the sum over t of columns[t, y] rows[t, x], reflect-101 border.

    image: float32 [h, w, 3], contiguous. columns, rows: float32 [terms, size], each even or odd about its centre.
    Raises ValueError for an image whose sides do not exceed half the size: it has no reflect border.
    """
    if min(image.shape[:2]) <= columns.shape[1] // 2:
        raise ValueError(f"an image of {image.shape[0]} x {image.shape[1]} pixels is too small for its blur kernel")
    total, lines = aligned(image.shape), (len(image), -1)
    _separable(columns.shape[1] // 2)(image.reshape(lines), columns, rows, total.reshape(lines))
    return total


@lru_cache(maxsize=64)
def _separable(margin: int) -> Callable:
    """The loop of one kernel size: a number of taps that the compiler knows is twice as fast."""
    edge = 3 * margin

    @compiled
    def separable(image, columns, rows, total):
        height, n = image.shape
        line, signs = np.empty(n + 2 * edge, np.float32), np.ones(len(columns), np.float32)
        for t in range(len(columns)):
            for k in range(1, margin + 1):
                if columns[t, margin - k] != columns[t, margin + k]:
                    signs[t] = -ONE
        for y in range(height):
            out = total[y]
            for t in range(len(columns)):
                sign, weights = signs[t], columns[t, margin:]
                for x in range(n):
                    value = weights[0] * image[y, x]
                    for k in range(1, margin + 1):
                        above, below = abs(y - k), height - 1 - abs(height - 1 - y - k)
                        value = fma(weights[k], fma(sign, image[above, x], image[below, x]), value)
                    line[edge + x] = value
                for x in range(0, edge, 3):
                    for c in range(3):
                        line[edge - 3 - x + c] = line[edge + 3 + x + c]
                        line[edge + n + x + c] = line[edge + n - 6 - x + c]
                weights = rows[t, margin:]
                for x in range(n):
                    value = weights[0] * line[edge + x]
                    for k in range(1, margin + 1):
                        value = fma(weights[k], fma(sign, line[edge + x - 3 * k], line[edge + x + 3 * k]), value)
                    out[x] = value if t == 0 else out[x] + value

    return separable


@compiled
def pool(image, out):
    """Adaptive average pooling, float32 [h, w, 3] into [m, n, 3]: window i is floor(i h/m) .. ceil((i+1) h/m) - 1."""
    height, width, _ = image.shape
    num_rows, num_columns, _ = out.shape
    total = np.empty((width, 3), np.float32)
    for i in range(num_rows):
        top, bottom = i * height // num_rows, -(-(i + 1) * height // num_rows)
        for x in range(width):
            for c in range(3):
                total[x, c] = image[top, x, c]
        for y in range(top + 1, bottom):
            for x in range(width):
                for c in range(3):
                    total[x, c] += image[y, x, c]
        for j in range(num_columns):
            left, right = j * width // num_columns, -(-(j + 1) * width // num_columns)
            share = ONE / np.float32((bottom - top) * (right - left))
            for c in range(3):
                value = total[left, c]
                for x in range(left + 1, right):
                    value += total[x, c]
                out[i, j, c] = value * share


# --- noise ----------------------------------------------------------------------------------------------------------


@compiled
def scrambled(value):
    """One step of a linear congruential generator of 32 bits."""
    return np.uint32(value * np.uint32(1664525) + np.uint32(1013904223))


@compiled
def words(first, key0, key1, out):
    """Uniform 16-bit words of a row whose first pixel has the number `first`, uint16 [3, w].

    pcg3d of (pixel's number, two keys); Jarzynski and Olano, Hash functions for GPU rendering, JCGT 9(3), 2020. The
    three results serve the three channels.
    """
    start1, start2 = scrambled(key0), scrambled(key1)
    for x in range(out.shape[1]):
        a, b, c = scrambled(np.uint32(first + x)), start1, start2
        a = np.uint32(a + np.uint32(b * c))
        b = np.uint32(b + np.uint32(c * a))
        c = np.uint32(c + np.uint32(a * b))
        a, b, c = a ^ (a >> np.uint32(16)), b ^ (b >> np.uint32(16)), c ^ (c >> np.uint32(16))
        a = np.uint32(a + np.uint32(b * c))
        b = np.uint32(b + np.uint32(c * a))
        c = np.uint32(c + np.uint32(a * b))
        out[0, x], out[1, x], out[2, x] = a >> np.uint32(16), b >> np.uint32(16), c >> np.uint32(16)


@compiled
def add_clipped(image, field, scale, out):
    """image + scale field, clipped to [0, 1]: rows of float32."""
    for x in range(image.size):
        value = image[x] + scale * field[x]
        value = value if value > ZERO else ZERO
        out[x] = value if value < ONE else ONE


@compiled
def gaussian(image, table, scale, grey, key0, key1, out):
    """Add scale times table[word] to every sample: float32 [h, 3 w]. A grey field is that of the first words."""
    height, n = image.shape
    planes, field = np.empty((3, n // 3), np.uint16), np.empty(n, np.float32)
    for y in range(height):
        words(y * (n // 3), key0, key1, planes)
        for x in range(n // 3):
            value = table[planes[0, x]]
            field[3 * x] = value
            field[3 * x + 1] = value if grey else table[planes[1, x]]
            field[3 * x + 2] = value if grey else table[planes[2, x]]
        add_clipped(image[y], field, scale, out[y])


@compiled
def poisson(image, levels, deviations, centres, quantum, scale, key0, key1, out):
    """Add scale (centres[level] + deviations[level, word] / quantum) to every sample: float32 [h, 3 w].

    levels: uint8, the rates, [h, 3 w], or [h, w] for a grey field. deviations: int8 [256, 2**RATE_BITS]: the leading
    bits of a word choose one.
    """
    height, n = image.shape
    planes, field = np.empty((3, n // 3), np.uint16), np.empty(n, np.float32)
    table, step, entry_bits = deviations.reshape(-1), ONE / np.float32(quantum), np.uint32(RATE_BITS)
    shift = np.uint32(16 - RATE_BITS)
    num_channels = levels.shape[1] // (n // 3)
    for y in range(height):
        words(y * (n // 3), key0, key1, planes)
        rates = levels[y]
        for x in range(n // 3):
            for c in range(num_channels):
                rate = rates[num_channels * x + c]
                entry = (np.uint32(rate) << entry_bits) + (np.uint32(planes[c, x]) >> shift)
                field[3 * x + c] = np.float32(table[entry]) * step + centres[rate]
        if num_channels == 1:
            for x in range(n // 3):
                field[3 * x + 1] = field[3 * x + 2] = field[3 * x]
        add_clipped(image[y], field, scale, out[y])


@compiled
def luma(image, weights, out):
    """The weighted sum of the channels: float32 [h, w, 3] into [h, w]."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            out[y, x] = (image[y, x, 0] * weights[0] + image[y, x, 1] * weights[1]) + image[y, x, 2] * weights[2]


@compiled
def num_distinct(levels, enough):
    """How many of the 256 levels occur, uint8 [n]; any number above `enough` once so many have been seen."""
    seen, count = np.zeros(256, np.uint8), 0
    for first in range(0, levels.size, 4096):
        for i in range(first, min(first + 4096, levels.size)):
            seen[levels[i]] = 1
        count = 0
        for level in range(256):
            count += seen[level]
        if count > enough:
            break
    return count
