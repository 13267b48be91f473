"""Options of the estimator, without anything heavy, so that a command can check them before it imports NumPy."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from ..errors import UsageError, require


@dataclass(frozen=True)
class EstimatorSettings:
    """How gaps DP become weights w. The defaults are the paper's Eq. 3 and 4.

    Args:
        temperature: T in w = softmax(DP / T), dB; 1 is Eq. 4, a larger T gives more even weights; auto chooses T from
            how far HR images can tell the tasks apart, and averages the gaps over all interval boundaries so far
        floor: e in w = (1 - e) softmax + e / n, so that no weight is below e / n
        multiplicative: eta in w_t ~ w_(t-1) exp(eta DP_t / T), which drives the gaps to equality; 0 gives Eq. 4
        reference: single-task PSNR at the same_iteration (Eq. 3), or at the final iteration of the references
    """

    removed: ClassVar[Mapping[str, float]] = {"logit_ema": 0.0, "cap": 1.0, "trim": 0.0}  # no result supported them
    temperature: float | Literal["auto"] = 1.0
    floor: float = 0.0
    multiplicative: float = 0.0
    reference: Literal["same_iteration", "final"] = "same_iteration"

    def __post_init__(self) -> None:
        """Raises `UsageError` for a value out of range."""
        rules = {
            "temperature": ("positive, or auto", self.temperature == "auto" or 0 < self.temperature < math.inf),
            "floor": ("in [0, 1]", 0 <= self.floor <= 1),
            "multiplicative": ("not negative", 0 <= self.multiplicative < math.inf),
        }
        require(self, rules, "estimator.")


AIMS = {
    "worst": "the largest PSNR of the task whose PSNR is smallest",
    "gap": "the smallest distance to its own single-task network of the task that is furthest behind it",
}
"""What a mixture can be chosen for."""
FLOOR = 0.05
"""Smallest weight of a chosen mixture."""


def require_aim(aim: str, floor: float, max_loss_db: float, num_tasks: int = 1) -> None:
    """Raises `UsageError` unless there is such an aim, and the floor and the bound can be kept."""
    if aim not in AIMS:
        what = ", ".join(f"{name} ({text})" for name, text in AIMS.items())
        raise UsageError(f"aim is {aim or 'not given'}: choose one of {what}")
    if not 0 <= floor <= 1 / num_tasks:
        raise UsageError(
            f"floor is {floor}: it must be in [0, 1 / n], at most {1 / num_tasks:.3g} for {num_tasks} tasks"
        )
    if not max_loss_db >= 0:
        raise UsageError(f"max_loss_db is {max_loss_db}: it must be 0 or more")
