"""Equal volumes for all tasks: what training on the union of equally likely subspaces does."""

from train.evidence import Evidence


class Uniform:
    """p = 1/n, c = 1."""

    needs_references = False

    def interval(self, evidence: Evidence) -> tuple[list[float], list[float]]:
        """Equal shares."""
        return [1 / len(evidence.tasks)] * len(evidence.tasks), [1.0] * len(evidence.tasks)
