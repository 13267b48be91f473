"""Differences between arms: Student's t by hand, columns, and what is called resolved."""

import numpy as np
import pytest

from scripts.reproduce.comparison import compare, difference, markdown, with_summary


def test_a_difference_by_hand():
    found = difference(np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.0, 0.0]))
    error = np.sqrt(7 / 3) / np.sqrt(3)  # sample variance of 1, 2, 4 is 7/3
    assert found.mean == pytest.approx(7 / 3)
    assert found.high == pytest.approx(7 / 3 + 4.302653 * error, rel=1e-6)  # t(.975, 2)
    assert found.detectable == pytest.approx((4.302653 + 1.060660) * error, rel=1e-6)  # and t(.8, 2)
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


def test_columns_end_with_the_mean_and_the_worst_test_set():
    assert with_summary(np.array([[3.0, 1.0], [2.0, 4.0]])).tolist() == [[3, 1, 2, 1], [2, 4, 3, 2]]


def test_the_worst_distance_is_the_largest():
    assert with_summary(np.array([[0.3, 0.1]]), "lpips_vgg").tolist() == [[0.3, 0.1, pytest.approx(0.2), 0.3]]


def test_a_table_of_distances_says_that_lower_is_better():
    means = {"uniform": np.array([[0.31], [0.32]]), "ours": np.array([[0.30], [0.31]])}
    text = markdown(means, ["mild"], "uniform", "lpips_vgg")
    assert text.startswith("LPIPS-VGG, lower is better, mean over 2 seeds (standard deviation over seeds)")
    assert "| ours | 0.3050 (0.0071) |" in text
    assert "| ours | **-0.0100 [-0.0100, -0.0100], 0.0000** |" in text


def test_the_table_marks_what_is_resolved():
    means = {"uniform": np.array([[30.0], [31.0], [32.0]]), "ours": np.array([[30.1], [31.1], [32.1]])}
    assert compare(means, ["mild"], "uniform")["ours"]["worst"].mean == pytest.approx(0.1)
    assert "| ours | **+0.100 [+0.100, +0.100], 0.000** |" in markdown(means, ["mild"], "uniform")
