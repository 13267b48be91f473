"""The paper's hybrid of re-sampling and re-weighting (appendix A.2.2), made realisable.

As printed, tasks with w_j >= 1/n get p_j = w_j and the others 1/n, which sums to M = sum max(w_j, 1/n) > 1: no such
distribution exists. Divided by M it does; p_j c_j = w_j then asks for c_j = M min(1, n w_j), and
E[Z^2] <= M min(re-weighting, re-sampling) (docs/method.md, Policies). https://arxiv.org/abs/2506.05607
"""

from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy, estimated_weights


@dataclass
class Hybrid(Policy):
    """p = max(w, 1/n) / M, c = M min(1, n w)."""

    needs_references = True

    def interval(self, measurements: Measurements) -> Decision:
        """Tasks above 1 / n get more samples, tasks below it smaller coefficients."""
        w, n = estimated_weights(measurements), len(measurements.tasks)
        total = sum(max(each, 1 / n) for each in w)
        return [max(each, 1 / n) / total for each in w], [total * min(1.0, n * each) for each in w]
