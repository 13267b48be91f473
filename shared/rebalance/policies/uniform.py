"""Equal volumes for all tasks, which is training on the union of equally likely tasks."""

from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy


@dataclass
class Uniform(Policy):
    """p = 1/n, c = 1."""

    def interval(self, measurements: Measurements) -> Decision:
        """Equal shares."""
        return [1 / len(measurements.tasks)] * len(measurements.tasks), [1.0] * len(measurements.tasks)
