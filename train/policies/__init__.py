"""Policies: from evidence to sampling shares p and loss coefficients c. A new policy is one file and one line below.

One rule holds for all: p_j c_j = w_j, so that the gradient is unbiased for the weights w (method notes, Section 5).
"""

from typing import Protocol

from shared.errors import UsageError
from train.evidence import Evidence
from train.policies import rebalance, uniform


class Policy(Protocol):
    """Decides an interval. `needs_references`: whether the evidence must hold single-task networks' PSNR."""

    needs_references: bool

    def interval(self, evidence: Evidence) -> tuple[list[float], list[float]]:
        """(p, c): the share of samples of each task, sum 1, and the coefficient of its loss."""
        ...


POLICIES: dict[str, type[Policy]] = {
    "rebalance": rebalance.Rebalance,
    "uniform": uniform.Uniform,
}


def make_policy(name: str) -> Policy:
    """The policy of that name. Raises `UsageError` for an unknown one."""
    if name not in POLICIES:
        raise UsageError(f"unknown policy {name!r}: choose one of {', '.join(POLICIES)}")
    return POLICIES[name]()
