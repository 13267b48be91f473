"""Noise fields from tables: what a pixel gains, looked up by random bits, exact to stated errors.

Random bits are words named by the plan's seed (`shared.seeds.words16`): a field is a pure function of plan and picture.
Tables replace the arithmetic of a sampler by one look-up a value; both backends can use them.
"""

from functools import lru_cache

import numpy as np
from scipy.special import ndtri

RATE_BITS = 12
"""Poisson quantiles per level: 2**12. Total variation to the true law is below .01 for every level and rate."""


@lru_cache(maxsize=1)
def normal_table() -> np.ndarray:
    """65 536 equally likely values of N(0, 1), float32: quantiles at the middle of each bin, scaled to variance 1.

    The largest magnitude is 4.3; the distribution function is exact to 2**-16.
    """
    quantiles = ndtri((np.arange(65536) + 0.5) / 65536)
    return (quantiles / quantiles.std()).astype(np.float32)


@lru_cache(maxsize=9)
def poisson_table(quantum: int) -> np.ndarray:
    """Noise of a level under Poisson(v q)/q - v for q = `quantum`, v = level/255: float32 [256 << RATE_BITS].

    Entry (level << RATE_BITS) + i is the quantile at (i + 1/2) / 2**RATE_BITS. Levels are rates of the 8-bit picture,
    so 256 rates a quantum are all there are.
    """
    probabilities = (np.arange(1 << RATE_BITS) + 0.5) / (1 << RATE_BITS)
    table = np.zeros((256, 1 << RATE_BITS), np.float32)
    counts = np.arange(int(quantum + 8 * quantum**0.5 + 16))
    log_factorial = np.cumsum(np.log(np.maximum(counts, 1)))
    for level in range(1, 256):
        rate = level / 255 * quantum
        cumulative = np.cumsum(np.exp(counts * np.log(rate) - rate - log_factorial))
        table[level] = np.searchsorted(cumulative, probabilities) / quantum - level / 255
    return table.reshape(-1)
