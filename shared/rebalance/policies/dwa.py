"""Dynamic weight average: a task gets more weight when its training loss falls slowly.

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
    """w = softmax(r / T), r_j = mean loss of the last interval / of the one before; uniform in the first two."""

    temperature: float = option(2.0, "T; a larger T gives more even weights")
    form: Form = option("loss", "loss: the weights are coefficients, as in the paper; sampling: they are volumes")

    def __post_init__(self) -> None:
        require(self, {"temperature": ("positive", 0 < self.temperature < math.inf)})

    def interval(self, measurements: Measurements) -> Decision:
        """The weights follow the losses of the last two intervals; without samples in one of them r_j is 1."""
        ratios = [1.0] * len(measurements.tasks)
        if len(measurements.losses) == 2:
            pairs = zip(*measurements.losses, strict=True)
            ratios = [last / before if last is not None and before else 1.0 for before, last in pairs]
        largest = max(ratios)
        return split(normalised([math.exp((r - largest) / self.temperature) for r in ratios]), self.form)
