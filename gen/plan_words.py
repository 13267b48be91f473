"""A degradation plan in plain words, for people who look at rows."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from shared.degradation.plan import Blur, Noise, Plan, Resize

FAMILIES = {
    "iso": "isotropic Gaussian",
    "aniso": "anisotropic Gaussian",
    "generalized_iso": "generalized isotropic Gaussian",
    "generalized_aniso": "generalized anisotropic Gaussian",
    "plateau_iso": "isotropic plateau",
    "plateau_aniso": "anisotropic plateau",
}


def plan_in_words(plan: Plan) -> list[str]:
    """One line `operator: what it does` for each step that changes the image, in the order of execution.

    "up" or "down" says what a resize does to the image that it gets, which may differ from the name of its draw: a
    second resize drawn as "up" starts from the LR size and may shrink the image.
    """
    lines, size = [], None
    for operator, parameters in plan.steps(0, 0):
        if operator == "resize":
            words = _resize_words(parameters, size)
            size = (parameters.height, parameters.width)
        else:
            words = WORDS[operator](parameters)
        if words:
            lines.append(words)
    return lines


def _resize_words(resize: Resize, size: tuple[int, int] | None) -> str:
    """size: of the image before the resize; None for the first resize, which starts from the HR image."""
    target = (resize.height, resize.width)
    if target == (0, 0):
        return f"resize: to the LR size, {resize.mode}"
    way = resize.direction
    if size is not None:
        way = "keep" if target == size else "up" if target > size else "down"
    return "" if way == "keep" else f"resize: {way} to {resize.height} x {resize.width}, {resize.mode}"


def _blur_words(blur: Blur) -> str:
    if blur.family == "sinc":
        return f"blur: sinc {blur.size} px, cutoff {blur.omega / math.pi:.2f} pi"
    words = f"blur: {FAMILIES[blur.family]} {blur.size} px, sigma {blur.sigma_x:.2f}"
    if blur.family.endswith("aniso"):
        words += f" x {blur.sigma_y:.2f}, {math.degrees(blur.theta):.0f} deg"
    return words + (f", beta {blur.beta:.2f}" if blur.beta else "")


def _noise_words(noise: Noise) -> str:
    strength = f"Gaussian, sigma {noise.level:.1f} of 255" if noise.kind == "gaussian" else f"Poisson {noise.level:.2f}"
    return f"noise: {strength}, {'grey' if noise.grey else 'colour'}"


WORDS: Mapping[str, Callable[[Any], str]] = {
    "blur": _blur_words,
    "noise": _noise_words,
    "jpeg": lambda quality: f"JPEG: quality {quality}",
}
