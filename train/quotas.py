"""From weights to counts, and from counts to an order of slots (paper Eq. 12): integers, exact, free of state."""

from collections.abc import Sequence

import numpy as np

from shared.seeds import Draws


def apportion(weights: Sequence[float], total: int) -> list[int]:
    """Quotas N_i of `total` samples in proportion to the weights, by largest remainder; their sum is exactly `total`.

    Zero weights get zero. Equal remainders go to the earlier task. Raises ValueError for negative, non-finite or
    all-zero weights.
    """
    shares = np.asarray(weights, np.float64)
    if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(f"weights are {list(weights)}: they must be finite, not negative and not all zero")
    shares = shares / shares.sum() * total
    counts = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(counts - shares, kind="stable")
    positive = by_remainder[shares[by_remainder] > 0]
    counts[positive[: total - counts.sum()]] += 1
    return counts.tolist()


def order(quotas: Sequence[int], seed: int, interval: int) -> np.ndarray:
    """The task of every slot of an interval, int64 [sum of quotas].

    Slot j of task i has the key (j + u_i) / N_i with one offset u_i a task and interval; slots are sorted by key. So
    every task is spread evenly: its count in any stretch is within n/2 of its ratio, for n tasks.
    """
    keys = [
        (np.arange(quota) + Draws(seed, "slots", interval, task).unit()) / max(quota, 1)
        for task, quota in enumerate(quotas)
    ]
    tasks = np.repeat(np.arange(len(quotas)), quotas)
    return tasks[np.argsort(np.concatenate(keys), kind="stable")]
