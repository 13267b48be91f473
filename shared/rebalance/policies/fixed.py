"""A constant mixture that the user gives."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...config import option
from ...errors import UsageError
from ..measurements import Measurements
from .policy import Decision, Policy, normalised, split


@dataclass
class Fixed(Policy):
    """p = the weights given, divided by their sum, c = 1."""

    weights: str = option("", "mild=0.31,blur=0.12,noise=0.53,severe=0.04, or a file that plan-mixture wrote")
    by_task: Mapping[str, float] = field(init=False)

    def __post_init__(self) -> None:
        if not self.weights:
            raise UsageError("policy fixed needs --policy-options.weights: task=weight,task=weight or a file")
        self.by_task = parse_mixture(self.weights)

    def require_tasks(self, tasks: Sequence[str]) -> None:
        """Every task needs a weight, and no other name may have one."""
        require_weights(self.by_task, tasks, "policy_options.weights")

    def interval(self, measurements: Measurements) -> Decision:
        """The same shares in every interval."""
        return split(normalised([self.by_task[task] for task in measurements.tasks]), "sampling")


def parse_mixture(text: str) -> dict[str, float]:
    """Weights by task of `task=weight,task=weight`. Raises `UsageError` for anything else."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not name or name in weights or not 0 <= number < math.inf:
            raise UsageError(f"weights are {text!r}: {part!r} must be task=weight, not negative, each task once")
        weights[name] = number
    return weights


def write_mixture(weights: Mapping[str, float]) -> str:
    """The text that `parse_mixture` reads."""
    return ",".join(f"{task}={weight:.15g}" for task, weight in weights.items())


def require_weights(weights: Mapping[str, float], tasks: Sequence[str], what: str) -> None:
    """Raises `UsageError` unless exactly these tasks have weights, not all of them zero."""
    if weights.keys() != set(tasks) or not sum(weights.values()):
        raise UsageError(
            f"{what} names {', '.join(weights)}, the tasks are {', '.join(tasks)}: give each of them a weight, 0 to "
            "leave it out, and not 0 to all"
        )
