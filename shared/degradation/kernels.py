"""Blur kernels: from a plan's parameters to pixels, as short sums of separable kernels.

Formulas follow Real-ESRGAN (paper Section 3; families of method notes, Section 2). Both backends execute the *same*
kernel: the singular value decomposition cut at `SINGULAR_CUT` of the largest value and renormalised to sum 1. That sum
is the kernel. It differs from the closed form by a part of the order of the cut, and an isotropic Gaussian, which is
separable, by nothing but rounding.
"""

from functools import lru_cache

import numpy as np
from scipy.special import j1

from shared.degradation.plan import Blur

SINGULAR_CUT = 1e-4
"""Singular values below this share of the largest are dropped."""


def closed_form(blur: Blur) -> np.ndarray:
    """The kernel by its formula, float64 [size, size], sum 1; rows are y, columns x.

    With M = (x, y) Sigma^-1 (x, y)^T, Sigma = R(theta) diag(sigma_x^2, sigma_y^2) R(theta)^T:
    Gaussian exp(-M/2), generalized exp(-M^beta / 2), plateau 1 / (M^beta + 1).
    Sinc: omega J1(omega r) / (2 pi r), the ideal circular low-pass filter.
    Raises ValueError for an unknown family or an even size.
    """
    if blur.size % 2 == 0:
        raise ValueError(f"kernel size is {blur.size}: it must be odd")
    profile = blur.family.removesuffix("_aniso").removesuffix("_iso")
    if profile not in PROFILES and blur.family != "sinc":
        raise ValueError(f"unknown kernel family {blur.family!r}: the profiles are sinc, {', '.join(PROFILES)}")
    grid = np.arange(blur.size) - blur.size // 2
    x, y = np.meshgrid(grid, grid)
    if blur.family == "sinc":
        r = np.hypot(x, y)
        r[blur.size // 2, blur.size // 2] = 1.0
        kernel = blur.omega * j1(blur.omega * r) / (2 * np.pi * r)
        kernel[blur.size // 2, blur.size // 2] = blur.omega**2 / (4 * np.pi)
    else:
        cos, sin = np.cos(blur.theta), np.sin(blur.theta)
        mahalanobis = ((cos * x + sin * y) / blur.sigma_x) ** 2 + ((cos * y - sin * x) / blur.sigma_y) ** 2
        kernel = PROFILES[profile](mahalanobis, blur.beta)
    return kernel / kernel.sum()


PROFILES = {
    "iso": lambda m, beta: np.exp(-m / 2),
    "aniso": lambda m, beta: np.exp(-m / 2),
    "generalized": lambda m, beta: np.exp(-(m**beta) / 2),
    "plateau": lambda m, beta: 1 / (m**beta + 1),
}
"""Radial profiles as functions of the Mahalanobis form and beta."""


@lru_cache(maxsize=256)
def separable_terms(blur: Blur) -> tuple[np.ndarray, np.ndarray]:
    """The kernel as a sum of outer products: columns, rows, float32 [terms, size] each, read-only.

    kernel[y, x] = sum over t of columns[t, y] * rows[t, x].
    """
    u, s, vt = np.linalg.svd(closed_form(blur))
    terms = int((s > SINGULAR_CUT * s[0]).sum())
    root = np.sqrt(s[:terms, None])
    columns, rows = u.T[:terms] * root, vt[:terms] * root
    columns /= (columns.sum(1) * rows.sum(1)).sum()
    columns, rows = columns.astype(np.float32), rows.astype(np.float32)
    columns.flags.writeable = rows.flags.writeable = False
    return columns, rows


def kernel(blur: Blur) -> np.ndarray:
    """The kernel that the backends execute, float32 [size, size], sum 1."""
    columns, rows = separable_terms(blur)
    return columns.T @ rows
