"""Blur kernels: from a plan's parameters to pixels, as short sums of separable kernels.

Formulas follow Real-ESRGAN (paper Section 3; families: docs/method.md, Readings). Both backends execute the *same*
kernel: the singular value decomposition cut at `SINGULAR_CUT` of the largest value and renormalised to sum 1. That sum
is the kernel. It differs from the closed form by a part of the order of the cut, and an isotropic Gaussian, which is
separable, by nothing but rounding.
"""

from functools import lru_cache

import numpy as np
from scipy.special import j1

from ..compiled import compiled
from .plan import Blur

USM_WEIGHT, USM_THRESHOLD_255, USM_SIZE, USM_SIGMA = 0.5, 10, 51, 8.0
"""Real-ESRGAN's unsharp mask of HR images: weight, threshold in levels, and size and sigma of its Gaussian, pixels."""
SINGULAR_CUT = 1e-4
"""Singular values below this share of the largest are dropped."""
Terms = tuple[np.ndarray, np.ndarray]
"""A sum of separable kernels: columns and rows, float32 [terms, size] each."""


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
    x, y = _grid(blur.size)
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


@lru_cache(maxsize=64)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x (columns) and y (rows) of every tap, the origin at the centre, float64 [size, size]."""
    taps = np.arange(size, dtype=np.float64) - size // 2
    return np.broadcast_to(taps, (size, size)), np.broadcast_to(taps[:, None], (size, size))


PROFILES = {
    "iso": lambda m, beta: np.exp(-m / 2),
    "aniso": lambda m, beta: np.exp(-m / 2),
    "generalized": lambda m, beta: np.exp(-(m**beta) / 2),
    "plateau": lambda m, beta: 1 / (m**beta + 1),
}
"""Radial profiles as functions of the Mahalanobis form and beta."""


@lru_cache(maxsize=256)
def separable_terms(blur: Blur) -> Terms:
    """The kernel as a sum of outer products: columns, rows, float32 [terms, size] each, read-only.

    kernel[y, x] = sum over t of columns[t, y] * rows[t, x]; both vectors of a term are even, or both odd, exactly.
    """
    terms = _gaussian_term(blur) if blur.family == "iso" else _normalised(*_singular_terms(closed_form(blur)))
    for vectors in terms:
        vectors.flags.writeable = False
    return terms


def _gaussian_term(blur: Blur) -> Terms:
    """An isotropic Gaussian is the product of two of one dimension."""
    line = np.exp(-((np.arange(blur.size) - blur.size // 2) ** 2) / (2 * blur.sigma_x**2))
    line = (line / line.sum()).astype(np.float32)[None]
    return line, line.copy()


@compiled
def _singular_terms(weights):
    """The singular value decomposition of a kernel that is the same upside down, cut at `SINGULAR_CUT`.

    Such a kernel takes even vectors to even ones and odd to odd ones. So it is decomposed in two bases, delta(0) and
    (delta(k) +- delta(-k)) / sqrt(2), for k = 1 .. size // 2: two matrices of a quarter of its size.
    """
    margin = len(weights) // 2
    fold, quarters = np.full(margin + 1, np.sqrt(2.0)), np.empty((2, margin + 1, margin + 1))
    fold[0] = 1.0
    num_parities = 2 if _fold(weights, fold, quarters) else 1
    left, right, singular = np.empty_like(quarters), np.empty_like(quarters), np.zeros((2, margin + 1))
    for parity in range(num_parities):
        u, sigma, v = np.linalg.svd(quarters[parity])
        for j in range(margin + 1):
            singular[parity, j] = sigma[j]
            for k in range(margin + 1):
                left[parity, j, k], right[parity, j, k] = u[j, k], v[j, k]
    least, kept = SINGULAR_CUT * max(singular[0, 0], singular[1, 0]), np.zeros(2, np.int64)
    for parity in range(num_parities):
        for value in singular[parity]:
            kept[parity] += value > least
    columns, rows = np.empty((kept[0] + kept[1], len(weights))), np.empty((kept[0] + kept[1], len(weights)))
    for parity in range(num_parities):
        for term in range(kept[parity]):
            i, root = parity * kept[0] + term, np.sqrt(singular[parity, term])
            for offset in range(-margin, margin + 1):
                k, signed = abs(offset), (-root if parity == 1 and offset < 0 else root)
                columns[i, margin + offset] = left[parity, k, term] / fold[k] * signed
                rows[i, margin + offset] = right[parity, term, k] / fold[k] * signed
    return columns, rows


@compiled
def _fold(weights, fold, quarters):
    """The kernel in the even and the odd basis, into float64 [2, n, n]; whether it has an odd part."""
    margin, has_odd = len(weights) // 2, False
    for j in range(margin + 1):
        for k in range(margin + 1):
            below, above = weights[margin + j, margin + k], weights[margin - j, margin + k]
            scale = fold[j] * fold[k] / 2
            quarters[0, j, k], quarters[1, j, k] = (below + above) * scale, (below - above) * scale
            has_odd |= quarters[1, j, k] != 0
    return has_odd


@compiled
def _normalised(columns, rows):
    """The terms scaled to a kernel of sum 1, float32."""
    total = 0.0
    for i in range(len(columns)):
        total += columns[i].sum() * rows[i].sum()
    scaled, same = np.empty(columns.shape, np.float32), np.empty(rows.shape, np.float32)
    for i in range(columns.shape[0]):
        for k in range(columns.shape[1]):
            scaled[i, k], same[i, k] = columns[i, k] / total, rows[i, k]
    return scaled, same


def kernel(blur: Blur) -> np.ndarray:
    """The kernel that the backends execute, float32 [size, size], sum 1."""
    columns, rows = separable_terms(blur)
    return columns.T @ rows
