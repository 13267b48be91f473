"""From weights to counts, and from counts to an order of slots (paper Eq. 12): integers, exact, free of state."""

import math
import operator
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ..compiled import compiled
from ..errors import UsageError
from ..seeds import Draws


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Quotas N_i of `total` samples in proportion to the weights, by largest remainder; their sum is exactly `total`.

    Zero weights get zero. Equal remainders go to the earlier task; exact arithmetic finds them equal when they are.
    Raises ValueError for negative, non-finite or all-zero weights.
    """
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise ValueError(f"weights are {list(weights)}: they must be finite, not negative and not all zero")
    exact = [Fraction(float(weight)) for weight in weights]
    shares = [weight / sum(exact) * total for weight in exact]
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda task: counts[task] - shares[task])
    for task in by_remainder[: total - sum(counts)]:
        counts[task] += 1
    return counts


def order(quotas: Sequence[int], seed: int, interval: int) -> np.ndarray:
    """The task of every slot of an interval, int64 [sum of quotas].

    Tasks are spread as evenly as can be: in any stretch of slots, so in any batch, the count of a task is within n/2 of
    its ratio, for n >= 2 tasks with slots. Tijdeman's chairman assignment (Discrete Mathematics 32, 1980) keeps every
    task within 1 - 1 / (2n - 2) of its ratio from the start on; a keyed rotation then varies the intervals, and keeps
    the bound, because the stretch that it cuts open is the complement of one that it does not.
    """
    draws = Draws(seed, "slots", interval)
    slots = _assign(quotas)
    return np.roll(slots, draws.integer(len(slots)))


def _assign(quotas: Sequence[int]) -> np.ndarray:
    """The chairman assignment: each slot goes to the sample with the earliest deadline among those that may have it.

    With d = 1 - 1 / (2n - 2), the j-th sample of a task of ratio r may come from slot (j - d) / r on and must have come
    by slot (j - 1 + d) / r, counted from 1. Integers only, so that no rounding decides; of equals the first task.
    """
    active, total = [task for task, quota in enumerate(quotas) if quota], sum(quotas)
    if len(active) == 1:
        return np.full(total, active[0], np.int64)
    unit = 2 * len(active) - 2  # d = (unit - 1) / unit
    assert unit * total**2 < 1 << 63, "an interval too long for 64-bit integers"
    slots = np.empty(total, np.int64)
    _fill(np.array(quotas, np.int64), np.array(active, np.int64), unit, slots)
    return slots


@compiled
def _fill(quotas, active, unit, slots):
    """The assignment, slot by slot. Deadlines of a task only grow, so each task offers its next sample alone."""
    total, never = slots.size, slots.size + 1
    numbers = np.ones(quotas.size, np.int64)
    releases, deadlines = np.ones(quotas.size, np.int64), np.empty(quotas.size, np.int64)
    for task in active:  # the first sample may come at once
        deadlines[task] = (unit - 1) * total // (unit * quotas[task])
    for slot in range(1, total + 1):
        chosen = -1
        for task in active:
            if releases[task] <= slot and (chosen < 0 or deadlines[task] < deadlines[chosen]):
                chosen = task
        slots[slot - 1] = chosen
        numbers[chosen] += 1
        number, pace = numbers[chosen], unit * quotas[chosen]
        releases[chosen] = -(-((unit * number - (unit - 1)) * total) // pace) if number <= quotas[chosen] else never
        deadlines[chosen] = (unit * number - 1) * total // pace


# ---- arguments of an interval


def interval_quotas(tasks: Sequence[str], batch_size: int, weights: Any, steps: Any, quotas: Any) -> list[int]:
    """Samples of each task in an interval, from the arguments of `MixingLoader.interval`.

    Raises `UsageError` (a ValueError) for arguments that are missing, unknown or give no whole batches.
    """
    if weights is None and quotas is None:
        raise UsageError("no interval is open: a new one needs weights and steps, or quotas")
    if weights is not None and quotas is not None:
        raise UsageError("an interval has weights and steps, or quotas: give one of the two")
    if quotas is None or steps is not None:
        steps = _positive(steps)
    if quotas is None:
        try:
            return apportion(_by_task("weights", weights, tasks), steps * batch_size)
        except ValueError as error:
            raise UsageError(str(error)) from None
    values = _by_task("quotas", quotas, tasks)
    total = steps * batch_size if steps else max(batch_size, sum(values) // batch_size * batch_size)
    if sum(values) != total or not all(value >= 0 and value == int(value) for value in values):
        raise UsageError(
            f"quotas are {_listed(values)}: they must be integers, not negative, whose sum is "
            + (f"{steps} steps x " if steps else "a positive multiple of ")
            + f"batch_size {batch_size}"
        )
    return [int(value) for value in values]


def _positive(steps: Any) -> int:
    try:
        if (number := operator.index(steps)) > 0:
            return number
    except TypeError:
        pass
    raise UsageError(f"steps is {steps}: give a positive number of steps")


def _by_task(name: str, values: Any, tasks: Sequence[str]) -> list[float]:
    """Numbers in the order of tasks; they are given in this order or by name, and a missing name is 0."""
    if isinstance(values, Mapping):
        for key in values:
            if key not in tasks:
                raise UsageError(f"{name} name a task {key!r}: the tasks are {', '.join(tasks)}")
        values = [values.get(task, 0) for task in tasks]
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"{name} are {values}: they must be one number a task") from None
    if len(numbers) != len(tasks):
        raise UsageError(f"{name} are {_listed(numbers)}: {len(tasks)} tasks need as many")
    return numbers


def _listed(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:.12g}" for number in numbers) + "]"
