"""Frozen plans in which one number moves: the discrete degradations of Figs. 1, 8 and 9.

The mid-range plan has the middle of every range of a space: isotropic blur, Gaussian noise in colour, no change of size
before the last resize, JPEG at the middle quality, the last step as resize, sinc, JPEG. Along an operator only its own
number moves: the blur's standard deviation, the noise level or the JPEG quality, stage 2 in proportion to stage 1; of
down-sampling the factor of stage 1 alone, between the smallest of the range and 1. (The paper says that all else is
fixed, not where; the choice of the middle, and of stage 1 for down-sampling, are ours.)
"""

import math
from dataclasses import replace

import numpy as np

from shared.degradation.plan import Blur, Final, Noise, Plan, Resize, Sinc
from shared.degradation.space import Range, Space

OPERATORS = {
    "noise": "Gaussian sigma of stage 1, of 255",
    "blur": "blur sigma of stage 1, pixels",
    "down-sampling": "factor of stage 1",
    "JPEG": "quality of stage 1",
}
"""The operators along which a plan moves: of each what moves, with its unit."""


def mid_plan(space: Space, patch: int, scale: int = 4) -> Plan:
    """The plan in the middle of every range, for HR crops of patch x patch pixels."""
    side, blur, noise = patch // scale, space.blur1, space.noise1
    size = blur.sizes[len(blur.sizes) // 2]
    return Plan(
        blur1=_blur(size, blur.sigma.at(0.5)),
        resize1=Resize("keep", "bilinear", patch, patch),
        noise1=Noise("gaussian", noise.gaussian_sigma_255.at(0.5), False, 0),
        jpeg1=round(_quality(space).at(0.5)),
        blur2=_blur(size, space.blur2.sigma.at(0.5)),
        resize2=Resize("keep", "bilinear", side, side),
        noise2=Noise("gaussian", space.noise2.gaussian_sigma_255.at(0.5), False, 1),
        jpeg2=round(_quality(space).at(0.5)),
        final=Final("resize_sinc_jpeg", "bilinear", Sinc(size, space.final.omega.at(0.5))),
    )


def span(space: Space, operator: str) -> Range:
    """The range of an operator's number in stage 1."""
    ranges = {
        "noise": space.noise1.gaussian_sigma_255,
        "blur": space.blur1.sigma,
        "down-sampling": Range(space.resize1.factor.low, 1.0),
        "JPEG": _quality(space),
    }
    return ranges[operator]


def moved(space: Space, operator: str, value: float, patch: int, scale: int = 4) -> Plan:
    """The mid-range plan with the number of one operator at a value, which may lie outside of the space's range."""
    plan, bounds = mid_plan(space, patch, scale), span(space, operator)
    position = (value - bounds.low) / (bounds.high - bounds.low)
    if operator == "noise":
        second = max(0.0, space.noise2.gaussian_sigma_255.at(position))
        return replace(plan, noise1=replace(plan.noise1, level=value), noise2=replace(plan.noise2, level=second))
    if operator == "blur":
        second = max(0.1, space.blur2.sigma.at(position))
        return replace(plan, blur1=_blur(plan.blur1.size, value), blur2=_blur(plan.blur2.size, second))
    if operator == "down-sampling":
        side = max(1, math.floor(value * patch))
        return replace(plan, resize1=Resize("down" if value < 1 else "keep", "bilinear", side, side))
    return replace(plan, jpeg1=round(value), jpeg2=round(value))


def evenly_spaced(bounds: Range, count: int) -> list[float]:
    """`count` values from one end of a range to the other."""
    return [round(float(value), 6) for value in np.linspace(bounds.low, bounds.high, count)]


def _blur(size: int, sigma: float) -> Blur:
    return Blur("iso", size, sigma, sigma)


def _quality(space: Space) -> Range:
    return Range(space.jpeg1.low, space.jpeg1.high)
