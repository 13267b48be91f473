"""Quotas are exact integers, and slots spread every task evenly over the interval."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from shared.mixing.quotas import _assign, apportion, order


def largest_remainder(weights: list[float], total: int) -> list[int]:
    """The textbook rule in exact arithmetic, earlier tasks first among equals."""
    exact = [Fraction(weight) for weight in weights]
    shares = [weight * total / sum(exact) for weight in exact]
    counts = [share.numerator // share.denominator for share in shares]
    while sum(counts) < total:
        left = [share - count for share, count in zip(shares, counts, strict=True)]
        counts[left.index(max(left))] += 1
    return counts


def random_weights(rng: random.Random) -> list[float]:
    while True:
        weights = [rng.choice([0, rng.random(), rng.randint(1, 10), 1e-3, 1e3]) for _ in range(rng.randint(1, 8))]
        if any(weights):
            return weights


@pytest.mark.parametrize(
    ("weights", "total", "expected"),
    [
        ([0.4, 0.3, 0.2, 0.1], 10, [4, 3, 2, 1]),
        ([1 / 3, 1 / 3, 1 / 3], 20, [7, 7, 6]),  # remainders are equal: earlier tasks first
        ([1, 1, 1, 1], 240_000, [60_000] * 4),
        ([1, 1], 1, [1, 0]),
        ([0.0, 1.0, 0.0], 7, [0, 7, 0]),
        ([0.5, 0.0, 0.5], 3, [2, 0, 1]),
        ([5, 3, 1], 7, [4, 2, 1]),  # 3.89, 2.33, 0.78
        ([1e-9, 1.0], 10, [0, 10]),
        ([1e308, 1e308], 4, [2, 2]),  # their sum is not a float
        ([5, 4, 6, 4, 7, 10, 8, 0], 99, [11, 9, 14, 9, 16, 22, 18, 0]),  # 13.5 and 22.5: equal, though not in floats
        ([0.2, 0.8], 0, [0, 0]),
    ],
)
def test_quotas_follow_the_largest_remainder(weights: list[float], total: int, expected: list[int]) -> None:
    assert apportion(weights, total) == expected


def test_quotas_of_random_weights_sum_exactly_and_equal_the_textbook_rule() -> None:
    rng = random.Random(1)
    for _ in range(3000):
        weights, total = random_weights(rng), rng.choice([0, 1, 7, 20, 192, 240_000])
        quotas = apportion(weights, total)
        assert sum(quotas) == total
        assert quotas == largest_remainder(weights, total)
        assert all(type(quota) is int for quota in quotas)


def test_a_task_of_weight_zero_gets_nothing() -> None:
    rng = random.Random(2)
    for _ in range(1000):
        weights = random_weights(rng)
        quotas = apportion(weights, rng.randint(0, 500))
        assert all(quota == 0 for quota, weight in zip(quotas, weights, strict=True) if weight == 0)


def test_a_larger_weight_never_gets_less() -> None:
    rng = random.Random(3)
    for _ in range(1000):
        weights = random_weights(rng)
        quotas = apportion(weights, rng.randint(0, 500))
        for weight, quota in zip(weights, quotas, strict=True):
            assert all(quota >= other for w, other in zip(weights, quotas, strict=True) if weight > w)


def test_quotas_are_within_one_of_their_share() -> None:
    rng = random.Random(4)
    for _ in range(1000):
        weights, total = random_weights(rng), rng.randint(0, 500)
        for weight, quota in zip(weights, apportion(weights, total), strict=True):
            assert abs(quota - total * Fraction(weight) / sum(map(Fraction, weights))) < 1


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [-0.1, 1.1], [math.nan, 1.0], [math.inf, 1.0]])
def test_weights_that_are_no_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="finite, not negative and not all zero"):
        apportion(weights, 10)


# ---- the order of slots


def random_quotas(rng: random.Random, batch_size: int) -> list[int]:
    return apportion(random_weights(rng), batch_size * rng.randint(1, 60))


def deviations(quotas: list[int], slots: np.ndarray) -> np.ndarray:
    """How far each task is ahead of its share after k slots, [slots + 1, tasks]."""
    counts = np.concatenate([np.zeros((1, len(quotas))), np.cumsum(np.eye(len(quotas))[slots], axis=0)])
    return counts - np.arange(len(counts))[:, None] * np.array(quotas) / sum(quotas)


def bound(quotas: list[int]) -> float:
    """n/2 for n tasks with slots; nothing to deviate from with a single one."""
    active = np.count_nonzero(quotas)
    return active / 2 if active > 1 else 0.0


def test_every_task_gets_exactly_its_quota_of_slots() -> None:
    rng = random.Random(5)
    for interval in range(300):
        quotas = random_quotas(rng, 4)
        assert np.bincount(order(quotas, 0, interval), minlength=len(quotas)).tolist() == quotas


@pytest.mark.parametrize("batch_size", [1, 2, 4, 12, 48])
def test_the_count_of_a_task_in_any_batch_and_any_stretch_is_near_its_share(batch_size: int) -> None:
    rng = random.Random(batch_size)
    for interval in range(300):
        quotas = random_quotas(rng, batch_size)
        ahead = deviations(quotas, order(quotas, 7, interval))
        in_batches = np.abs(np.diff(ahead[::batch_size], axis=0)).max(axis=0)
        in_stretches = ahead.max(axis=0) - ahead.min(axis=0)  # the worst stretch runs from one extreme to the other
        assert in_batches.max() <= bound(quotas) + 1e-9, quotas
        assert in_stretches.max() <= bound(quotas) + 1e-9, quotas


@pytest.mark.parametrize("quotas", [[50, 50], [10, 90], [1, 199], [0, 30, 70]])
def test_two_tasks_are_within_one_sample_of_their_share_in_every_batch(quotas: list[int]) -> None:
    for interval in range(50):
        ahead = deviations(quotas, order(quotas, 0, interval))
        assert np.abs(np.diff(ahead[::4], axis=0)).max() <= 1 + 1e-9


def test_rare_tasks_do_not_crowd_into_one_batch() -> None:
    quotas = [198, 1, 1]  # slots sorted by (j + u) / N would now and then put both rare tasks into one batch of 4
    worst = max(np.abs(np.diff(deviations(quotas, order(quotas, 0, i))[::4], axis=0)).max() for i in range(300))
    assert worst < 1.0


def test_every_prefix_before_the_rotation_keeps_the_bound_of_the_chairman_assignment() -> None:
    rng = random.Random(9)
    for _ in range(200):
        quotas = random_quotas(rng, 4)
        active = np.count_nonzero(quotas)
        ahead = deviations(quotas, np.array(_assign(quotas)))
        assert np.abs(ahead).max() <= (1 - 1 / (2 * active - 2) if active > 1 else 0) + 1e-9, quotas


def test_the_order_is_a_function_of_seed_and_interval() -> None:
    quotas = [40, 35, 25]
    first = order(quotas, 3, 0)
    assert (order(quotas, 3, 0) == first).all()
    assert (order(quotas, 3, 1) != first).any()
    assert (order(quotas, 4, 0) != first).any()
