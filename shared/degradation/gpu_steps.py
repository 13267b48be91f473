"""The part of a plan's execution that the host does before the device: it needs NumPy alone, so loader workers do it.

The decomposition of a kernel takes 0.1 to 0.2 ms, so a batch of 48 would delay the training process by 10 ms.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .kernels import Terms, separable_terms
from .plan import Plan, Resize

Steps = tuple[tuple[str, Any], ...]
"""(operator, parameters) as in `Plan.steps`, but those of a blur or resize are a `Filter`."""


class Filter(NamedTuple):
    """A blur by the terms of its kernel, if any, then a resize, if any: nothing is rounded between the two."""

    blur: Terms | None = None
    resize: Resize | None = None

    def size_after(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an image that had another."""
        return (self.resize.height, self.resize.width) if self.resize else size


def steps_of(plan: Plan, lr_height: int, lr_width: int) -> Steps:
    """The steps of a plan for an LR image of that size: kernels decomposed, a resize joined to the blur before it."""
    return tuple(_joined(plan.steps(lr_height, lr_width)))


def _joined(steps: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    blur = None
    for operator, value in steps:
        if operator == "resize":
            yield ("blur" if blur else "resize"), Filter(blur, value)
            blur = None
            continue
        if blur:
            yield "blur", Filter(blur)
        blur = separable_terms(value) if operator == "blur" else None
        if not blur:
            yield operator, value
    if blur:
        yield "blur", Filter(blur)
