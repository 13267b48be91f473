"""TGSR-style task grouping: a group is drawn uniformly, then a task within it. The mixture is constant.

Zhang et al., "Real-world image super-resolution as multi-task learning", NeurIPS 2023:
https://proceedings.neurips.cc/paper_files/paper/2023/file/42806406dd99e30c3796bc98b2670fa2-Paper-Conference.pdf
"""

from collections import Counter
from dataclasses import dataclass

from ..measurements import Measurements
from .policy import Decision, Policy


@dataclass
class TGSR(Policy):
    """p_j = 1 / (groups x tasks in the group of j), c = 1. Group 0, the whole space, is the run's own tasks.

    A threshold that no plan exceeds makes no group; without groups the policy is uniform.
    """

    needs_groups = True

    def interval(self, measurements: Measurements) -> Decision:
        """Every group gets the same share, and every task of a group the same part of it."""
        groups = measurements.groups or [0] * len(measurements.tasks)
        sizes = Counter(groups)
        return [1 / (len(sizes) * sizes[group]) for group in groups], [1.0] * len(groups)
