"""More samples where the PSNR is low, without references: group DRO on the validation PSNR.

Sagawa, Koh, Hashimoto, Liang, "Distributionally robust neural networks", ICLR 2020: https://arxiv.org/abs/1911.08731
updates the weights by the training losses; here they follow the PSNR at every interval boundary. The rule trains mostly
the hard tasks, and ignores what the other tasks lose.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...config import option
from ...errors import require
from ..measurements import Measurements
from .policy import Decision, Policy, floored, normalised, split


@dataclass
class Worst(Policy):
    """log w_i <- log w_i - eta (PSNR_i - mean PSNR), from equal weights on, never below the floor; p = w, c = 1."""

    eta: float = option(1.0, "change of log w for each dB below the mean")
    floor: float = option(0.03, "smallest weight, at most 1 / n")

    def __post_init__(self) -> None:
        require(self, {"eta": ("positive", 0 < self.eta < math.inf), "floor": ("in [0, 1]", 0 <= self.floor <= 1)})

    def require_tasks(self, tasks: Sequence[str]) -> None:
        """The floor must leave room for all tasks."""
        most = 1 / len(tasks)
        require(self, {"floor": (f"at most 1 / n, {most:.3g} for {len(tasks)} tasks", self.floor <= most)})

    def interval(self, measurements: Measurements) -> Decision:
        """The weights of the last interval, moved towards the tasks of low PSNR."""
        n = len(measurements.tasks)
        before = self.memory.get("weights", [1 / n] * n)
        psnr_db = [round(float(row.mean()), 4) for row in measurements.shared_db]  # equal networks tie
        lowest = min(psnr_db)
        moved = [w * math.exp(-self.eta * (value - lowest)) for w, value in zip(before, psnr_db, strict=True)]
        self.memory["weights"] = floored(normalised(moved), self.floor)
        return split(self.memory["weights"], "sampling")
