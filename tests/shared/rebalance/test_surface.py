"""Predicted mixtures: exact on quadratics, bounded, tied to equal volumes, and refused where references overfit."""

import numpy as np
import pytest

from shared.errors import RunError, UsageError
from shared.rebalance import clusters
from shared.rebalance.clusters import standard_errors
from shared.rebalance.surface import (
    best_mixture,
    cross_errors,
    cross_table,
    gains,
    predicted_gains,
    require_no_overfitting,
    shortfall,
)

RNG = np.random.default_rng(0)
MIXTURES = RNG.dirichlet(np.ones(4), 50)
OPTIMA = RNG.normal(size=(4, 6))
"""Where each of four tasks has its optimum, in a space of six parameters."""


def quadratic_psnr(curvatures: np.ndarray) -> np.ndarray:
    """PSNR [network, task] where the loss of task i at x is a_i |x - optimum_i|^2 and costs as many dB."""
    squares = ((OPTIMA[:, None] - OPTIMA) ** 2).sum(axis=-1)
    return np.array([30.0, 29.0, 27.0, 26.0]) - squares * curvatures


def trained(curvatures: np.ndarray, w: np.ndarray) -> np.ndarray:
    """E [n] in the network that minimises sum w_i L_i, whose parameters are the w_i a_i-weighted mean of the optima."""
    x = (w * curvatures) @ OPTIMA / (w * curvatures).sum()
    return curvatures * ((x - OPTIMA) ** 2).sum(axis=1)


def images(psnr_db: np.ndarray, spread_db: float = 0.0, num: int = 40) -> tuple[np.ndarray, list[str]]:
    """Per-image PSNR with these means exactly, and HR ids of two images each."""
    noise = np.random.default_rng(1).normal(0, spread_db, (*psnr_db.shape, num))
    noise -= noise.mean(axis=-1, keepdims=True)
    difficulty = np.random.default_rng(2).normal(0, 3, num)  # in common to all networks and tasks: pairing removes it
    return psnr_db[..., None] + noise + difficulty - difficulty.mean(), [f"{k // 2}" for k in range(num)]


# ---- the cross table


def test_the_table_holds_what_each_task_loses_in_each_network() -> None:
    psnr_db = np.array([[30.0, 25.0], [29.0, 27.0]])  # [network, task]
    assert cross_table(psnr_db).tolist() == [[0.0, 1.0], [2.0, 0.0]]


def test_standard_errors_are_paired_and_clustered_by_hr_image() -> None:
    values, hr_ids = images(quadratic_psnr(np.ones(4)), 0.3)
    errors = cross_errors(values, hr_ids)
    pairs = np.arange(40) // 2
    for task in range(4):
        for network in range(4):
            difference = values[task, task] - values[network, task]
            expected = standard_errors(difference[None], np.array([difference.mean()]), pairs)[0]
            assert errors[task, network] == pytest.approx(expected)
    assert np.diag(errors).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="at least 2 HR images"):
        cross_errors(values, ["a"] * 40)


# ---- predictions


def test_predictions_are_exact_for_quadratics_of_common_curvature() -> None:
    table = cross_table(quadratic_psnr(np.full(4, 0.1)))
    for w in MIXTURES:
        assert shortfall(table, w) == pytest.approx(trained(np.full(4, 0.1), w))


def test_no_mixture_gains_in_the_mean_of_quadratics_of_common_curvature() -> None:
    table = cross_table(quadratic_psnr(np.full(4, 0.1)))
    assert gains(table, MIXTURES).mean(axis=1).max() < 0
    assert gains(table, np.full(4, 0.25)).tolist() == [0.0] * 4


def test_unequal_curvatures_need_the_scaled_form() -> None:
    curvatures = np.array([0.02, 0.05, 0.1, 0.3])
    table = cross_table(quadratic_psnr(curvatures))
    exact = np.array([trained(curvatures, w) for w in MIXTURES])
    assert shortfall(table, MIXTURES, curvatures) == pytest.approx(exact)
    assert shortfall(table, MIXTURES, 7 * curvatures) == pytest.approx(exact)  # only their ratios are needed
    assert np.abs(shortfall(table, MIXTURES) - exact).max() > 0.05


