"""Noise fields from tables: what a pixel gains, looked up by random bits, exact to stated errors.

Random bits are words named by the plan's seed, the pixel and the channel (`loops.words`): a field is a pure function of
plan and image, and both backends look up the same words in the same tables.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtri

RATE_BITS = 12
"""A level has 2**12 Poisson quantiles. The total variation distance to the true law is below 0.01 for every rate."""


@lru_cache(maxsize=1)
def normal_table() -> np.ndarray:
    """65 536 equally likely values of N(0, 1), float32: quantiles at the middle of each bin, scaled to variance 1.

    The largest magnitude is 4.3; the distribution function is exact to 2**-16.
    """
    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    return (quantiles / quantiles.std()).astype(np.float32)


@lru_cache(maxsize=9)
def poisson_deviations(quantum: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of Poisson(v q) for q = `quantum`, v = level/255, as small whole numbers that a core's cache holds.

    Gives int8 [256, 2**RATE_BITS], entry i of a level being the quantile at (i + 1/2) / 2**RATE_BITS less the rounded
    rate, and float32 [256], the rounded rate over q less v. Levels are rates of the 8-bit image, so 256 rates a
    quantum are all there are.
    """
    probabilities = (np.arange(1 << RATE_BITS) + 0.5) / (1 << RATE_BITS)
    rates = np.arange(256) / 255 * quantum
    deviations = np.zeros((256, 1 << RATE_BITS), np.int8)  # 3.7 standard deviations of at most 16
    counts = np.arange(int(quantum + 8 * quantum**0.5 + 16))
    log_factorial = np.cumsum(np.log(np.maximum(counts, 1)))
    for level, rate in enumerate(rates[1:], start=1):
        cumulative = np.cumsum(np.exp(counts * np.log(rate) - rate - log_factorial))
        deviations[level] = np.searchsorted(cumulative, probabilities) - np.rint(rate)
    return deviations, (np.rint(rates) / quantum - rates / quantum).astype(np.float32)


def poisson_table(quantum: int) -> np.ndarray:
    """The same as noise, Poisson(v q)/q - v: float32 [256 << RATE_BITS], entry (level << RATE_BITS) + i."""
    deviations, centres = poisson_deviations(quantum)
    return (deviations * np.float32(1 / quantum) + centres[:, None]).reshape(-1)
