"""The one module that makes random numbers: counter-based streams named by a key, never a global state.

A stream is Philox keyed by a hash of (seed, names, indices), so any row, epoch or ticket can be drawn anywhere,
in any order. Its words are those of NumPy's `Philox(key)`, whose object takes longer to make than a plan to draw.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

Key = int | str
T = TypeVar("T")
WORDS_AT_ONCE = 32
"""About as many as a plan draws."""


def words(count: int, *key: Key) -> np.ndarray:
    """The first words of the stream named by `key`, uint64 [count]; equal keys give equal words on every machine."""
    return _words(_hash(key), 0, count)


def _words(number: np.ndarray, first: int, count: int) -> np.ndarray:
    from .philox import philox  # Numba takes half a second to import

    out = np.empty(count, np.uint64)
    philox(number, first, out)
    return out


def _hash(key: tuple[Key, ...]) -> np.ndarray:
    """A number of 128 bits, uint64 [2], the lower half first."""
    name = json.dumps(key).encode()  # no two keys have one text, and nothing but plain numbers and strings has any
    return np.frombuffer(hashlib.blake2b(name, digest_size=16).digest(), "<u8")


class Draws:
    """Scalar draws from the stream named by `key`, one 64-bit word each."""

    def __init__(self, *key: Key) -> None:
        self._words = _stream(key)

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


def _stream(key: tuple[Key, ...]) -> Iterator[int]:
    number = _hash(key)
    for first in itertools.count(0, WORDS_AT_ONCE):
        yield from _words(number, first, WORDS_AT_ONCE).tolist()


def word_keys(seeds: Sequence[int]) -> np.ndarray:
    """Two 32-bit keys a seed for fields of random words, uint32 [n, 2]: SplitMix64, so neighbours are far apart."""
    from .philox import split_mix

    keys = np.array(seeds, np.uint64)
    split_mix(keys)
    return keys.astype("<u8", copy=False).view("<u4").reshape(-1, 2)


def permutation(count: int, *key: Key) -> np.ndarray:
    """A uniform permutation of 0 .. count - 1, int64 [count]."""
    return np.argsort(words(count, *key), kind="stable")
