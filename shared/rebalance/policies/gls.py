"""Geometric loss strategy: minimise the geometric mean of the task losses, exp(mean_j log L_j).

Chennupati, Sistu, Yogamani, Rawashdeh, "MultiNet++", CVPR workshops 2019: https://arxiv.org/abs/1904.08492
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy

SMALLEST_LOSS = 1e-6
"""A batch of black images can have a loss of 0, which has no logarithm."""


@dataclass
class GLS(Policy):
    """The gradient of GM = (prod_j L_j)^(1/n) is sum_j GM / (n L_j) grad L_j: implied weights ~ 1 / L_j.

    GLS favours the *easy* tasks. The weights become coefficients: with c_j n_j / B = GM / (n L_j) for n_j samples of
    task j in a batch of B, the gradient is exactly that of the geometric mean.
    """

    every_step = True

    def interval(self, measurements: Measurements) -> Decision:
        """Equal volumes; `step` gives the coefficients."""
        return [1 / len(measurements.tasks)] * len(measurements.tasks), [1.0] * len(measurements.tasks)

    def step(self, number: int, losses: Sequence[float], counts: Sequence[int]) -> list[float]:
        """Coefficients from the losses of the tasks that the batch holds; the geometric mean is over those."""
        present = {task: max(losses[task], SMALLEST_LOSS) for task, count in enumerate(counts) if count}
        n, batch_size = len(present), sum(counts)
        geometric_mean = math.exp(sum(math.log(loss) for loss in present.values()) / n)
        c = [0.0] * len(counts)
        for task, loss in present.items():
            c[task] = geometric_mean / (n * loss) * batch_size / counts[task]
        return c
