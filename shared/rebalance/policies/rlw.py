"""Random loss weighting: the softmax of independent normal numbers, drawn anew at every step.

Lin, Ye, Zhang, Tsang, "Reasonable effectiveness of random weighting", TMLR 2022: https://arxiv.org/abs/2111.10603
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ...config import option
from ..measurements import Measurements
from .policy import Decision, Form, Policy, normalised, split


@dataclass
class RLW(Policy):
    """w = softmax(N(0, I)): c = n w at every step, or p = w for an interval."""

    every_step = True
    form: Form = option(
        "loss", "loss: new coefficients every step, as in the paper; sampling: new volumes every interval"
    )

    def interval(self, measurements: Measurements) -> Decision:
        """Equal volumes while `step` changes the coefficients, or random volumes."""
        n = len(measurements.tasks)
        if self.form == "sampling":
            return split(_weights(n, self.seed, "rlw interval", measurements.interval), "sampling")
        return [1 / n] * n, [1.0] * n

    def step(self, number: int, losses: Sequence[float], counts: Sequence[int]) -> list[float]:
        """c = n w, keyed by seed and step."""
        n = len(losses)
        return [1.0] * n if self.form == "sampling" else split(_weights(n, self.seed, "rlw", number), "loss")[1]


def _weights(n: int, *key: int | str) -> list[float]:
    from ...seeds import Draws  # here, because it imports Numba and a policy's name must be known without

    draws, normal = Draws(*key), NormalDist()
    return normalised([math.exp(normal.inv_cdf(draws.unit() + 2.0**-54)) for _ in range(n)])
