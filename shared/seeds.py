"""The one module that makes random numbers: counter-based streams named by a key, never a global state.

A stream is Philox keyed by a hash of (seed, names, indices), so any row, epoch or ticket can be drawn anywhere,
in any order. Only raw bits of NumPy's generators are used: bit streams are stable between NumPy versions,
`Generator` methods are not.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = int | str
T = TypeVar("T")


def philox(*key: Key) -> np.random.Philox:
    """The bit generator named by `key`; equal keys give equal streams on every machine."""
    return np.random.Philox(key=_hash(key))


def _hash(key: tuple[Key, ...]) -> int:
    name = json.dumps(key).encode()  # no two keys have one text, and nothing but plain numbers and strings has any
    return int.from_bytes(hashlib.blake2b(name, digest_size=16).digest(), "little")


class Draws:
    """Scalar draws from the stream named by `key`, one 64-bit word each."""

    def __init__(self, *key: Key) -> None:
        self._bits = philox(*key)

    def word(self) -> int:
        """64 random bits."""
        return int(self._bits.random_raw())

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


def words16(count: int, *key: Key) -> np.ndarray:
    """`count` uniform 16-bit words, uint16 [count]; for fields of noise, so from SFC64, twice as fast as Philox."""
    return np.random.SFC64(_hash(key)).random_raw(-(-count // 4)).astype("<u8", copy=False).view("<u2")[:count]


def permutation(count: int, *key: Key) -> np.ndarray:
    """A uniform permutation of 0 .. count - 1, int64 [count]."""
    return np.argsort(philox(*key).random_raw(count), kind="stable")
