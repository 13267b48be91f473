"""Networks trained alike but for one thing, paired by seed: the tables of the paper and the study.

All arms share datasets, initial weights and, for a seed, the order of samples of each task, so that a difference
between two arms of one seed holds as little chance as can be. What is left shows in the spread over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from scripts.reproduce.lab import Job, Lab, borders
from train.policies import make_policy

CONFIDENCE = 0.95
POWER = 0.8
Means = dict[str, np.ndarray]
"""By arm: float64 [seeds, test sets], mean PSNR-Y in dB."""


@dataclass(frozen=True)
class Arm:
    """One kind of network. flags: of train/run.py. cut: partition it trains on. rows: of each task (default: all)."""

    name: str
    policy: str = "uniform"
    flags: tuple[str, ...] = ()
    cut: str = "2x2"
    rows: int | None = None

    @property
    def judged(self) -> bool:
        """Whether it is compared with single-task networks while it trains."""
        return make_policy(self.policy).needs_references

    @property
    def grouped(self) -> bool:
        """Whether frozen plans are trained on, in groups that are found first."""
        return make_policy(self.policy).needs_groups


@dataclass(frozen=True)
class Difference:
    """Mean over seeds of (arm - baseline), dB, with its 95 % interval (Student's t, paired by seed).

    detectable_db: the smallest true difference that this many seeds would find with 80 % probability at the 5 % level,
    given the spread that was seen. None where a single seed says nothing about spread.
    """

    mean_db: float
    low_db: float | None
    high_db: float | None
    detectable_db: float | None

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low_db is not None and self.high_db is not None and not self.low_db <= 0 <= self.high_db


def run_arms(lab: Lab, arms: Sequence[Arm], testsets: Mapping[str, str]) -> Means:
    """Train every arm with every seed, and measure it on the test sets."""
    seeds = range(lab.settings.seeds)
    lab.announce()
    lab.initial()
    for cut, rows in dict.fromkeys((arm.cut, arm.rows) for arm in arms):
        lab.shards(cut, rows=rows)
    judged = dict.fromkeys((arm.cut, arm.rows) for arm in arms if arm.judged)
    grouped = dict.fromkeys((arm.cut, arm.rows) for arm in arms if arm.grouped)
    searches: list[Job] = [partial(Lab.groups, cut=cut, rows=rows) for cut, rows in grouped]
    searches += [partial(Lab.references, cut=cut, rows=rows, seed=seed) for seed in seeds for cut, rows in judged]
    lab.do(searches)
    lab.do([partial(measure, arm=arm, seed=seed, testsets=dict(testsets)) for seed in seeds for arm in arms])
    return {arm.name: np.array([measure(lab, arm, seed, testsets) for seed in seeds]) for arm in arms}


def measure(lab: Lab, arm: Arm, seed: int, testsets: Mapping[str, str]) -> list[float]:
    """Mean PSNR-Y of an arm's network on each test set, dB."""
    flags = ("--policy", arm.policy, *arm.flags)
    if arm.judged:
        flags += ("--references", str(lab.references(cut=arm.cut, rows=arm.rows, seed=seed)))
    if arm.grouped:
        flags += ("--groups", str(lab.groups(cut=arm.cut, rows=arm.rows)), *lab.grouping())
    table = lab.measure(lab.train(arm.name, *flags, cut=arm.cut, rows=arm.rows, seed=seed), dict(testsets))
    return [float(np.mean(table[name])) for name in testsets]


def difference(values_db: np.ndarray, baseline_db: np.ndarray) -> Difference:
    """Compare two arms, float [seeds] each, seed by seed."""
    delta = values_db - baseline_db
    count, mean = len(delta), float(delta.mean())
    if count < 2:
        return Difference(mean, None, None, None)
    error = float(delta.std(ddof=1)) / count**0.5
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    return Difference(
        mean, mean - reach * error, mean + reach * error, (reach + float(stats.t.ppf(POWER, count - 1))) * error
    )


def compare(means: Means, names: Sequence[str], baseline: str) -> dict[str, dict[str, Difference]]:
    """Every arm against the baseline on every column: the test sets, then their mean and the worst of them."""
    table = {arm: with_summary(values) for arm, values in means.items()}
    columns = [*names, "mean", "worst"]
    return {
        arm: {column: difference(values[:, i], table[baseline][:, i]) for i, column in enumerate(columns)}
        for arm, values in table.items()
        if arm != baseline
    }


def with_summary(values: np.ndarray) -> np.ndarray:
    """float [seeds, sets] with two more columns: the mean over test sets, and the worst."""
    return np.column_stack([values, values.mean(axis=1), values.min(axis=1)])


def markdown(means: Means, names: Sequence[str], baseline: str) -> str:
    """Two tables: PSNR-Y (mean and spread over seeds), and differences to the baseline with what can be resolved."""
    columns = [*names, "mean", "worst"]
    seeds = len(next(iter(means.values())))
    lines = [f"PSNR-Y in dB, mean over {seeds} seeds (standard deviation over seeds)", ""]
    lines += _head(["", *columns])
    for arm, values in means.items():
        cells = with_summary(values)
        spread = cells.std(axis=0, ddof=1) if seeds > 1 else [None] * len(columns)
        shown = [
            f"{m:.3f}" + (f" ({s:.3f})" if s is not None else "") for m, s in zip(cells.mean(0), spread, strict=True)
        ]
        lines.append(_line([arm, *shown]))
    lines += ["", f"Difference to {baseline} in dB: mean [95 % interval], smallest detectable; **bold** = resolved", ""]
    lines += _head(["", *columns])
    for arm, row in compare(means, names, baseline).items():
        lines.append(_line([arm, *(_cell(row[column]) for column in columns)]))
    return "\n".join(lines) + "\n"


def _cell(found: Difference) -> str:
    if found.low_db is None:
        return f"{found.mean_db:+.3f} (one seed)"
    text = f"{found.mean_db:+.3f} [{found.low_db:+.3f}, {found.high_db:+.3f}], {found.detectable_db:.3f}"
    return f"**{text}**" if found.resolved else text


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True)
class Gaps:
    """What an arm's estimator saw at its last border, by task.

    gaps_db: mean over seeds. spread_db: standard deviation over seeds, None with one. errors_db: root mean
    square of the standard errors over photographs. weights: lowest and highest over all borders and seeds.
    """

    tasks: list[str]
    gaps_db: list[float]
    spread_db: list[float] | None
    errors_db: list[float]
    weights: list[tuple[float, float]]


def gaps_of(lab: Lab, arm: Arm) -> Gaps:
    """How large the gaps of a judged arm were, and how noisy."""
    logs = [borders(lab.folder / arm.name / f"seed{seed}") for seed in range(lab.settings.seeds)]
    last = np.array([log[-1]["estimate"]["gaps_db"] for log in logs])
    errors = np.array([[e or 0.0 for e in log[-1]["estimate"]["errors_db"]] for log in logs])
    weights = np.array([border["estimate"]["weights"] for log in logs for border in log])
    return Gaps(
        tasks=logs[0][-1]["tasks"],
        gaps_db=last.mean(axis=0).tolist(),
        spread_db=last.std(axis=0, ddof=1).tolist() if len(last) > 1 else None,
        errors_db=np.sqrt((errors**2).mean(axis=0)).tolist(),
        weights=[*zip(weights.min(axis=0).tolist(), weights.max(axis=0).tolist(), strict=True)],
    )
