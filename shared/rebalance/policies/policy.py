"""What a policy is, and the rule that all of them keep: p_j c_j = w_j (docs/method.md, Policies).

One draw J ~ p of a task with gradient G_J gives Z = (w_J / p_J) G_J; E[Z] is the gradient of sum_j w_j L_j if p_j > 0
wherever w_j > 0. So a weight w_j may become a volume p_j, a coefficient c_j, or both in any split.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from ..measurements import Measurements

Decision = tuple[list[float], list[float]]
"""(p, c): the share of samples of each task, sum 1, and the coefficient of its loss."""
Form = Literal["loss", "sampling"]


@dataclass
class Policy:
    """Decides how much of each task an interval trains. Its options are the fields that a subclass adds.

    needs_references, needs_moments: whether the measurements must hold the PSNR of single-task networks, and the
    moments of the tasks' gradients. needs_groups: whether frozen plans are trained on beside the tasks. needs_mixture:
    whether a mixture must be chosen before the run. every_step: whether `step` gives the coefficients instead of
    `interval`. seed: the run's. memory: all that is remembered from boundary to boundary, by name one number of at
    least 0 for each task; the checkpoint holds it.
    """

    needs_references: ClassVar[bool] = False
    needs_moments: ClassVar[bool] = False
    needs_groups: ClassVar[bool] = False
    needs_mixture: ClassVar[bool] = False
    every_step: ClassVar[bool] = False
    seed: int = field(default=0, init=False)
    memory: dict[str, list[float]] = field(default_factory=dict, init=False)

    def require_tasks(self, tasks: Sequence[str]) -> None:
        """Raises `UsageError`, before anything is trained, when the options do not fit these tasks."""

    def interval(self, measurements: Measurements) -> Decision:
        """Shares and coefficients of the interval that begins."""
        raise NotImplementedError

    def step(self, number: int, losses: Sequence[float], counts: Sequence[int]) -> list[float]:
        """Coefficients of step `number`, from each task's mean loss (NaN without samples) and samples in its batch."""
        raise NotImplementedError


def estimated_weights(measurements: Measurements) -> list[float]:
    """w of Eq. 4. Raises ValueError when nothing was estimated."""
    if measurements.estimate is None:
        raise ValueError("this policy needs the PSNR of single-task references")
    return measurements.estimate.weights


def split(weights: Sequence[float], form: Form) -> Decision:
    """Weights as coefficients over equal volumes (`loss`), or as volumes (`sampling`)."""
    n = len(weights)
    return ([1 / n] * n, [n * w for w in weights]) if form == "loss" else (list(weights), [1.0] * n)


def normalised(values: Sequence[float]) -> list[float]:
    """Values divided by their sum; equal ones when they are all zero."""
    total = sum(values)
    return [value / total for value in values] if total else [1 / len(values)] * len(values)


def floored(weights: Sequence[float], floor: float) -> list[float]:
    """Weights of sum 1 with those below the floor raised to it, and the others scaled so that the sum stays 1."""
    low: set[int] = set()
    while True:
        free = sum(w for i, w in enumerate(weights) if i not in low)
        scale = (1 - floor * len(low)) / free if low else 1.0
        found = [floor if i in low else w * scale for i, w in enumerate(weights)]
        below = {i for i, w in enumerate(found) if w < floor} - low
        if not below or len(low | below) == len(weights):
            return found
        low |= below
