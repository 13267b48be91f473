"""What is true about the variance of weighted gradients (docs/method.md, Moments), by sums and by simulation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from shared.rebalance.moments import Moments, delta
from shared.rebalance.policies import make_policy
from tests.shared.rebalance.tables import weighted


def second_moment(w: Sequence[float], p: Sequence[float], second: Sequence[float]) -> float:
    """E[Z^2] = sum w_j^2 E_j / p_j of one draw."""
    return sum(a * a * e / b for a, b, e in zip(w, p, second, strict=True))


def test_the_hybrid_is_within_its_factor_of_the_better_pure_scheme() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        n = int(rng.integers(2, 7))
        w, second = rng.dirichlet(np.ones(n)).tolist(), rng.exponential(size=n).tolist()
        p, _ = make_policy("hybrid").interval(weighted(*w))
        total = sum(max(each, 1 / n) for each in w)
        pure = min(second_moment(w, [1 / n] * n, second), second_moment(w, w, second))
        assert second_moment(w, p, second) <= total * pure * (1 + 1e-12)


W = (0.4, 0.3, 0.2, 0.1)


def test_the_sign_of_delta_is_not_fixed() -> None:
    assert delta(W, [0.01, 0.01, 1, 1]) == pytest.approx(-0.097, abs=5e-4)
    # by E[G^2] = mean^2 + variance with mean 1, and by the variance alone: opposite signs
    variance = [0.01, 0.01, 1.0, 1.0]
    assert delta(W, [1 + v for v in variance]) == pytest.approx(0.103, abs=5e-4)
    assert delta(W, variance) == pytest.approx(-0.097, abs=5e-4)


def test_delta_is_positive_for_constant_moments_and_for_moments_ordered_like_the_weights() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        w = np.sort(rng.dirichlet(np.ones(5))).tolist()
        assert delta(w, [1.0] * 5) >= 0
        assert delta(w, np.sort(rng.exponential(size=5)).tolist()) >= -1e-12


def test_the_optimal_shares_are_never_worse_than_either_pure_scheme() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        w, second = rng.dirichlet(np.ones(4)).tolist(), rng.exponential(size=4).tolist()
        seen = replace(weighted(*w), moments=Moments(8, second, [0.0] * 4, second))
        for draws in ("random", "stratified"):
            p, _ = make_policy("optimal", {"draws": draws}).interval(seen)
            best = second_moment(w, p, second)
            assert best <= min(second_moment(w, [0.25] * 4, second), second_moment(w, w, second)) * (1 + 1e-12)


GRADIENTS = (np.ones(4), np.sqrt([0.01, 0.01, 1.0, 1.0]))
"""Mean and standard deviation of each task's gradient, one number, in the counter-example."""
BATCH, REPEATS = 40, 100_000


def simulated(p: Sequence[float], c: Sequence[float], *, stratified: bool) -> tuple[float, float, float]:
    """Mean and variance of the batch gradient sum_i c_i G_i / B times B, and the standard error of that variance."""
    rng, (mean, sd) = np.random.default_rng(3), GRADIENTS
    exact = np.array(p) * BATCH
    assert not stratified or np.allclose(exact, exact.round())  # counts that need no rounding
    counts = np.tile(exact.round().astype(int), (REPEATS, 1)) if stratified else rng.multinomial(BATCH, p, REPEATS)
    sums = counts * mean + np.sqrt(counts) * sd * rng.standard_normal((REPEATS, 4))
    z = sums @ np.array(c) / np.sqrt(BATCH)
    return z.mean() / np.sqrt(BATCH), z.var(ddof=1), z.var() * np.sqrt(2 / REPEATS)


@pytest.mark.parametrize("stratified", [False, True])
def test_the_variance_statements_hold_in_simulation(stratified: bool) -> None:
    """100,000 batches of 40; every comparison at five standard errors, so an error rate below 1e-5 in all.

    Random draws: variance sum w^2 E / p - (sum w mean)^2. Stratified counts: sum w^2 Var / p.
    """
    mean, sd = GRADIENTS
    second, variance = mean**2 + sd**2, sd**2
    seen = replace(weighted(*W), moments=Moments(8, second.tolist(), [0.0] * 4, variance.tolist()))
    schemes = {"re-sampling": (W, [1.0] * 4), "re-weighting": ([0.25] * 4, [4 * w for w in W])}
    if not stratified:
        schemes["hybrid"] = make_policy("hybrid").interval(seen)
        schemes["defensive"] = make_policy("defensive").interval(seen)
        schemes["optimal"] = make_policy("optimal", {"draws": "random"}).interval(seen)
    found = {}
    for name, (p, c) in schemes.items():
        average, spread, error = simulated(p, c, stratified=stratified)
        moments = variance if stratified else second
        expected = second_moment(W, p, moments.tolist()) - (0 if stratified else float(np.dot(W, mean)) ** 2)
        assert average == pytest.approx(np.dot(W, mean), abs=5 * np.sqrt(spread / BATCH / REPEATS)), name
        assert spread == pytest.approx(expected, abs=5 * error), name
        found[name] = spread, error
    difference = found["re-weighting"][0] - found["re-sampling"][0]
    tolerance = 5 * np.hypot(found["re-weighting"][1], found["re-sampling"][1])
    assert difference == pytest.approx(-0.097 if stratified else 0.103, abs=tolerance + 5e-4)
    assert abs(difference) > tolerance  # the sign itself is resolved, and it is the opposite of the other case
    if not stratified:
        assert all(found["optimal"][0] < other + 5 * error for other, error in found.values())


def test_stratified_counts_never_raise_the_variance() -> None:
    """They lower it where c_j times the mean gradient differs between tasks; five standard errors, rate below 1e-5."""
    for p, c, lowered in ((W, [1.0] * 4, False), ([0.25] * 4, [4 * w for w in W], True)):
        (_, stratified, first), (_, random, second) = (simulated(p, c, stratified=s) for s in (True, False))
        tolerance = 5 * np.hypot(first, second)
        assert stratified < random - tolerance if lowered else stratified < random + tolerance
