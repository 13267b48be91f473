"""Controlled data rebalancing, the paper's method: more samples where the shared network is behind (Eq. 3, 4, 12).

https://arxiv.org/abs/2506.05607
"""

from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy, estimated_weights, split


@dataclass
class Rebalance(Policy):
    """p = w, c = 1: the weights become data volumes ("re-sampling" in Table 5)."""

    needs_references = True

    def interval(self, measurements: Measurements) -> Decision:
        """Shares equal to the estimated weights."""
        return split(estimated_weights(measurements), "sampling")