def test_the_corners_of_the_simplex_are_the_single_task_networks() -> None:
    table = RNG.uniform(0, 1, (4, 4)) * (1 - np.eye(4))
    assert shortfall(table, np.eye(4)) == pytest.approx(table.T)


def test_predicted_gains_have_intervals_over_hr_images() -> None:
    psnr_db = quadratic_psnr(np.full(4, 0.1))
    values, hr_ids = images(psnr_db, 0.3)
    w = [0.1, 0.2, 0.3, 0.4]
    found = predicted_gains(values, [10 * each for each in w], hr_ids)
    assert found.gains_db == pytest.approx(gains(cross_table(psnr_db), np.array(w)).tolist())
    assert found.mean_db == pytest.approx(np.mean(found.gains_db))
    assert all(a < g < b for a, g, b in zip(found.low, found.gains_db, found.high, strict=True))
    assert found.mean_low < found.mean_db < found.mean_high
    certain = predicted_gains(*_swapped(images(psnr_db), w))
    assert certain.low == pytest.approx(certain.gains_db)
    assert predicted_gains(values, w, hr_ids, (1,)).low != found.low
    fourfold = predicted_gains(np.tile(values, 4), w, hr_ids * 4)
    assert fourfold.low == pytest.approx(found.low)  # more crops of the same HR images narrow nothing


def _swapped(table: tuple[np.ndarray, list[str]], w: list[float]) -> tuple[np.ndarray, list[float], list[str]]:
    return table[0], w, table[1]


