"""The compiled loops behind shared/seeds.py, in a module of their own because Numba takes half a second to import."""

import numpy as np

from .compiled import compiled, high_product

PHILOX_FACTOR_0, PHILOX_FACTOR_1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
PHILOX_KEY_STEP_0, PHILOX_KEY_STEP_1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


@compiled
def philox(key, first, out):
    """Words `first` and following, a multiple of 4, of Philox 4 x 64 with ten rounds, into uint64 [n].

    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011; the counter of the first four words is 1.
    """
    for start in range(0, out.size, 4):
        key0, key1 = key[0], key[1]
        a, b, c, d = np.uint64((first + start) // 4 + 1), np.uint64(0), np.uint64(0), np.uint64(0)
        for _ in range(10):
            first_high, second_high = high_product(PHILOX_FACTOR_0, a), high_product(PHILOX_FACTOR_1, c)
            a, b, c, d = second_high ^ b ^ key0, PHILOX_FACTOR_1 * c, first_high ^ d ^ key1, PHILOX_FACTOR_0 * a
            key0, key1 = key0 + PHILOX_KEY_STEP_0, key1 + PHILOX_KEY_STEP_1
        for i, word in enumerate((a, b, c, d)):
            if start + i < out.size:
                out[start + i] = word


@compiled
def split_mix(numbers):
    """The first output of SplitMix64 for each seed, in place; Steele, Lea and Flood, OOPSLA 2014."""
    for i in range(numbers.size):
        z = numbers[i] + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        numbers[i] = z ^ (z >> np.uint64(31))
