"""Equal volumes for all tasks: what training on the union of equally likely subspaces does."""

from dataclasses import dataclass

from ..measurements import Evidence
from .policy import Decision, Policy


@dataclass
class Uniform(Policy):
    """p = 1/n, c = 1."""

    def interval(self, evidence: Evidence) -> Decision:
        """Equal shares."""
        return [1 / len(evidence.tasks)] * len(evidence.tasks), [1.0] * len(evidence.tasks)
