"""What the host works out of a plan before a device executes it: NumPy alone, so that loader workers can do it ahead.

A decomposition of a kernel takes .1 to .2 ms; those of a batch of 48 would keep the training process for 10 ms a step.
"""

from typing import Any

from shared.degradation.kernels import separable_terms
from shared.degradation.plan import Plan

Steps = tuple[tuple[str, Any], ...]
"""(operator, parameters) as in `Plan.steps`, where those of a blur are the terms of its kernel."""


def steps_of(plan: Plan, lr_height: int, lr_width: int) -> Steps:
    """The steps of a plan for an LR image of that size, kernels decomposed."""
    steps = plan.steps(lr_height, lr_width)
    return tuple((name, separable_terms(value) if name == "blur" else value) for name, value in steps)