def test_the_interval_covers_the_true_gain_at_60_hr_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 tables; the coverage of each of four intervals has a Monte Carlo error of .013, the bounds are five of it."""
    monkeypatch.setattr(clusters, "NUM_REPLICATES", 300)
    psnr_db, covered = quadratic_psnr(np.full(4, 0.1)), np.zeros(4)
    w = np.array([0.4, 0.3, 0.2, 0.1])
    truth, rng = gains(cross_table(psnr_db), w), np.random.default_rng(3)
    for table in range(300):
        values = psnr_db[..., None] + rng.normal(0, 0.5, (4, 4, 60))
        found = predicted_gains(values, w, [f"{k}" for k in range(60)], ("coverage", table))
        covered += (np.array(found.low) <= truth) & (truth <= np.array(found.high))
    assert (covered / 300 > 0.88).all(), covered / 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psnr_db": np.ones((2, 3, 5))}, r"the table holds \[\[5, 5, 5\], \[5, 5, 5\]\] images"),
        ({"psnr_db": np.ones((3, 3, 4))}, r"the table holds .* and \[5, 5, 5\] images"),
        ({"psnr_db": np.full((3, 3, 5), np.nan)}, "not a finite number"),
        ({"weights": [0.5, 0.5]}, "weights are"),
        ({"weights": [1.0, 0.5, -0.5]}, "none negative"),
        ({"weights": [0.0, 0.0, 0.0]}, "not all zero"),
    ],
)
def test_tables_and_weights_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    arguments = {"psnr_db": np.ones((3, 3, 5)), "weights": [1.0, 1.0, 1.0], "hr_ids": list("abcde")} | change
    with pytest.raises(ValueError, match=message):
        predicted_gains(**arguments)


# ---- the mixture of an aim


def searched(psnr_db: np.ndarray, aim: str, floor: float, max_loss_db: float) -> float:
    """The best value of the objective among 200,000 random mixtures: a bound that the solver must reach."""
    table = cross_table(psnr_db)
    w = floor + (1 - 4 * floor) * np.random.default_rng(4).dirichlet(np.full(4, 0.7), 200_000)
    w = w[(gains(table, w) >= -max_loss_db).all(axis=1)]
    return float((shortfall(table, w) - (np.diag(psnr_db) if aim == "worst" else 0)).max(axis=1).min())


@pytest.mark.parametrize("aim", ["worst", "gap"])
@pytest.mark.parametrize("max_loss_db", [np.inf, 0.02])
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_no_mixture_is_predicted_better_than_the_one_that_is_chosen(aim: str, max_loss_db: float, noise: float) -> None:
    psnr_db = quadratic_psnr(np.full(4, 0.1)) + noise * np.random.default_rng(5).normal(size=(4, 4))
    w = best_mixture(psnr_db, aim, 0.05, max_loss_db)
    table = cross_table(psnr_db)
    assert w.sum() == pytest.approx(1, abs=1e-12)
    assert w.min() >= 0.05
    assert np.round(w, 4).tolist() == w.tolist()
    reached = (shortfall(table, w) - (np.diag(psnr_db) if aim == "worst" else 0)).max()
    assert reached <= searched(psnr_db, aim, 0.05, max_loss_db) + 5e-4
    assert gains(table, w).min() >= -max_loss_db - 5e-4


def test_a_bound_of_no_loss_leaves_equal_volumes_where_no_task_can_gain_without_one() -> None:
    assert best_mixture(quadratic_psnr(np.full(4, 0.1)), "worst", max_loss_db=0.0).tolist() == [0.25] * 4


@pytest.mark.parametrize("aim", ["worst", "gap"])
@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_networks_that_do_not_differ_give_equal_volumes(aim: str, n: int) -> None:
    own = np.linspace(25, 30, n)
    same = np.tile(own, (n, 1))
    assert best_mixture(same, aim).tolist() == [1 / n] * n
    almost = same + np.random.default_rng(6).normal(0, 1e-6, (n, n))  # rounding errors of another machine
    assert best_mixture(almost, aim).tolist() == [1 / n] * n


def test_the_choice_does_not_depend_on_rounding_errors_of_the_table() -> None:
    psnr_db = np.round(quadratic_psnr(np.full(4, 0.1)), 3)
    noise = np.random.default_rng(7).normal(0, 1e-9, (4, 4))
    for aim in ("worst", "gap"):
        assert best_mixture(psnr_db, aim).tolist() == best_mixture(psnr_db + noise, aim).tolist()


def test_the_worst_task_is_served_by_what_it_learns_from() -> None:
    psnr_db = np.array([[30.0, 23.0], [28.0, 25.0]])  # the second task is the worst, and its own data serves it best
    assert best_mixture(psnr_db, "worst") == pytest.approx([0.05, 0.95], abs=1e-3)  # 1e-4 dB off the optimum
    assert best_mixture(psnr_db, "worst", floor=0.2) == pytest.approx([0.2, 0.8], abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"aim": "mean"}, r"aim is mean: choose one of worst \(the largest PSNR .*, gap \("),
        ({"aim": "worst", "floor": 0.3}, r"floor is 0.3: .* at most 0.25 for 4 tasks"),
        ({"aim": "worst", "floor": -0.1}, "floor is -0.1"),
        ({"aim": "gap", "max_loss_db": -1.0}, "max_loss_db is -1.0: it must be 0 or more"),
    ],
)
def test_an_unknown_aim_and_bounds_that_cannot_be_kept_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        best_mixture(quadratic_psnr(np.ones(4)), **change)


# ---- references that overfit


def test_references_that_overfit_are_refused_by_name() -> None:
    psnr_db = quadratic_psnr(np.full(4, 0.1))
    psnr_db[3, 1] = psnr_db[1, 1] + 0.2  # the network of task 3 is better on task 1 than its own
    names = ["mild", "blur", "noise", "severe"]
    with pytest.raises(RunError, match=r"the network of severe is 0\.200 dB better on blur than the network of blur"):
        require_no_overfitting(*_named(images(psnr_db, 0.05), names))
    require_no_overfitting(*_named(images(psnr_db, 3.0), names))  # here it may be the luck of the HR images
    same = np.tile([30.0, 29.0, 28.0, 27.0], (4, 1))
    require_no_overfitting(*_named(images(same), names))
    require_no_overfitting(*_named(images(same - 4e-5 * np.eye(4)), names))  # rounding errors of another machine


def _named(table: tuple[np.ndarray, list[str]], names: list[str]) -> tuple[np.ndarray, list[str], list[str]]:
    return *table, names
