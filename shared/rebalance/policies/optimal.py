"""The sampling distribution of least variance, from measured gradient moments (docs/method.md, Moments).

Alain, Lamb, Sankar, Courville, Bengio, "Variance reduction in SGD by distributed importance sampling", 2015:
https://arxiv.org/abs/1511.06481; for stratified counts it is Neyman's allocation, https://doi.org/10.2307/2342192
"""

import math
from dataclasses import dataclass
from typing import Literal

from ...config import option
from ..measurements import Measurements
from .policy import Decision, Policy, estimated_weights, normalised

SMALLEST_SPREAD = 1e-3
"""As a share of the largest spread: an unlucky measurement makes no coefficient a thousand times another."""


@dataclass
class Optimal(Policy):
    """p_j ~ w_j s_j, c_j = w_j / p_j: s = sqrt(Var) for the counts of this trainer, which are stratified.

    sum w_j^2 s_j^2 / p_j is then (sum w_j s_j)^2, its minimum over p. For random draws s is sqrt(E).
    """

    needs_references = True
    needs_moments = True
    draws: Literal["stratified", "random"] = option(
        "stratified", "stratified: s = sqrt(Var), which fits exact counts; random: s = sqrt(E)"
    )

    def interval(self, measurements: Measurements) -> Decision:
        """Tasks whose weighted gradients are noisy get more samples."""
        w, moments = estimated_weights(measurements), measurements.moments
        if moments is None:
            raise ValueError("optimal needs the moments of the tasks' gradients")
        spreads = [math.sqrt(m) for m in (moments.variance if self.draws == "stratified" else moments.second)]
        smallest = SMALLEST_SPREAD * max(spreads) or 1.0
        p = normalised([weight * max(s, smallest) for weight, s in zip(w, spreads, strict=True)])
        return p, [weight / share if share else 1.0 for weight, share in zip(w, p, strict=True)]
