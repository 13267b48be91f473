"""Defensive sampling needs no knowledge of the gradients, because no coefficient exceeds 1 / (1 - a).

Hesterberg, "Weighted average importance sampling and defensive mixture distributions", Technometrics 37(2), 1995:
https://doi.org/10.1080/00401706.1995.10484303
"""

from dataclasses import dataclass

from ...config import option
from ...errors import require
from ..measurements import Measurements
from .policy import Decision, Policy, estimated_weights


@dataclass
class Defensive(Policy):
    """p = (1 - a) w + a / n, c = w / p."""

    needs_references = True
    uniform_share: float = option(0.1, "a, the share of equal volumes, in (0, 1)")

    def __post_init__(self) -> None:
        require(self, {"uniform_share": ("in (0, 1)", 0 < self.uniform_share < 1)})

    def interval(self, measurements: Measurements) -> Decision:
        """Every task keeps at least a / n of the samples."""
        w, n, a = estimated_weights(measurements), len(measurements.tasks), self.uniform_share
        p = [(1 - a) * each + a / n for each in w]
        return p, [each / share for each, share in zip(w, p, strict=True)]
