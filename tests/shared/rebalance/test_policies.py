"""Every registered policy obeys p_j c_j = w_j, and each gives the numbers of its paper."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from shared.errors import UsageError
from shared.rebalance.estimator import softmax
from shared.rebalance.measurements import Measurements
from shared.rebalance.moments import Moments
from shared.rebalance.policies import POLICIES, Policy, describe_policy, make_policy
from shared.rebalance.policies.fixed import write_mixture
from shared.rebalance.policies.planned import Planned
from tests.shared.rebalance.tables import measurements, weighted


def estimated(measurements: Measurements) -> list[float]:
    return measurements.estimate.weights


def equal(measurements: Measurements) -> list[float]:
    return [1 / len(measurements.tasks)] * len(measurements.tasks)


def by_losses(measurements: Measurements) -> list[float]:
    before, last = measurements.losses
    return softmax(np.array(last) / np.array(before) / 2).tolist()


def by_achievement(measurements: Measurements) -> list[float]:
    missing = (1 - measurements.shared_db.mean(axis=1) / (1.05 * measurements.final_db.mean(axis=1))) ** 2
    return (missing / missing.sum()).tolist()


def increasing(measurements: Measurements) -> list[float]:
    n = len(measurements.tasks)
    return [2 * (number + 1) / (n * (n + 1)) for number in range(n)]


def by_psnr(measurements: Measurements) -> list[float]:
    return softmax(-np.round(measurements.shared_db.mean(axis=1), 4)).tolist()


WEIGHTS: dict[str, Callable[[Measurements], list[float]]] = {
    "rebalance": estimated,
    "uniform": equal,
    "reweight": estimated,
    "hybrid": estimated,
    "optimal": estimated,
    "defensive": estimated,
    "rlw": equal,  # of an interval; the weights of its steps are below
    "dwa": by_losses,
    "gls": equal,  # as rlw
    "achievement": by_achievement,
    "tgsr": equal,  # without groups; those are below
    "fixed": increasing,
    "planned": increasing,
    "worst": by_psnr,  # above its floor
}
"""The weights w that each policy stands for; a new policy adds a line."""


def made(name: str, tasks: Sequence[str]) -> Policy:
    """The policy with the options that it cannot do without."""
    weights = {task: number + 1.0 for number, task in enumerate(tasks)}
    options = {"fixed": {"weights": write_mixture(weights)}, "planned": {"aim": "worst", "floor": 0.0}}
    policy = make_policy(name, options.get(name))
    if isinstance(policy, Planned):
        policy.weights = weights
    policy.require_tasks(tasks)
    return policy


@pytest.mark.parametrize("num_tasks", [1, 2, 4, 8])
@pytest.mark.parametrize("name", POLICIES)
def test_shares_times_coefficients_are_the_weights(name: str, num_tasks: int) -> None:
    seen = measurements(num_tasks)
    p, c = made(name, seen.tasks).interval(seen)
    assert sum(p) == pytest.approx(1, abs=1e-12)
    assert min(p) >= 0
    assert [a * b for a, b in zip(p, c, strict=True)] == pytest.approx(WEIGHTS[name](seen), abs=1e-12)


@pytest.mark.parametrize("name", ["dwa", "achievement"])
def test_the_same_weights_as_volumes(name: str) -> None:
    seen = measurements()
    p, c = make_policy(name, {"form": "sampling"}).interval(seen)
    assert p == pytest.approx(WEIGHTS[name](seen))
    assert c == [1.0] * 4


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name].needs_references])
def test_a_policy_that_needs_references_refuses_evidence_without_them(name: str) -> None:
    with pytest.raises(ValueError, match="references"):
        make_policy(name).interval(Measurements(0, ["a", "b"], np.ones((2, 3)), list("xyz")))


@pytest.mark.parametrize("name", [name for name in POLICIES if not POLICIES[name].needs_references])
def test_a_policy_without_references_decides_without_them(name: str) -> None:
    p, _ = made(name, ["a", "b"]).interval(Measurements(0, ["a", "b"], np.ones((2, 3)), list("xyz")))
    assert p == ([1 / 3, 2 / 3] if WEIGHTS[name] is increasing else [0.5, 0.5])


# ---- volumes and coefficients from the estimate


def test_rebalancing_turns_weights_into_volumes() -> None:
    assert make_policy("rebalance").interval(weighted(0.5, 0.3, 0.2)) == ([0.5, 0.3, 0.2], [1.0] * 3)


def test_reweighting_turns_weights_into_coefficients() -> None:
    p, c = make_policy("reweight").interval(weighted(0.5, 0.3, 0.2))
    assert p == [1 / 3] * 3
    assert c == pytest.approx([1.5, 0.9, 0.6])


def test_the_hybrid_worked_out_by_hand() -> None:
    # max(w, 1/4) = .4, .3, .25, .25, sum M = 1.2; min(1, 4 w) = 1, 1, .8, .4
    p, c = make_policy("hybrid").interval(weighted(0.4, 0.3, 0.2, 0.1))
    assert p == pytest.approx([1 / 3, 0.25, 0.25 / 1.2, 0.25 / 1.2])
    assert c == pytest.approx([1.2, 1.2, 0.96, 0.48])


def test_defensive_coefficients_are_bounded() -> None:
    p, c = make_policy("defensive", {"uniform_share": 0.2}).interval(weighted(0.98, 0.02, 0.0, 0.0))
    assert p == pytest.approx([0.834, 0.066, 0.05, 0.05])
    assert c == pytest.approx([0.98 / 0.834, 0.02 / 0.066, 0.0, 0.0])
    assert max(c) <= 1 / 0.8


def test_optimal_shares_follow_the_weighted_spread() -> None:
    seen = replace(weighted(0.5, 0.3, 0.2), moments=Moments(8, [1.0, 4.0, 9.0], [0.1] * 3, [4.0, 1.0, 1.0]))
    p, c = make_policy("optimal").interval(seen)  # w sd = 1, .3, .2, sum 1.5
    assert p == pytest.approx([1 / 1.5, 0.3 / 1.5, 0.2 / 1.5])
    assert c == pytest.approx([0.75, 1.5, 1.5])
    p, c = make_policy("optimal", {"draws": "random"}).interval(seen)  # w sqrt(E) = .5, .6, .6, sum 1.7
    assert p == pytest.approx([0.5 / 1.7, 0.6 / 1.7, 0.6 / 1.7])
    assert c == pytest.approx([1.7, 0.85, 1.7 / 3])


def test_a_task_whose_gradients_look_equal_keeps_a_share() -> None:
    seen = replace(weighted(0.5, 0.5), moments=Moments(2, [1.0, 1.0], [0.0] * 2, [1.0, 0.0]))
    p, c = make_policy("optimal").interval(seen)
    assert p[1] == pytest.approx(1 / 1001)
    assert c[1] == pytest.approx(500.5)
    same = replace(seen, moments=Moments(2, [1.0, 1.0], [0.0] * 2, [0.0, 0.0]))
    assert make_policy("optimal").interval(same) == ([0.5, 0.5], [1.0, 1.0])


# ---- random loss weighting


def test_random_weights_are_fresh_at_every_step_and_keyed() -> None:
    policy, n = make_policy("rlw", seed=7), 4
    rows = [policy.step(step, [1.0] * n, [2] * n) for step in range(50)]
    assert [make_policy("rlw", seed=7).step(step, [3.0] * n, [1] * n) for step in range(50)] == rows
    assert len({tuple(row) for row in rows}) == 50
    assert make_policy("rlw", seed=8).step(0, [1.0] * n, [2] * n) != rows[0]
    for row in rows:
        assert sum(row) == pytest.approx(n)  # c = n w over p = 1 / n


def test_random_weights_are_softmax_of_normal_numbers() -> None:
    """Log ratios of two weights are N(0, 2). 2,000 draws; Kolmogorov-Smirnov at an error rate of 1e-4 (2.23 / sqrt)."""
    policy = make_policy("rlw", seed=1)
    ratios = sorted(math.log(c[0] / c[1]) for c in (policy.step(s, [1.0, 1.0], [1, 1]) for s in range(2000)))
    distribution = NormalDist(0, math.sqrt(2))
    distance = max(abs(distribution.cdf(r) - (i + 0.5) / 2000) for i, r in enumerate(ratios)) + 0.5 / 2000
    assert distance < 2.23 / math.sqrt(2000)


def test_random_weights_as_volumes_are_fresh_every_interval() -> None:
    policy, seen = make_policy("rlw", {"form": "sampling"}, seed=7), measurements()
    p, c = policy.interval(seen)
    assert sum(p) == pytest.approx(1)
    assert c == policy.step(5, [1.0] * 4, [1] * 4) == [1.0] * 4
    assert policy.interval(replace(seen, interval=4))[0] != p
    assert make_policy("rlw", {"form": "sampling"}, seed=7).interval(seen)[0] == p


# ---- dynamic weight average


def test_dwa_worked_out_by_hand() -> None:
    seen = replace(measurements(2), losses=[[0.2, 0.1], [0.1, 0.1]])  # r = .5, 1
    p, c = make_policy("dwa").interval(seen)
    e = [math.exp(0.25), math.exp(0.5)]
    assert p == [0.5, 0.5]
    assert c == pytest.approx([2 * e[0] / sum(e), 2 * e[1] / sum(e)])
    assert make_policy("dwa", {"temperature": 1}).interval(seen)[1] == pytest.approx(
        [2 / (1 + math.exp(0.5)), 2 / (1 + math.exp(-0.5))]
    )


@pytest.mark.parametrize("losses", [[], [[0.2, 0.1]], [[0.2, None], [0.2, 0.1]], [[0.1, 0.3], [0.1, None]]])
def test_dwa_is_uniform_without_two_intervals_to_compare(losses: list[list[float | None]]) -> None:
    assert make_policy("dwa").interval(replace(measurements(2), losses=losses)) == ([0.5, 0.5], [1.0, 1.0])


# ---- geometric mean of the losses


@pytest.mark.parametrize("tasks", [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 2, 2], [0, 0, 2, 2, 2, 0, 0]])
def test_gls_has_exactly_the_gradient_of_the_geometric_mean(tasks: list[int]) -> None:
    """In float64, so that 1e-12 is exactness; with unequal counts, and with a task that the batch lacks."""
    generator = torch.Generator().manual_seed(0)
    x, y, start = (torch.rand(len(tasks), 5, generator=generator, dtype=torch.float64) for _ in range(3))
    task = torch.tensor(tasks)

    def losses(w: torch.Tensor) -> torch.Tensor:
        return (torch.sin(x * w) - y).square().mean(dim=1)

    def gradient(total: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        w = start[0].clone().requires_grad_()
        return torch.autograd.grad(total(losses(w)), w)[0]

    def means(each: torch.Tensor) -> list[torch.Tensor]:
        return [each[task == j].mean() for j in range(3) if j in tasks]

    def weighted_sum(each: torch.Tensor) -> torch.Tensor:
        values = [each[task == j].mean().item() for j in range(3)]  # NaN for the absent one
        c = make_policy("gls").step(0, values, [tasks.count(j) for j in range(3)])
        return (torch.tensor(c, dtype=torch.float64)[task] * each).mean()

    expected = gradient(lambda each: torch.exp(torch.stack(means(each)).log().mean()))
    assert torch.allclose(gradient(weighted_sum), expected, rtol=1e-12, atol=1e-15)


def test_gls_favours_the_easy_task() -> None:
    c = make_policy("gls").step(0, [0.1, 0.4], [5, 5])  # GM = .2; c_j = .2 / (2 L_j) * 2
    assert c == pytest.approx([2.0, 0.5])
    assert np.isfinite(make_policy("gls").step(0, [0.0, 0.4], [5, 5])).all()


# ---- achievement


def test_achievement_worked_out_by_hand() -> None:
    shared, final = np.array([[25.0, 27.0], [20.0, 20.0]]), np.array([[26.0, 26.0], [25.0, 25.0]])
    seen = replace(measurements(2), shared_db=shared, final_db=final)
    missing = [(1 - 26 / 27.3) ** 2, (1 - 20 / 26.25) ** 2]  # .002268, .05669
    p, c = make_policy("achievement").interval(seen)
    assert p == [0.5, 0.5]
    assert c == pytest.approx([2 * each / sum(missing) for each in missing])


def test_achievement_is_smoothed_over_intervals() -> None:
    seen = replace(measurements(2), final_db=np.full((2, 10), 30.0))
    policy = make_policy("achievement", {"ema": 0.75, "margin": 0.0, "focus": 1, "form": "sampling"})
    policy.interval(replace(seen, shared_db=np.array([[20.0], [24.0]])))
    p, _ = policy.interval(replace(seen, shared_db=np.array([[28.0], [24.0]])))  # smoothed 22, 24; missing 8, 6
    assert policy.memory == {"achieved_db": [22.0, 24.0]}
    assert p == pytest.approx([8 / 14, 6 / 14])


def test_tasks_beyond_their_margin_have_no_weight_and_all_of_them_equal_ones() -> None:
    final = np.full((2, 1), 20.0)
    behind, beyond = np.array([[22.0], [19.0]]), np.array([[22.0], [23.0]])
    options = {"form": "sampling"}
    assert make_policy("achievement", options).interval(replace(measurements(2), shared_db=behind, final_db=final))[
        0
    ] == [
        0,
        1,
    ]
    assert (
        make_policy("achievement", options).interval(replace(measurements(2), shared_db=beyond, final_db=final))[0]
        == [0.5] * 2
    )


# ---- task groups (TGSR-style)


def test_a_group_is_drawn_uniformly_then_a_task_in_it() -> None:
    seen = replace(measurements(3), groups=[0, 0, 0, 2, 1, 2, 2, 1])
    p, c = make_policy("tgsr").interval(seen)  # three groups of three, two and three tasks
    assert p == pytest.approx([1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 6, 1 / 9, 1 / 9, 1 / 6])
    assert c == [1.0] * 8


def test_a_threshold_that_no_plan_exceeds_makes_no_group() -> None:
    seen = replace(measurements(2), groups=[0, 0, 4])
    assert make_policy("tgsr").interval(seen)[0] == pytest.approx([0.25, 0.25, 0.5])


# ---- options


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown policy 'sgd': choose one of rebalance, uniform"):
        make_policy("sgd")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dwa", {"temp": 1}, "policy dwa has no option 'temp': it has temperature, form"),
        ("uniform", {"seed": 1}, "policy uniform has no option 'seed': it has none"),
        ("rebalance", {"memory": {}}, "policy rebalance has no option 'memory'"),
        ("dwa", {"temperature": "hot"}, "policy option 'temperature' is 'hot': it must be float"),
        ("dwa", {"temperature": True}, "policy option 'temperature' is True: it must be float"),
        ("dwa", {"temperature": 0}, "temperature is 0: it must be positive"),
        ("rlw", {"form": "both"}, "policy option 'form' is 'both': it must be one of 'loss', 'sampling'"),
        ("defensive", {"uniform_share": 1.0}, r"uniform_share is 1.0: it must be in \(0, 1\)"),
        ("achievement", {"ema": 1.0}, r"ema is 1.0: it must be in \[0, 1\)"),
    ],
)
def test_options_that_a_policy_does_not_have_or_take_are_refused(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_policy(name, options)


def test_the_help_of_a_policy_has_its_options() -> None:
    text = describe_policy("dwa")
    assert "--policy-options.temperature VALUE\n      T; a larger T gives more even weights [2.0]" in text
    assert "--policy-options" not in describe_policy("uniform")
    with pytest.raises(UsageError, match="choose one of rebalance"):
        describe_policy("nonsense")
