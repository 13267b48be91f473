"""From weights to counts, and from counts to an order of slots (paper Eq. 12): integers, exact, free of state."""

import heapq
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

    Tasks are spread as evenly as can be: in any stretch of slots, so in any batch, the count of a task is within n/2 of
    its ratio, for n >= 2 tasks with slots. Tijdeman's chairman assignment (Discrete Mathematics 32, 1980) keeps every
    task within 1 - 1 / (2n - 2) of its ratio from the start on; a keyed rotation then varies the intervals, and keeps
    the bound, because the stretch that it cuts open is the complement of one that it does not.
    """
    draws = Draws(seed, "slots", interval)
    slots = np.array(_assign(quotas), np.int64)
    return np.roll(slots, draws.integer(len(slots)))


def _assign(quotas: Sequence[int]) -> list[int]:
    """The chairman assignment: each slot goes to the sample with the earliest deadline among those that may have it.

    With d = 1 - 1 / (2n - 2), the j-th sample of a task of ratio r may come from slot (j - d) / r on and must have come
    by slot (j - 1 + d) / r, counted from 1. Integers only, so that no rounding decides.
    """
    active, total = [task for task, quota in enumerate(quotas) if quota], sum(quotas)
    if len(active) == 1:
        return active * total
    unit = 2 * len(active) - 2  # d = (unit - 1) / unit
    assert unit * total**2 < 1 << 63, "an interval too long for 64-bit integers"
    releases, keys = [], []
    for task in active:
        number, pace = np.arange(1, quotas[task] + 1), unit * quotas[task]
        releases.append(-((unit * number - (unit - 1)) * total // -pace))
        deadline = (unit * number - 1) * total // pace
        keys.append(deadline * len(quotas) + task)  # one integer that orders by deadline, then by task
    release = np.concatenate(releases)
    waiting = np.concatenate(keys)[np.argsort(release, kind="stable")].tolist()
    ends = np.cumsum(np.bincount(release, minlength=total + 1))[1 : total + 1].tolist()
    ready: list[int] = []
    slots, first = [], 0
    for end in ends:  # samples that may have slot 1, slot 2, ...
        for key in waiting[first:end]:
            heapq.heappush(ready, key)
        first = end
        slots.append(heapq.heappop(ready) % len(quotas))
    return slots
