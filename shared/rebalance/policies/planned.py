"""The mixture that short references predict to be best for an aim: pilot, choice and run in one command."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...config import option
from ..measurements import Measurements
from ..options import FLOOR, require_aim
from .fixed import require_weights
from .policy import Decision, Policy, normalised, split


@dataclass
class Planned(Policy):
    """p = the mixture chosen before the run (`shared.rebalance.surface.best_mixture`), c = 1.

    weights: the chosen mixture, set before the first interval.
    """

    needs_mixture = True
    aim: str = option("", "worst: raise the lowest PSNR of a task; gap: reduce the largest gap; there is no default")
    floor: float = option(FLOOR, "smallest weight, at most 1 / n")
    max_loss_db: float = option(math.inf, "most that any task may lose against equal volumes, as predicted, dB")
    weights: Mapping[str, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        require_aim(self.aim, self.floor, self.max_loss_db)

    def require_tasks(self, tasks: Sequence[str]) -> None:
        """The floor must leave room for all tasks."""
        require_aim(self.aim, self.floor, self.max_loss_db, len(tasks))

    def interval(self, measurements: Measurements) -> Decision:
        """The same shares in every interval."""
        if self.weights is None:
            raise ValueError("policy planned needs the mixture of a pilot")
        require_weights(self.weights, measurements.tasks, "the chosen mixture")
        return split(normalised([self.weights[task] for task in measurements.tasks]), "sampling")
