"""The numbers that plans hold, gathered over many plans: what histograms of a dataset or of a space show.

stage is 1 or 2, the first or the second degradation.
"""

from collections.abc import Sequence

from shared.degradation.plan import Plan
from shared.degradation.space import KERNEL_FAMILIES

NOT_BLURRED = "none"


def kernel_shares(plans: Sequence[Plan], stage: int) -> dict[str, float]:
    """Share of plans by kernel family; `sinc` and `none` stand beside the families of the space."""
    blurs = [getattr(plan, f"blur{stage}") for plan in plans]
    names = [blur.family if blur else NOT_BLURRED for blur in blurs]
    return {family: names.count(family) / len(names) for family in (*KERNEL_FAMILIES, "sinc", NOT_BLURRED)}


def blur_sigmas(plans: Sequence[Plan], stage: int) -> list[float]:
    """Standard deviations of kernels, pixels: two of an anisotropic kernel, one of an isotropic one, none of a sinc."""
    found = []
    for blur in (getattr(plan, f"blur{stage}") for plan in plans):
        if blur and blur.family != "sinc":
            found += [blur.sigma_x, blur.sigma_y] if blur.family.endswith("aniso") else [blur.sigma_x]
    return found


def resize_factors(plans: Sequence[Plan], stage: int, bases: Sequence[float]) -> list[float]:
    """Factors of the resizes whose direction is up or down. bases: for each plan the height that it is relative to."""
    resizes = [getattr(plan, f"resize{stage}") for plan in plans]
    return [resize.height / base for resize, base in zip(resizes, bases, strict=True) if resize.direction != "keep"]


def noise_levels(plans: Sequence[Plan], stage: int, kind: str) -> list[float]:
    """Levels of the noise of one kind: sigma of 255 for `gaussian`, scale for `poisson`."""
    return [noise.level for noise in (getattr(plan, f"noise{stage}") for plan in plans) if noise.kind == kind]
