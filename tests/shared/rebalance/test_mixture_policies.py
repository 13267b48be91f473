"""Policies that choose volumes themselves: mixtures that are given or planned, and the worst task."""

import math
from dataclasses import replace

import numpy as np
import pytest

from shared.errors import UsageError
from shared.rebalance.policies import make_policy
from shared.rebalance.policies.fixed import parse_mixture, write_mixture
from shared.rebalance.policies.policy import floored
from tests.shared.rebalance.tables import measurements

# ---- fixed and planned mixtures


def test_fixed_weights_go_by_name_and_are_divided_by_their_sum() -> None:
    seen = replace(measurements(3), tasks=["c", "a", "b"])
    p, c = make_policy("fixed", {"weights": "a=3, b=0,c=1"}).interval(seen)
    assert p == [0.25, 0.75, 0.0]
    assert c == [1.0] * 3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("", "policy fixed needs --policy-options.weights: task=weight"),
        ("a", "'a' must be task=weight"),
        ("a=1,a=2", "'a=2' must be task=weight, not negative, each task once"),
        ("a=-1", "not negative"),
        ("a=inf", "not negative"),
        ("a=x", "'a=x' must be task=weight"),
        ("a=1,b=1", "names a, b, the tasks are a, b, c: give each of them a weight, 0 to leave it out"),
        ("a=1,b=1,c=1,d=1", "names a, b, c, d, the tasks are a, b, c"),
        ("a=0,b=0,c=0", "not 0 to all"),
    ],
)
def test_fixed_weights_that_are_no_mixture_of_the_tasks_are_refused(weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make_policy("fixed", {"weights": weights}).require_tasks(["a", "b", "c"])


def test_a_mixture_is_written_as_it_is_read() -> None:
    weights = {"a": 0.1, "b": 1 / 3, "c": 0.0}
    assert parse_mixture(write_mixture(weights)) == pytest.approx(weights, abs=1e-15)
    assert write_mixture({"a": 0.05, "b": 0.95}) == "a=0.05,b=0.95"


def test_a_plan_needs_an_aim_and_says_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"aim is not given: choose one of worst \(the largest PSNR .*, gap \(the"):
        make_policy("planned")
    with pytest.raises(UsageError, match=r"floor is 0.3: .* at most 0.25 for 4 tasks"):
        make_policy("planned", {"aim": "gap", "floor": 0.3}).require_tasks(["a", "b", "c", "d"])
    with pytest.raises(ValueError, match="needs the mixture of a pilot"):
        make_policy("planned", {"aim": "gap"}).interval(measurements())


# ---- the worst task


def test_the_worst_task_gains_weight_at_every_boundary() -> None:
    seen = replace(measurements(3), shared_db=np.array([[28.0, 30.0], [28.0, 28.0], [27.0, 29.0]]))
    policy = make_policy("worst", {"eta": 0.5, "floor": 0.0})
    first = math.exp(0.5)  # mean PSNR 29, 28, 28
    assert policy.interval(seen)[0] == pytest.approx([each / (1 + 2 * first) for each in (1, first, first)])
    assert policy.interval(seen)[0] == pytest.approx([each / (1 + 2 * first**2) for each in (1, first**2, first**2)])


def test_no_task_falls_below_the_floor_of_the_worst_policy() -> None:
    seen = replace(measurements(3), shared_db=np.array([[40.0], [33.0], [25.0]]))
    policy = make_policy("worst")
    for _ in range(50):
        p, _ = policy.interval(seen)
    assert p == pytest.approx([0.03, 0.03, 0.94])
    assert policy.memory == {"weights": p}
    with pytest.raises(UsageError, match=r"floor is 0.4: it must be at most 1 / n, 0.333 for 3 tasks"):
        make_policy("worst", {"floor": 0.4}).require_tasks(["a", "b", "c"])


def test_the_floor_raises_what_is_below_and_takes_it_from_the_others() -> None:
    assert floored([0.5, 0.5], 0.1) == [0.5, 0.5]
    assert floored([0.8, 0.18, 0.02], 0.1) == pytest.approx([0.9 * 0.8 / 0.98, 0.9 * 0.18 / 0.98, 0.1])
    assert floored([0.89, 0.101, 0.009], 0.1) == pytest.approx([0.8, 0.1, 0.1])  # the second falls in the second pass
    assert floored([1.0, 0.0, 0.0, 0.0], 0.25) == pytest.approx([0.25] * 4)
