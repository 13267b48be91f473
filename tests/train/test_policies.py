"""Every registered policy obeys p_j c_j = w_j (method notes, Section 5)."""

from collections.abc import Callable

import numpy as np
import pytest

from shared.errors import UsageError
from train.estimator import estimate
from train.evidence import Evidence
from train.policies import POLICIES, make_policy

WEIGHTS: dict[str, Callable[[Evidence], list[float]]] = {
    "rebalance": lambda evidence: evidence.estimate.weights,
    "uniform": lambda evidence: [1 / len(evidence.tasks)] * len(evidence.tasks),
}
"""The weights w that each policy stands for; a new policy adds a line."""


def evidence(num_tasks: int = 4) -> Evidence:
    rng = np.random.default_rng(num_tasks)
    shared = rng.normal(28, 2, (num_tasks, 10))
    single = shared + rng.normal(0, 1, (num_tasks, 10))
    photographs = [f"{i}" for i in range(10)]
    names = [f"task-{i}" for i in range(num_tasks)]
    return Evidence(3, names, shared, photographs, single, estimate(single, shared, photographs))


@pytest.mark.parametrize("num_tasks", [1, 2, 4, 8])
@pytest.mark.parametrize("name", POLICIES)
def test_shares_times_coefficients_are_the_weights(name: str, num_tasks: int) -> None:
    seen = evidence(num_tasks)
    p, c = make_policy(name).interval(seen)
    assert sum(p) == pytest.approx(1, abs=1e-12)
    assert min(p) >= 0
    assert [a * b for a, b in zip(p, c, strict=True)] == pytest.approx(WEIGHTS[name](seen), abs=1e-12)


@pytest.mark.parametrize("name", [name for name in POLICIES if POLICIES[name].needs_references])
def test_a_policy_that_needs_references_refuses_evidence_without_them(name: str) -> None:
    with pytest.raises(ValueError, match="references"):
        make_policy(name).interval(Evidence(0, ["a", "b"], np.ones((2, 3)), list("xyz")))


@pytest.mark.parametrize("name", [name for name in POLICIES if not POLICIES[name].needs_references])
def test_a_policy_without_references_decides_without_them(name: str) -> None:
    p, _ = make_policy(name).interval(Evidence(0, ["a", "b"], np.ones((2, 3)), list("xyz")))
    assert sum(p) == pytest.approx(1)


def test_rebalancing_turns_weights_into_volumes() -> None:
    seen = evidence()
    assert make_policy("rebalance").interval(seen) == (seen.estimate.weights, [1.0] * 4)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown policy 'sgd': choose one of rebalance, uniform"):
        make_policy("sgd")
