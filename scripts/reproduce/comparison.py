"""Networks trained alike but for one thing, paired by seed: what the tables, Fig. 7 and the study compare.

All arms share datasets, initial weights and, for a seed, the order of each task's samples, so that the difference
between two arms of one seed holds as little chance as possible. The rest shows in the spread over seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, stats

from scripts.reproduce.lab import Job, Lab, boundaries
from shared.rebalance.policies import POLICIES
from train.evaluation.paired import student_reach
from train.evaluation.summaries import markdown as table

POWER = 0.8
POINTS = 20_000
"""Quantiles of a standard deviation's distribution, over which a mean stands for an integral."""
Means = dict[str, np.ndarray]
"""By arm: float64 [seeds, test sets as of `Lab.names`], the mean PSNR-Y over the images, dB."""


@dataclass(frozen=True)
class Arm:
    """One kind of network. name: its folder, and its name in tables. flags: options of train/run.py.

    cut: partition it trains on. rows: rows of each task (default: all). network: another than the recipe's.
    reference_flags: options of its single-task networks.
    """

    name: str
    policy: str = "uniform"
    flags: tuple[str, ...] = ()
    cut: str = "2x2"
    rows: int | None = None
    network: str | None = None
    reference_flags: tuple[str, ...] = ()

    @property
    def judged(self) -> bool:
        """Whether it is measured against single-task networks while it trains."""
        return POLICIES[self.policy].needs_references

    @property
    def grouped(self) -> bool:
        """Whether it trains on groups of frozen plans, which are found first."""
        return POLICIES[self.policy].needs_groups

    @property
    def start(self) -> "Start":
        """What its single-task networks depend on, besides the seed."""
        return self.cut, self.rows, self.network, self.reference_flags


Start = tuple[str, int | None, str | None, tuple[str, ...]]
UNIFORM, REWEIGHT, REBALANCE = Arm("uniform"), Arm("reweight", "reweight"), Arm("rebalance", "rebalance")


