"""The CPU backend: executes plans with OpenCV and libjpeg-turbo, operator by operator.

Between operators an image is float32 [h, w, 3], RGB, nominally in [0, 1]; blur and bicubic may overshoot.
"""

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import turbojpeg

from ..compiled import aligned
from ..errors import UsageError
from ..seeds import word_keys
from . import loops
from .kernels import USM_SIGMA, USM_SIZE, USM_THRESHOLD_255, USM_WEIGHT, separable_terms
from .noise import normal_table, poisson_deviations
from .plan import Blur, Noise, Plan, Resize
from .space import MIN_PATCH

MAX_QUANTUM = 256
"""Largest number of quanta of Poisson noise, used when more than half of the 256 levels occur in the image."""
TOLERANCE = 1e-3
"""How far sharpening may take float32 values out of [0, 1] by rounding."""
LUMA = np.array([0.2989, 0.587, 0.114], np.float32)


def render(hr: np.ndarray, plan: Plan, scale: int = 4) -> np.ndarray:
    """Degrade one HR image as its plan says.

    hr: uint8 [H, W, 3] RGB, or float32 in [0, 1] (a sharpened HR). Both sides must be at least 74 pixels, so that
    reflect borders exist after the smallest resize. plan: drawn for an image of this size, since it holds the sizes of
    its resizes. Returns the LR image, uint8 [H // scale, W // scale, 3], RGB. Raises `UsageError` (a ValueError) for
    another array.
    """
    _require_image(hr)
    image = from_8bit(hr) if hr.dtype == np.uint8 else hr
    for operator, parameters in plan.steps(hr.shape[0] // scale, hr.shape[1] // scale):
        image = OPERATORS[operator](image, parameters)
    return to_8bit(image)


def _require_image(hr: np.ndarray) -> None:
    if hr.ndim != 3 or hr.shape[2] != 3 or min(hr.shape[:2]) < MIN_PATCH or hr.dtype not in (np.uint8, np.float32):
        raise UsageError(
            f"hr is {hr.dtype} {[*hr.shape]}: it must be uint8 or float32 [H, W, 3], RGB, with sides of at least "
            f"{MIN_PATCH} pixels"
        )
    if hr.dtype == np.float32 and not -TOLERANCE <= hr.min() <= hr.max() <= 1 + TOLERANCE:
        raise UsageError(f"hr has values from {hr.min()} to {hr.max()}: float32 images must lie in [0, 1]")


def from_8bit(levels: np.ndarray) -> np.ndarray:
    """uint8 0 .. 255 to float32 0 .. 1."""
    image = aligned(levels.shape)
    loops.unit_levels(levels.reshape(-1), image.reshape(-1))
    return image


def to_8bit(image: np.ndarray) -> np.ndarray:
    """float32 to uint8 by the rule of both backends, floor(255 x + 1/2 + 1/1024), clipped.

    Resizing 8-bit data makes exact ties; the small bias decides them alike everywhere.
    """
    levels = np.empty(image.shape, np.uint8)
    loops.round_levels(image.reshape(-1), levels.reshape(-1))
    return levels


def sharpen(hr: np.ndarray) -> np.ndarray:
    """Unsharp mask of an HR image as Real-ESRGAN's `USMSharp`; uint8 [H, W, 3] in, float32 [H, W, 3] in [0, 1] out."""
    image = from_8bit(hr)
    residual = image - _wide_gaussian(image)
    soft_mask = _wide_gaussian((np.abs(residual) * 255 > USM_THRESHOLD_255).astype(np.float32))
    sharp = np.clip(image + USM_WEIGHT * residual, 0, 1)
    return image + soft_mask * (sharp - image)


def _wide_gaussian(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (USM_SIZE, USM_SIZE), USM_SIGMA, borderType=cv2.BORDER_REFLECT_101)


def blur(image: np.ndarray, parameters: Blur) -> np.ndarray:
    """Correlation with the plan's kernel, reflect-101 border, no clipping."""
    return loops.correlate(image, *separable_terms(parameters))


def resize(image: np.ndarray, parameters: Resize) -> np.ndarray:
    """Resize to the plan's size, sampling on the grid in/out; no antialias beyond the mode itself."""
    if image.shape[:2] == (parameters.height, parameters.width):
        return image
    return RESIZE_MODES[parameters.mode](image, parameters.height, parameters.width)


def _interpolate(flag: int) -> Callable[[np.ndarray, int, int], np.ndarray]:
    return lambda image, height, width: cv2.resize(image, (width, height), interpolation=flag)


def _area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Adaptive average pooling: output i is the mean of input floor(i n/m) .. ceil((i+1) n/m) - 1, on each axis."""
    out = aligned((height, width, 3))
    loops.pool(image, out)
    return out


RESIZE_MODES: Mapping[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "area": _area,
    "bilinear": _interpolate(cv2.INTER_LINEAR),
    "bicubic": _interpolate(cv2.INTER_CUBIC),  # a = -.75, as torch
}


def noise(image: np.ndarray, parameters: Noise) -> np.ndarray:
    """Add the plan's noise, then clip to [0, 1]."""
    out, (keys,) = aligned(image.shape), word_keys([parameters.seed])
    NOISE_KINDS[parameters.kind](image, parameters, keys, out)
    return out


def _gaussian(image: np.ndarray, parameters: Noise, keys: np.ndarray, out: np.ndarray) -> None:
    scale = np.float32(parameters.level / 255)
    loops.gaussian(_lines(image), normal_table(), scale, parameters.grey, *keys, _lines(out))


def _poisson(image: np.ndarray, parameters: Noise, keys: np.ndarray, out: np.ndarray) -> None:
    """(Poisson(v q)/q - v) scale for the 8-bit image v and q = 2^ceil(log2(number of distinct values))."""
    rates = image
    if parameters.grey:
        rates = np.empty(image.shape[:2], np.float32)
        loops.luma(image, LUMA, rates)
    levels = to_8bit(rates)
    quantum = 1 << (int(loops.num_distinct(levels.reshape(-1), MAX_QUANTUM // 2)) - 1).bit_length()
    tables, scale = poisson_deviations(quantum), np.float32(parameters.level)
    loops.poisson(_lines(image), _lines(levels), *tables, quantum, scale, *keys, _lines(out))


def _lines(image: np.ndarray) -> np.ndarray:
    """[h, w, 3] as [h, 3 w], and [h, w] as it is."""
    return image.reshape(len(image), -1)


NOISE_KINDS: Mapping[str, Callable[[np.ndarray, Noise, np.ndarray, np.ndarray], None]] = {
    "gaussian": _gaussian,
    "poisson": _poisson,
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
