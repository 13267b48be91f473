"""Validation: whether a plan can have been drawn from a subspace, for datasets that others rendered."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .partition import Subspace
from .plan import Blur, Final, Noise, Plan, Resize
from .space import BlurSpace, FinalSpace, JpegSpace, NoiseSpace, Range, ResizeSpace


def violations(plan: Plan, subspace: Subspace) -> list[str]:
    """Names of the plan's numbers that the subspace cannot have drawn, such as `blur1.sigma_x` or `jpeg2`.

    Open ends of ranges are respected and types are checked. The heights and widths of the resizes need only be
    positive here: what they may be depends on the size of the image.
    """
    found = []
    for name in ("blur1", "resize1", "noise1", "jpeg1", "blur2", "resize2", "noise2", "jpeg2", "final"):
        checks = CHECKS[name.rstrip("12")](getattr(plan, name), getattr(subspace.ranges, name))
        found += [f"{name}.{part}" if part else name for part, holds in checks.items() if not holds]
    return found


def _in(value: Any, bounds: Range) -> bool:
    return type(value) in (int, float) and value in bounds


def _one_of(value: Any, options: Sequence[int | str]) -> bool:
    return any(type(value) is type(option) and value == option for option in options)


def _drawn(name: Any, probabilities: Mapping[str, float]) -> bool:
    return _one_of(name, [option for option, probability in probabilities.items() if probability > 0])


def _check_blur(blur: Blur | None, ranges: BlurSpace) -> dict[str, bool]:
    if blur is None:
        return {"": ranges.apply < 1}
    size = {"": ranges.apply > 0, "size": _one_of(blur.size, ranges.sizes)}
    if blur.family == "sinc":
        small = size["size"] and blur.size < 13
        return size | {
            "family": ranges.sinc > 0,
            "omega": _in(blur.omega, Range(math.pi / 3 if small else math.pi / 5, math.pi)),
            **{name: getattr(blur, name) == 0 for name in ("sigma_x", "sigma_y", "theta", "beta")},
        }
    aniso, shaped = str(blur.family).endswith("aniso"), str(blur.family).startswith(("generalized", "plateau"))
    beta = ranges.beta_generalized if str(blur.family).startswith("generalized") else ranges.beta_plateau
    return size | {
        "family": _drawn(blur.family, ranges.families),
        "sigma_x": _in(blur.sigma_x, ranges.sigma),
        "sigma_y": _in(blur.sigma_y, ranges.sigma) if aniso else blur.sigma_y == blur.sigma_x,
        "theta": _in(blur.theta, ranges.theta) if aniso else blur.theta == 0,
        "beta": _in(blur.beta, beta) if shaped else blur.beta == 0,
        "omega": blur.omega == 0,
    }


def _check_resize(resize: Resize, ranges: ResizeSpace) -> dict[str, bool]:
    return {
        "direction": _drawn(resize.direction, ranges.directions),
        "mode": _one_of(resize.mode, ranges.modes),
        "height": type(resize.height) is int and resize.height > 0,
        "width": type(resize.width) is int and resize.width > 0,
    }


def _check_noise(noise: Noise, ranges: NoiseSpace) -> dict[str, bool]:
    return {
        "kind": _drawn(noise.kind, ranges.kinds),
        "level": _in(noise.level, ranges.gaussian_sigma_255 if noise.kind == "gaussian" else ranges.poisson_scale),
        "grey": type(noise.grey) is bool and (ranges.grey if noise.grey else 1 - ranges.grey) > 0,
        "seed": type(noise.seed) is int and 0 <= noise.seed < 2**53,
    }


def _check_jpeg(quality: int, ranges: JpegSpace) -> dict[str, bool]:
    return {"": type(quality) is int and ranges.low <= quality <= ranges.high}


def _check_final(final: Final, ranges: FinalSpace) -> dict[str, bool]:
    checks = {"order": _one_of(final.order, ranges.orders), "resize_mode": _one_of(final.resize_mode, ranges.modes)}
    if final.sinc is None:
        return checks | {"sinc": ranges.sinc < 1}
    return checks | {
        "sinc": ranges.sinc > 0,
        "sinc.size": _one_of(final.sinc.size, ranges.sizes),
        "sinc.omega": _in(final.sinc.omega, ranges.omega),
    }


CHECKS: Mapping[str, Callable[..., dict[str, bool]]] = {
    "blur": _check_blur,
    "resize": _check_resize,
    "noise": _check_noise,
    "jpeg": _check_jpeg,
    "final": _check_final,
}
