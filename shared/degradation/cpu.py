"""The CPU backend: executes plans with OpenCV and libjpeg-turbo (method notes, Section 3, operator by operator).

Between operators an image is float32 [h, w, 3], RGB, nominally in [0, 1]; blur and bicubic may overshoot.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import turbojpeg

from shared.degradation.kernels import kernel, separable_terms
from shared.degradation.noise import RATE_BITS, normal_table, poisson_table
from shared.degradation.plan import Blur, Noise, Plan, Resize
from shared.seeds import words16

LUMA = np.array([[0.2989, 0.587, 0.114]], np.float32)
USM_WEIGHT, USM_THRESHOLD_255, USM_SIZE, USM_SIGMA = 0.5, 10, 51, 8.0


def render(hr: np.ndarray, plan: Plan, scale: int = 4) -> np.ndarray:
    """Degrade one HR image as its plan says.

    hr: uint8 [H, W, 3] RGB, or float32 in [0, 1] (a sharpened HR). Both sides must be at least 74 pixels, so that
    reflect borders exist after the smallest resize.
    Returns the LR image, uint8 [H // scale, W // scale, 3], RGB.
    """
    image = from_8bit(hr) if hr.dtype == np.uint8 else hr
    for operator, parameters in plan.steps(hr.shape[0] // scale, hr.shape[1] // scale):
        image = OPERATORS[operator](image, parameters)
    return to_8bit(image)


def from_8bit(image: np.ndarray) -> np.ndarray:
    """uint8 0 .. 255 to float32 0 .. 1."""
    return np.multiply(image, np.float32(1 / 255), dtype=np.float32)


def to_8bit(image: np.ndarray) -> np.ndarray:
    """float32 to uint8 by the rule of both backends, floor(255 x + 1/2 + 1/1024), clipped.

    Resizing 8-bit data makes exact ties; the small bias decides them alike everywhere.
    """
    levels = image * np.float32(255)
    levels += np.float32(0.5 + 1 / 1024)
    np.clip(levels, 0, 255, out=levels)
    return levels.astype(np.uint8)


def sharpen(hr: np.ndarray) -> np.ndarray:
    """Unsharp mask of an HR image as Real-ESRGAN's `USMSharp`; uint8 [H, W, 3] in, float32 [H, W, 3] in [0, 1] out."""
    image = from_8bit(hr)
    residual = image - _gaussian(image)
    soft_mask = _gaussian((np.abs(residual) * 255 > USM_THRESHOLD_255).astype(np.float32))
    sharp = np.clip(image + USM_WEIGHT * residual, 0, 1)
    return image + soft_mask * (sharp - image)


def _gaussian(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (USM_SIZE, USM_SIZE), USM_SIGMA, borderType=cv2.BORDER_REFLECT_101)


def blur(image: np.ndarray, parameters: Blur) -> np.ndarray:
    """Correlation with the plan's kernel, reflect-101 border, no clipping."""
    columns, rows = separable_terms(parameters)
    if len(columns) > _break_even_terms(parameters.size, image.shape[0] * image.shape[1]):
        return cv2.filter2D(image, -1, kernel(parameters), borderType=cv2.BORDER_REFLECT_101)
    total = cv2.sepFilter2D(image, -1, rows[0], columns[0], borderType=cv2.BORDER_REFLECT_101)
    for column, row in zip(columns[1:], rows[1:], strict=True):
        cv2.add(total, cv2.sepFilter2D(image, -1, row, column, borderType=cv2.BORDER_REFLECT_101), dst=total)
    return total


def _break_even_terms(size: int, num_pixels: int) -> float:
    """Up to how many separable passes are faster than OpenCV's full filter (docs/benchmarks.md).

    The full filter is direct up to 11 pixels, and beyond that a Fourier transform whose cost depends on the picture.
    """
    if size <= 11:
        return 0.29 * size
    return 10 if num_pixels > 160**2 else 5.5


def resize(image: np.ndarray, parameters: Resize) -> np.ndarray:
    """Resize to the plan's size, sampling on the grid in/out; no antialias beyond the mode itself."""
    if image.shape[:2] == (parameters.height, parameters.width):
        return image
    return RESIZE_MODES[parameters.mode](image, parameters.height, parameters.width)


def _interpolate(flag: int) -> Callable[[np.ndarray, int, int], np.ndarray]:
    return lambda image, height, width: cv2.resize(image, (width, height), interpolation=flag)


def _area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Adaptive average pooling: output i is the mean of input floor(i n/m) .. ceil((i+1) n/m) - 1, on each axis."""
    image = _pool_rows(image, height)
    return cv2.transpose(_pool_rows(cv2.transpose(image), width))


def _pool_rows(image: np.ndarray, count: int) -> np.ndarray:
    total = np.zeros((count, *image.shape[1:]), np.float32)
    for index, weight in _windows(image.shape[0], count):
        total += image[index] * weight
    return total


@lru_cache(maxsize=1024)
def _windows(num_in: int, num_out: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For each offset within a window: the input row of every output row and its weight (0 past the window's end)."""
    start = np.arange(num_out) * num_in // num_out
    length = -(-(np.arange(num_out) + 1) * num_in // num_out) - start
    return tuple(
        (
            np.minimum(start + offset, num_in - 1),
            np.where(offset < length, 1 / length, 0).astype(np.float32)[:, None, None],
        )
        for offset in range(length.max())
    )


RESIZE_MODES: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "area": _area,
    "bilinear": _interpolate(cv2.INTER_LINEAR),
    "bicubic": _interpolate(cv2.INTER_CUBIC),  # a = -.75, as torch
}


def noise(image: np.ndarray, parameters: Noise) -> np.ndarray:
    """Add the plan's noise, then clip to [0, 1]."""
    field = NOISE_KINDS[parameters.kind](image, parameters)
    if parameters.grey:
        field = cv2.cvtColor(field, cv2.COLOR_GRAY2RGB)
    level = parameters.level / 255 if parameters.kind == "gaussian" else parameters.level
    noisy = cv2.scaleAdd(field, level, image)
    return np.clip(noisy, 0, 1, out=noisy)


def _gaussian_field(image: np.ndarray, parameters: Noise) -> np.ndarray:
    shape = image.shape[:2] if parameters.grey else image.shape
    bits = words16(int(np.prod(shape)), parameters.seed)
    return np.take(normal_table(), bits, mode="clip").reshape(shape)


def _poisson_field(image: np.ndarray, parameters: Noise) -> np.ndarray:
    """Poisson(v q)/q - v for the 8-bit picture v and q = 2^ceil(log2(number of distinct values))."""
    levels = to_8bit(cv2.transform(image, LUMA) if parameters.grey else image)
    distinct = cv2.countNonZero(cv2.calcHist([levels.reshape(len(levels), -1)], [0], None, [256], [0, 256]))
    quantum = 1 << (distinct - 1).bit_length()
    bits = words16(levels.size, parameters.seed).reshape(levels.shape)
    index = np.left_shift(levels, RATE_BITS, dtype=np.intp)
    index += bits >> (16 - RATE_BITS)
    return poisson_table(quantum)[index]


NOISE_KINDS: Mapping[str, Callable[[np.ndarray, Noise], np.ndarray]] = {
    "gaussian": _gaussian_field,
    "poisson": _poisson_field,
}


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Through libjpeg-turbo and back: 8 bits, 4:2:0, standard tables, accurate DCT, triangular upsampling."""
    data = turbojpeg.compress(to_8bit(image), quality, turbojpeg.SAMP.Y420, pixelformat=turbojpeg.PF.RGB)
    return from_8bit(np.asarray(turbojpeg.decompress(data, turbojpeg.PF.RGB)))


OPERATORS: Mapping[str, Callable[[np.ndarray, Any], np.ndarray]] = {
    "blur": blur,
    "resize": resize,
    "noise": noise,
    "jpeg": jpeg,
}
