"""Re-weighting, the paper's alternative to re-sampling (Table 5): https://arxiv.org/abs/2506.05607"""

from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy, estimated_weights, split


@dataclass
class Reweight(Policy):
    """p = 1/n, c = n w: the weights become loss coefficients over equal volumes."""

    needs_references = True

    def interval(self, measurements: Measurements) -> Decision:
        """Coefficients in proportion to the estimated weights."""
        return split(estimated_weights(measurements), "loss")
