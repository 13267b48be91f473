"""How groupings at two checkpoints are compared."""

import numpy as np
import pytest

from scripts.reproduce.fig5a import agreement, counts, equal_groups, markdown

GAINS_DB = [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]


def test_equal_gains_keep_every_task_in_its_group() -> None:
    found = agreement(GAINS_DB, [2 * gain for gain in GAINS_DB])
    assert (found.tasks, found.moved, found.rank_correlation) == (8, 0.0, pytest.approx(1))
    assert counts(GAINS_DB, GAINS_DB).tolist() == np.diag([2, 2, 2, 2]).tolist()


def test_reversed_gains_move_every_task() -> None:
    found = agreement(GAINS_DB, GAINS_DB[::-1])
    assert (found.moved, found.rank_correlation) == (1.0, pytest.approx(-1))


def test_two_neighbours_that_change_places_between_groups() -> None:
    swapped = [0.8, 0.6, 0.7, *GAINS_DB[3:]]
    found = agreement(GAINS_DB, swapped)
    assert found.moved == 2 / 8
    assert found.rank_correlation == pytest.approx(1 - 6 * 2 / (8 * 63))  # Spearman: 1 - 6 sum d^2 / (n (n^2 - 1))
    assert counts(GAINS_DB, swapped)[0].tolist() == [1, 1, 0, 0]
    assert "8 tasks; 25% changed their group" in markdown(GAINS_DB, swapped, found)


def test_chance_moves_three_tasks_in_four() -> None:
    """10,000 permutations: the mean's standard error is below .002; five of them, so an error rate below 1e-6."""
    found = agreement(GAINS_DB, GAINS_DB)
    low, mean, high = found.noise_moved
    assert mean == pytest.approx(0.75, abs=0.01)
    assert low < mean < high
    assert found.noise_correlation[1] == pytest.approx(0, abs=5 / (7**0.5 * 100))


def test_equal_groups_by_rank() -> None:
    assert equal_groups([0.1, 0.9, 0.3, 0.7, 0.5, 0.2, 0.8, 0.4], 4) == [4, 1, 3, 2, 2, 4, 1, 3]
    assert equal_groups([3.0, 2.0, 1.0], 2) == [1, 1, 2]
