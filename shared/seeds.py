"""The one module that makes random numbers: counter-based streams named by a key, never a global state.

A stream is Philox keyed by a hash of (seed, names, indices), so any row, epoch or ticket can be drawn anywhere,
in any order. Only raw bits of NumPy's generators are used: bit streams are stable between NumPy versions,
`Generator` methods are not.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = int | str
T = TypeVar("T")
WORDS_AT_ONCE = 32
"""About as many as a plan draws: one by one, NumPy is slow."""
WORD = (1 << 64) - 1


def philox(*key: Key) -> np.random.Philox:
    """The bit generator named by `key`; equal keys give equal streams on every machine."""
    return np.random.Philox(key=_hash(key))


def _hash(key: tuple[Key, ...]) -> int:
    name = json.dumps(key).encode()  # no two keys have one text, and nothing but plain numbers and strings has any
    return int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")


class Draws:
    """Scalar draws from the stream named by `key`, one 64-bit word each."""

    def __init__(self, *key: Key) -> None:
        bits = philox(*key)
        batches = iter(lambda: bits.random_raw(WORDS_AT_ONCE).tolist(), None)
        self._words = itertools.chain.from_iterable(batches)

    def word(self) -> int:
        """64 random bits."""
        return next(self._words)

    def unit(self) -> float:
        """U[0, 1)."""
        return (self.word() >> 11) * 2.0**-53

    def uniform(self, low: float, high: float) -> float:
        """U[low, high)."""
        return low + self.unit() * (high - low)

    def coin(self, probability: float) -> bool:
        """True with the given probability."""
        return self.unit() < probability

    def integer(self, count: int) -> int:
        """One of 0 .. count - 1."""
        return (self.word() * count) >> 64

    def choice(self, options: Sequence[T]) -> T:
        """One of the options, equally likely."""
        return options[self.integer(len(options))]

    def pick(self, probabilities: Mapping[str, float]) -> str:
        """One of the names, with its probability; the probabilities must sum to 1."""
        threshold, names = self.unit(), list(probabilities)
        for name in names[:-1]:
            threshold -= probabilities[name]
            if threshold < 0:
                return name
        return names[-1]


def coin(*key: Key) -> bool:
    """`Draws(*key).coin(0.5)`, in half of its time: the first word of Philox 4 x 64 with ten rounds, by hand."""
    number = _hash(key)
    key0, key1, (a, b, c, d) = number & WORD, number >> 64, (1, 0, 0, 0)
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * a, 0xCA5A826395121157 * c
        a, b, c, d = (second >> 64) ^ b ^ key0, second & WORD, (first >> 64) ^ d ^ key1, first & WORD
        key0, key1 = (key0 + 0x9E3779B97F4A7C15) & WORD, (key1 + 0xBB67AE8584CAA73B) & WORD
    return a < 1 << 63


def word_keys(seeds: Sequence[int]) -> np.ndarray:
    """Two 32-bit keys a seed for fields of random words, uint32 [n, 2]: SplitMix64, so neighbours are far apart."""
    z = np.array(seeds, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).astype("<u8").view("<u4").reshape(-1, 2)


def permutation(count: int, *key: Key) -> np.ndarray:
    """A uniform permutation of 0 .. count - 1, int64 [count]."""
    return np.argsort(philox(*key).random_raw(count), kind="stable")
