"""The numbers that plans hold, gathered over many plans: what histograms of a dataset or of a space show.

stage is 1 or 2, the first or the second degradation.
"""

from collections.abc import Sequence
from typing import NamedTuple

from shared.degradation.plan import Plan
from shared.degradation.space import KERNEL_FAMILIES

NOT_BLURRED = "none"


class Drawn(NamedTuple):
    """One parameter. title: with its unit. values: of the plans that have it, and num_plans: how many these are."""

    title: str
    values: Sequence[float]
    num_plans: int


def kernel_shares(plans: Sequence[Plan], stage: int) -> dict[str, float]:
    """Share of plans by kernel family; `sinc` and `none` stand beside the families of the space."""
    blurs = [getattr(plan, f"blur{stage}") for plan in plans]
    names = [blur.family if blur else NOT_BLURRED for blur in blurs]
    return {family: names.count(family) / len(names) for family in (*KERNEL_FAMILIES, "sinc", NOT_BLURRED)}


def drawn_numbers(plans: Sequence[Plan], stage: int, bases: Sequence[float]) -> list[Drawn]:
    """Every number of a stage: of an anisotropic kernel two sigmas, of a sinc none, of a kept size no factor.

    bases: for each plan the height that its resize is relative to.
    """
    blurs, resizes, noises, qualities = (
        [getattr(plan, f"{operator}{stage}") for plan in plans] for operator in ("blur", "resize", "noise", "jpeg")
    )
    kernels = [blur for blur in blurs if blur and blur.family != "sinc"]
    sigmas = [[k.sigma_x, k.sigma_y] if k.family.endswith("aniso") else [k.sigma_x] for k in kernels]
    factors = [r.height / base for r, base in zip(resizes, bases, strict=True) if r.direction != "keep"]
    gaussian, poisson = ([n.level for n in noises if n.kind == kind] for kind in ("gaussian", "poisson"))
    return [
        Drawn("Blur: sigma, pixels", [sigma for each in sigmas for sigma in each], len(kernels)),
        Drawn(f"Resize: factor of {'HR' if stage == 1 else 'LR'} size", factors, len(factors)),
        Drawn("Gaussian noise: sigma of 255", gaussian, len(gaussian)),
        Drawn("Poisson noise: scale", poisson, len(poisson)),
        Drawn("JPEG: quality", qualities, len(qualities)),
    ]
