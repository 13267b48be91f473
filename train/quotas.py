"""From weights to counts, and from counts to an order of slots (paper Eq. 12): integers, exact, free of state."""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from shared.seeds import Draws


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

    Slot j of task i has the key (j + u_i) / N_i with one offset u_i a task and interval; slots are sorted by key. So
    every task is spread evenly: in any stretch the count of a task of share r is within 1 + r (n - 2) of r times the
    stretch's length, n being the number of tasks with slots. (Between two keys a task's count is less than 1 away from
    its expectation; the length of a stretch carries the errors of all tasks.)
    """
    keys = [
        (np.arange(quota) + Draws(seed, "slots", interval, task).unit()) / max(quota, 1)
        for task, quota in enumerate(quotas)
    ]
    tasks = np.repeat(np.arange(len(quotas)), quotas)
    return tasks[np.argsort(np.concatenate(keys), kind="stable")]
