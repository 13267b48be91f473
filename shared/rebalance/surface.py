"""What a mixture can gain, predicted from the cross table of single-task networks (docs/method.md).

D[i, j] is what task i loses, in dB, in the network of task j instead of its own. Where the tasks' losses are
quadratics of one common curvature, the network of the mixture w is the w-mean of the single-task networks, and task i
is behind its own network by

    E_i(w) = sum_j w_j D_ij - 1/2 sum_jk w_j w_k S_jk,   S = (D + D') / 2.

No weights then gain for all tasks: rebalancing moves along a frontier, and which of its points is wanted is an aim that
the user chooses. Predictions hold for each task; a mean, in which gains and losses cancel, was not validated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import RunError
from ..seeds import words
from .clusters import HRIds, by_task, clusters_of, interval, resampled_means, standard_errors
from .estimator import GAP_DECIMALS
from .options import FLOOR, require_aim

TIE_DB = 1e-4
"""A mixture must be predicted better than equal volumes by more than this."""
NUM_STARTS = 16
OVERFIT_ERRORS = 2.0
"""A single-task network that another one beats on its own task by more standard errors than this has overfitted."""


# ---- the cross table

CrossValues = Sequence[Sequence[np.ndarray]]
"""PSNR of n networks on n tasks, dB: entry [j][i], float [m_i], is the network of task j on the images of task i."""


def mean_psnr(psnr_db: CrossValues) -> np.ndarray:
    """Mean PSNR of each network on each task, float [n networks, n tasks], dB."""
    return np.array([[np.mean(row) for row in network] for network in psnr_db])


def cross_table(psnr_db: np.ndarray) -> np.ndarray:
    """D, float [..., n, n], of mean PSNR [..., n networks, n tasks], dB: row i is what task i loses in each network."""
    own = np.diagonal(psnr_db, axis1=-2, axis2=-1)
    return own[..., :, None] - np.swapaxes(psnr_db, -1, -2)


def cross_errors(psnr_db: CrossValues, hr_ids: HRIds) -> np.ndarray:
    """Standard errors of D, float [n, n], from per-image PSNR of n networks on n tasks, paired by image.

    Images of one HR image are a cluster. Raises ValueError with a single HR image.
    """
    names, rows = by_task(hr_ids, len(psnr_db)), []
    if any(len(set(each)) < 2 for each in names):
        raise ValueError("a standard error needs images of at least 2 HR images")
    for task, values in enumerate(_tables(psnr_db)):
        differences = values[task] - values
        rows.append(standard_errors(differences, differences.mean(axis=1), clusters_of(names[task])))
    return np.array(rows)


def _tables(psnr_db: CrossValues) -> list[np.ndarray]:
    """The values by task, n times float [n networks, m_i]."""
    return [np.array([network[task] for network in psnr_db]) for task in range(len(psnr_db))]


def require_no_overfitting(psnr_db: CrossValues, hr_ids: HRIds, tasks: Sequence[str]) -> None:
    """Raises `RunError` where a task does better in another task's network than in its own, beyond 2 standard errors.

    The prediction then does not hold: an own network that is not the best one for its task has learned its rows by
    heart, or was not trained long enough to differ.
    """
    table, errors = np.round(cross_table(mean_psnr(psnr_db)), GAP_DECIMALS), cross_errors(psnr_db, hr_ids)
    i, j = divmod(int(np.argmin(table + OVERFIT_ERRORS * errors)), len(table))
    if table[i, j] + OVERFIT_ERRORS * errors[i, j] < 0:
        raise RunError(
            f"the network of {tasks[j]} is {-table[i, j]:.3f} dB better on {tasks[i]} than the network of {tasks[i]} "
            f"itself (standard error {errors[i, j]:.3f}), so no mixture can be predicted: either the references "
            "overfit (train them on more rows, or for fewer steps), or they hardly differ yet (train them longer)"
        )


# ---- predictions


def shortfall(table: np.ndarray, weights: np.ndarray, curvatures: np.ndarray | None = None) -> np.ndarray:
    """E, float [..., n] dB: what each task is predicted behind its own network under mixtures `weights` [..., n].

    table: D [..., n, n]. curvatures: a [n], if the tasks' losses have curvatures in proportion to these numbers; then
    E_i = a_i (sum_j v_j d_ij - 1/2 sum_jk v_j v_k d_jk) with v_j ~ w_j a_j and d_ij = D_ij / a_i.
    """
    a = np.ones(table.shape[-1]) if curvatures is None else np.asarray(curvatures, float)
    v = np.asarray(weights, float) * a
    v = v / v.sum(axis=-1, keepdims=True)
    d = table / a[:, None]
    linear = np.einsum("...ij,...j->...i", d, v)
    return a * (linear - np.einsum("...i,...i->...", v, linear)[..., None] / 2)  # v'dv sees the symmetric part alone


def gains(table: np.ndarray, weights: np.ndarray, curvatures: np.ndarray | None = None) -> np.ndarray:
    """Predicted PSNR of each task over its PSNR under equal volumes, float [..., n] dB; arguments as of `shortfall`."""
    uniform = np.full(table.shape[-1], 1 / table.shape[-1])
    return shortfall(table, uniform, curvatures) - shortfall(table, weights, curvatures)


@dataclass(frozen=True)
class PredictedGains:
    """Predicted PSNR over equal volumes, dB: of each of n tasks, and of their mean, which was not validated.

    low, high: ends of the 95 % bootstrap interval over HR images. The spread over seeds is not in it.
    """

    gains_db: list[float]
    low: list[float]
    high: list[float]
    mean_db: float
    mean_low: float
    mean_high: float


def predicted_gains(
    psnr_db: CrossValues, weights: Sequence[float], hr_ids: HRIds, key: Sequence[int | str] = (0,)
) -> PredictedGains:
    """What a network trained on a mixture is predicted to gain on each task over one trained on equal volumes.

    Args:
        psnr_db: PSNR in dB, float [n, n, m], or lists where tasks have different numbers of images; entry [j][i][k] is
            the network trained on task j alone, on image k of task i. Networks of a fifth of the planned length do; all
            start from the weights that the mixture starts from
        weights: the mixture, n numbers that are not negative; they are divided by their sum
        hr_ids: name of the HR image that each image was cut from: m strings if image k of every task was cut from the
            same HR image, else such a list for each task. Images with the same name are resampled together
        key: integers and strings that name the random stream of the bootstrap

    Raises:
        ValueError: the shapes do not agree, a PSNR is not finite, or the weights are no mixture
    """
    values, w = require_table(psnr_db, hr_ids), np.asarray(weights, float)
    if w.shape != (len(values),) or not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError(f"weights are {weights}: they must be {len(values)} numbers, none negative, not all zero")
    found = gains(cross_table(mean_psnr(values)), w / w.sum())
    replicates = gains(cross_table(resampled_means(_tables(values), hr_ids, key)), w / w.sum())
    low, high = interval(replicates)
    mean_low, mean_high = interval(replicates.mean(axis=1))
    return PredictedGains(
        found.tolist(), low.tolist(), high.tolist(), float(found.mean()), float(mean_low), float(mean_high)
    )


def require_table(psnr_db: CrossValues, hr_ids: HRIds) -> list[list[np.ndarray]]:
    """The table as float64. Raises ValueError unless it is n x n rows of finite numbers, one for each image."""
    n = len(psnr_db)
    values = [[np.asarray(row, float) for row in network] for network in psnr_db]
    expected = [(len(names),) for names in by_task(hr_ids, n)]
    if not n or (0,) in expected or any([row.shape for row in network] != expected for network in values):
        sizes = [[row.size for row in network] for network in values]
        raise ValueError(
            f"the table holds {sizes} images by network and task: it must be as many networks as tasks, and "
            f"{[size for (size,) in expected]} images"
        )
    if not all(np.isfinite(row).all() for network in values for row in network):
        raise ValueError("a PSNR is not a finite number")
    return values


# ---- the mixture of an aim


def best_mixture(psnr_db: np.ndarray, aim: str, floor: float = FLOOR, max_loss_db: float = math.inf) -> np.ndarray:
    """The mixture, float [n] in steps of 1e-4, that is predicted best for an aim; equal volumes unless one is better.

    psnr_db: mean PSNR [n networks, n tasks], dB. aim: `worst` or `gap` (`AIMS`). floor: smallest weight, at most 1 / n.
    max_loss_db: no task may be predicted more than this below equal volumes.

    Every E_i has the Hessian -S, which is positive on the simplex only where S is conditionally negative definite, and
    noise breaks that: so the problem min t, E_i(w) - goal_i <= t is solved by SLSQP from the uniform mixture, the n
    corners that the floor leaves and 16 keyed draws. Of the mixtures within 1e-4 dB of the best, the one nearest to
    equal volumes is taken. Raises `UsageError` for an unknown aim or a floor or bound out of range.
    """
    n = len(psnr_db)
    require_aim(aim, floor, max_loss_db, n)
    table = np.round(cross_table(psnr_db), GAP_DECIMALS)
    goals = np.round(np.diag(psnr_db), GAP_DECIMALS) if aim == "worst" else np.zeros(n)
    problem = _Problem(table, goals, floor, max_loss_db)
    uniform = np.full(n, 1 / n)
    candidates = [uniform, *filter(problem.allows, map(problem.minimise, _starts(n, floor)))]
    best = min(candidates, key=problem.objective)
    if problem.objective(best) > problem.objective(uniform) - TIE_DB:
        return uniform
    nearest = problem.approach(uniform, best)
    return _rounded(nearest if problem.allows(nearest) else best)


class _Problem:
    """Minimise max_i (E_i(w) - goal_i) over the simplex with w >= floor and E_i(w) <= E_i(1/n) + max_loss_db."""

    def __init__(self, table: np.ndarray, goals: np.ndarray, floor: float, max_loss_db: float) -> None:
        self.table, self.goals, self.floor = table, goals, floor
        self.symmetric = (table + table.T) / 2
        n = len(table)
        self.limits = shortfall(table, np.full(n, 1 / n)) + max_loss_db

    def objective(self, w: np.ndarray) -> float:
        """The quantity that is minimised, dB."""
        return float((shortfall(self.table, w) - self.goals).max())

    def allows(self, w: np.ndarray) -> bool:
        """Whether w keeps the floor and the limits, up to the solver's tolerance."""
        return bool(
            np.isfinite(w).all()
            and abs(w.sum() - 1) < 1e-6
            and (w >= self.floor - 1e-6).all()
            and (shortfall(self.table, w) <= self.limits + 1e-6).all()
        )

    def minimise(self, start: np.ndarray) -> np.ndarray:
        """A local optimum from `start`."""
        n = len(start)
        below = {
            "type": "ineq",
            "fun": lambda x: x[n] - shortfall(self.table, x[:n]) + self.goals,
            "jac": lambda x: np.hstack([-self._slopes(x[:n]), np.ones((n, 1))]),
        }
        variables = np.append(start, self.objective(start))
        return self._solve(lambda x: x[n], lambda x: np.eye(n + 1)[n], variables, [below])[:n]

    def approach(self, target: np.ndarray, start: np.ndarray) -> np.ndarray:
        """The mixture nearest to `target` whose objective is that of `start`, up to `TIE_DB`."""
        reached = self.objective(start) + TIE_DB
        below = {
            "type": "ineq",
            "fun": lambda x: reached - shortfall(self.table, x) + self.goals,
            "jac": lambda x: -self._slopes(x),
        }
        return self._solve(lambda x: ((x - target) ** 2).sum(), lambda x: 2 * (x - target), start, [below])

    def _solve(self, objective, slope, start, constraints) -> np.ndarray:
        from scipy.optimize import minimize  # here: it takes a third of a second, and most commands never come here

        n, size = len(self.table), len(start)
        pad = np.zeros((n, size - n))
        constraints = [
            {"type": "eq", "fun": lambda x: x[:n].sum() - 1, "jac": lambda x: (np.arange(size) < n).astype(float)},
            *constraints,
        ]
        if np.isfinite(self.limits).all():
            constraints.append(
                {
                    "type": "ineq",
                    "fun": lambda x: self.limits - shortfall(self.table, x[:n]),
                    "jac": lambda x: np.hstack([-self._slopes(x[:n]), pad]),
                }
            )
        bounds = [(self.floor, 1.0)] * n + [(None, None)] * (size - n)
        options = {"maxiter": 300, "ftol": 1e-12}
        return minimize(
            objective, start, jac=slope, bounds=bounds, constraints=constraints, method="SLSQP", options=options
        ).x

    def _slopes(self, w: np.ndarray) -> np.ndarray:
        """dE_i / dw_j, float [n, n]."""
        return self.table - self.symmetric @ w


def _starts(n: int, floor: float) -> list[np.ndarray]:
    """The uniform mixture, the corners and 16 draws from the flat Dirichlet distribution, all above the floor."""
    uniform = (words(NUM_STARTS * n, "mixture starts", n) >> np.uint64(11)) * 2.0**-53 + 2.0**-54
    exponential = -np.log(uniform.reshape(NUM_STARTS, n))
    inside = np.concatenate([np.eye(n), exponential / exponential.sum(axis=1, keepdims=True)])
    return [np.full(n, 1 / n), *(floor + (1 - n * floor) * inside)]


def _rounded(w: np.ndarray) -> np.ndarray:
    """Weights in steps of 1e-4, so that the last bits of a solver do not decide; the largest takes what is left."""
    steps = np.rint(w * 1e4)
    steps[steps.argmax()] += 1e4 - steps.sum()
    return steps / 1e4
