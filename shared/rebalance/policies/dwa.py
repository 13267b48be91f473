"""Dynamic weight average: more weight where the training loss falls slowly.

Liu, Johns, Davison, "End-to-end multi-task learning with attention", CVPR 2019: https://arxiv.org/abs/1803.10704
"""

import math
from dataclasses import dataclass

from ...config import option
from ...errors import require
from ..measurements import Measurements
from .policy import Decision, Form, Policy, normalised, split


@dataclass
class DWA(Policy):
    """r_j = mean loss of the last interval / of the one before, w = softmax(r / T); uniform for the first two."""

    temperature: float = option(2.0, "T, larger is more even")
    form: Form = option("loss", "loss: weights as coefficients, the paper's; sampling: as volumes")

    def __post_init__(self) -> None:
        require(self, {"temperature": ("positive", 0 < self.temperature < math.inf)})

    def interval(self, measurements: Measurements) -> Decision:
        """Weights by the last two intervals' losses; a task without samples in one of them counts as steady."""
        ratios = [1.0] * len(measurements.tasks)
        if len(measurements.losses) == 2:
            pairs = zip(*measurements.losses, strict=True)
            ratios = [last / before if last is not None and before else 1.0 for before, last in pairs]
        largest = max(ratios)
        return split(normalised([math.exp((r - largest) / self.temperature) for r in ratios]), self.form)
