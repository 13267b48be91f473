"""Differences between arms: Student's t by hand, columns, and what is called resolved."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from scripts.reproduce import comparison
from scripts.reproduce.comparison import difference, markdown, with_summary
from scripts.reproduce.study import gaps_markdown


def test_a_difference_by_hand():
    found = difference(np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.0, 0.0]))
    error = np.sqrt(7 / 3) / np.sqrt(3)  # sample variance of 1, 2, 4 is 7/3
    assert found.mean == pytest.approx(7 / 3)
    assert found.high == pytest.approx(7 / 3 + 4.302653 * error, rel=1e-6)  # t(.975, 2)
    assert found.detectable == pytest.approx(5.6535 * error, rel=1e-4)  # noncentral t; t(.975) + t(.8) is 5.3633
    assert not found.resolved


def test_a_difference_that_is_the_same_for_every_seed_is_resolved():
    assert difference(np.array([1.1, 2.1, 3.1]), np.array([1.0, 2.0, 3.0])).resolved


def test_one_seed_says_nothing_about_spread():
    found = difference(np.array([1.5]), np.array([1.0]))
    assert (found.mean, found.low, found.detectable, found.resolved) == (0.5, None, None, False)


def test_the_interval_of_a_difference_covers_the_truth():
    """4 000 comparisons of 3 seeds: coverage .95, standard error .0034; the bounds are 5 of them away."""
    random = np.random.default_rng(0)
    found = [difference(random.normal(0.2, 1, 3), random.normal(0, 1, 3)) for _ in range(4000)]
    assert abs(np.mean([f.low <= 0.2 <= f.high for f in found]) - 0.95) < 0.0172


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_what_is_called_detectable_is_found_four_times_in_five(seeds):
    """40 000 comparisons with the spread known: standard error .002; the bounds are 5 of them away."""
    spread = np.random.default_rng(1).normal(size=(40_000, seeds))
    unit = difference(np.arange(seeds) - (seeds - 1) / 2, np.zeros(seeds))  # its mean is 0
    standard_errors = unit.detectable / (np.arange(seeds).std(ddof=1) / seeds**0.5)
    deltas = spread + standard_errors / seeds**0.5
    reach = unit.high / (np.arange(seeds).std(ddof=1) / seeds**0.5)
    found = np.abs(deltas.mean(axis=1)) > reach * deltas.std(axis=1, ddof=1) / seeds**0.5
    assert abs(found.mean() - 0.8) < 0.01


def test_errors_over_a_single_photograph_are_unknown_not_zero(monkeypatch):
    log = [{"tasks": ["mild"], "estimate": {"gaps_db": [0.1], "errors_db": [None], "weights": [1.0]}}]
    monkeypatch.setattr(comparison, "train_arm", lambda lab, arm, seed: Path())
    monkeypatch.setattr(comparison, "boundaries", lambda run: log)
    found = comparison.gaps_of(SimpleNamespace(settings=SimpleNamespace(seeds=1)), comparison.REBALANCE)
    assert (found["errors_db"], found["spread_db"]) == (None, None)
    assert "| ours | mild | +0.100 | unknown | unknown | 1.000 to 1.000 |" in gaps_markdown({"ours": found})


def test_columns_end_with_the_mean_and_the_worst_test_set():
    assert with_summary(np.array([[3.0, 1.0], [2.0, 4.0]])).tolist() == [[3, 1, 2, 1], [2, 4, 3, 2]]


def test_the_table_marks_what_is_resolved():
    means = {"uniform": np.array([[30.0], [31.0], [32.0]]), "ours": np.array([[30.1], [31.1], [32.1]])}
    cell = "**+0.100 [+0.100, +0.100], 0.000**"
    assert f"| ours | {cell} | {cell} | {cell} |" in markdown(means, ["mild"], "uniform")