def main_arm(lab: Lab) -> Arm:
    """What the figures look at: the paper's method on its four tasks, stage psnr, with all checkpoints."""
    keep = ("--keep", str(lab.scale.iterations // lab.scale.interval_steps + 1))
    return Arm("main", "rebalance", (*keep, *lab.psnr), reference_flags=lab.psnr)


@dataclass(frozen=True)
class ArmDifference:
    """Mean over seeds of (arm - baseline) with its 95 % interval (Student's t, paired by seed).

    detectable: the smallest true difference that this many seeds would find with 80 % probability at the 5 % level
    (noncentral t), if the spread over seeds is the one that was seen. None where a single seed says nothing about
    spread.
    """

    mean: float
    low: float | None
    high: float | None
    detectable: float | None

    @property
    def resolved(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def run_arms(lab: Lab, arms: Sequence[Arm], testsets: Mapping[str, str]) -> Means:
    """Train every arm with every seed, and measure PSNR-Y on the test sets."""
    train_arms(lab, arms)
    seeds = range(lab.settings.seeds)
    lab.do([partial(measure_arm, arm=arm, seed=seed, testsets=testsets) for seed in seeds for arm in arms])
    return {arm.name: np.array([measure_arm(lab, arm, seed, testsets) for seed in seeds]) for arm in arms}


def train_arms(lab: Lab, arms: Sequence[Arm]) -> None:
    """Train every arm with every seed, after the networks and groups that they need."""
    seeds = range(lab.settings.seeds)
    for network in dict.fromkeys(arm.network for arm in arms):
        lab.initial(network)
    for cut, rows in dict.fromkeys((arm.cut, arm.rows) for arm in arms):
        lab.shards(cut, rows=rows)
    judged = dict.fromkeys(arm.start for arm in arms if arm.judged)
    grouped = dict.fromkeys((arm.cut, arm.rows) for arm in arms if arm.grouped)
    searches: list[Job] = [partial(Lab.groups, cut=cut, rows=rows) for cut, rows in grouped]
    searches += [partial(references, start=start, seed=seed) for seed in seeds for start in judged]
    lab.do(searches)
    lab.do([partial(train_arm, arm=arm, seed=seed) for seed in seeds for arm in arms])


def num_steps(lab: Lab, arms: Sequence[Arm], seeds: int | None = None) -> int:
    """Training steps of arms, of their references, and of the other networks that they start from.

    seeds: how many of each kind (default: as the settings say).
    """
    seeds = lab.settings.seeds if seeds is None else seeds
    others = len({arm.network for arm in arms} - {None}) * lab.scale.pretrain_steps
    single = sum(len(lab.tasks(cut)) for cut, *_ in {arm.start for arm in arms if arm.judged})
    searches = len({(arm.cut, arm.rows) for arm in arms if arm.grouped}) * lab.grouping_steps()
    return lab.scale.iterations * seeds * (len(arms) + single) + others + searches


def references(lab: Lab, start: Start, seed: int) -> Path:
    """Folder of the single-task networks of arms with that start."""
    cut, rows, network, flags = start
    return lab.references(*flags, cut=cut, rows=rows, network=network, seed=seed)


def train_arm(lab: Lab, arm: Arm, seed: int) -> Path:
    """Run folder of an arm's network."""
    flags = ("--policy", arm.policy, *arm.flags)
    if arm.judged:
        flags += ("--references", str(references(lab, arm.start, seed)))
    if arm.grouped:
        flags += ("--groups", str(lab.groups(cut=arm.cut, rows=arm.rows)), *lab.grouping())
    return lab.train(arm.name, flags, arm.cut, arm.rows, seed, arm.network)


def measure_arm(lab: Lab, arm: Arm, seed: int, testsets: Mapping[str, str]) -> list[float]:
    """Mean PSNR-Y of an arm's network over the images of each test set, dB."""
    table = lab.measure(train_arm(lab, arm, seed), testsets)
    return [float(np.mean(values)) for values in table.values()]


def difference(values: np.ndarray, baseline: np.ndarray) -> ArmDifference:
    """Compare two arms, float [seeds] each, seed by seed."""
    delta = values - baseline
    count, mean = len(delta), float(delta.mean())
    if count < 2:
        return ArmDifference(mean, None, None, None)
    error = float(delta.std(ddof=1)) / count**0.5
    reach = student_reach(count) * error
    return ArmDifference(mean, mean - reach, mean + reach, _detectable(count) * error)


@cache
def _detectable(count: int) -> float:
    """Standard errors of a true difference whose interval leaves 0 out, at either side, with probability `POWER`."""
    freedom, places = count - 1, (np.arange(POINTS) + 0.5) / POINTS
    thresholds = student_reach(count) * np.sqrt(stats.chi2.ppf(places, freedom) / freedom)  # equally likely ones

    def found(true: float) -> float:
        return float((stats.norm.sf(thresholds - true) + stats.norm.cdf(-thresholds - true)).mean())

    return float(optimize.brentq(lambda true: found(true) - POWER, 0, 100))


def with_summary(values: np.ndarray) -> np.ndarray:
    """float [seeds, sets] with two more columns: the mean over test sets, and the worst."""
    return np.column_stack([values, values.mean(axis=1), values.min(axis=1)])


def markdown(means: Means, names: Sequence[str], baseline: str) -> str:
    """Two tables: means (and spread over seeds), and differences to the baseline with what can be resolved.

    Columns: the test sets, then their mean and the worst of them.
    """
    columns, base = [*names, "mean", "worst"], with_summary(means[baseline])
    seeds = len(base)
    lines, differences = [], []
    for arm, values in means.items():
        cells = with_summary(values)
        if arm != baseline:
            differences.append([arm, *(_cell(difference(*each)) for each in zip(cells.T, base.T, strict=True))])
        spread = [f" ({s:.3f})" for s in cells.std(axis=0, ddof=1)] if seeds > 1 else [""] * len(columns)
        lines.append([arm, *(f"{mean:.3f}{s}" for mean, s in zip(cells.mean(axis=0), spread, strict=True))])
    return (
        f"PSNR-Y in dB, mean over {seeds} seed{'s (standard deviation over seeds)' if seeds > 1 else ''}\n\n"
        f"{table(['', *columns], lines)}\n"
        f"Difference to {baseline}: mean [95 % interval], smallest detectable; **bold** = resolved\n\n"
        f"{table(['', *columns], differences)}"
    )


def _cell(found: ArmDifference) -> str:
    if found.low is None:
        return f"{found.mean:+.3f} (one seed)"
    text = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}], {found.detectable:.3f}"
    return f"**{text}**" if found.resolved else text


def gaps_of(lab: Lab, arm: Arm) -> dict[str, Any]:
    """How large the gaps of a judged arm were at the last boundary of its runs, and how noisy: a list over the tasks.

    gaps_db: mean over seeds. spread_db: standard deviation over seeds, None with one. errors_db: root mean square of
    the standard errors over photographs, None with one. weights: lowest and highest over all boundaries and seeds.
    """
    logs = [boundaries(train_arm(lab, arm, seed)) for seed in range(lab.settings.seeds)]
    last = np.array([log[-1]["estimate"]["gaps_db"] for log in logs])
    errors = np.array([log[-1]["estimate"]["errors_db"] for log in logs], float)  # None becomes NaN
    weights = np.array([boundary["estimate"]["weights"] for log in logs for boundary in log])
    return {
        "tasks": logs[0][-1]["tasks"],
        "gaps_db": last.mean(axis=0).tolist(),
        "spread_db": last.std(axis=0, ddof=1).tolist() if len(last) > 1 else None,
        "errors_db": np.sqrt((errors**2).mean(axis=0)).tolist() if np.isfinite(errors).all() else None,
        "weights": [*zip(weights.min(axis=0).tolist(), weights.max(axis=0).tolist(), strict=True)],
    }
