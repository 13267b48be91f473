"""Fig. 5 (a): do groups of tasks last? TGSR-style grouping of random tasks at two checkpoints of a shared run.

The tasks are frozen plans. Each is fine-tuned on alone, once from the weights that the shared run starts from (where a
static grouping is made) and once from those that it ends with, on the same samples in the same order. The gains are
cut into four equal groups by rank at either checkpoint. If the groups were pure noise, three tasks in four would move.
"""

import json
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from scripts.reproduce.lab import NO_TESTS, Lab
from shared.errors import run_command
from shared.rebalance.clusters import interval
from shared.seeds import permutation
from train.evaluation.summaries import markdown as table
from train.grouping.groups import equal_groups

NUM_GROUPS = 4
NUM_PERMUTATIONS = 10_000


@dataclass(frozen=True)
class Agreement:
    """Two groupings of the same tasks. moved: tasks in another group at the second checkpoint, a share of all.

    rank_correlation: Spearman's, of the gains. noise_moved, noise_correlation: (low, mean, high) of these if the second
    gains came in any order, 95 % of 10,000 permutations between low and high.
    """

    tasks: int
    moved: float
    rank_correlation: float
    noise_moved: tuple[float, float, float]
    noise_correlation: tuple[float, float, float]


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig5a", argv, __doc__, without=("seeds", *NO_TESTS))
    lab.announce(lab.scale.setting("iterations") + 2 * lab.grouping_steps(lab.scale.random_tasks))
    lab.initial()
    lab.train("shared", "--policy", "uniform")
    lab.do([partial(gains, at=at) for at in ("start", "end")])
    start_db, end_db = (gains(lab, at) for at in ("start", "end"))
    found = agreement(start_db, end_db)
    lab.write("fig5a", {"start_db": start_db, "end_db": end_db, **asdict(found)}, markdown(start_db, end_db, found))
    figure(start_db, end_db, found).savefig(lab.folder / "fig5a.png", dpi=150)
    return 0


def gains(lab: Lab, at: str) -> list[float]:
    """Gain of a fine-tuning on each task alone from a checkpoint of the shared run, dB."""
    count = lab.scale.random_tasks
    if at == "start":
        return gains_of(lab.groups(plans=count))
    run = lab.train("shared", "--policy", "uniform")
    alone = ("--grouping.share", str(1 / count))  # the joint fine-tuning says nothing here: on one task, the least
    return gains_of(lab.groups(*alone, "--init", str(run), name="end", plans=count))


def gains_of(groups: Path) -> list[float]:
    """The gains in a file that this experiment has written."""
    return json.loads(groups.read_text())["grouping"]["gains_db"]


def agreement(start_db: list[float], end_db: list[float]) -> Agreement:
    """Compare groupings into four equal groups, and with what chance alone would give."""
    start, end = (np.array(equal_groups(gains_db, NUM_GROUPS)) for gains_db in (start_db, end_db))
    ranks = [stats.rankdata(gains_db) for gains_db in (start_db, end_db)]
    shuffles = [permutation(len(start), "fig5a", number) for number in range(NUM_PERMUTATIONS)]
    moved = [float((start != end[shuffle]).mean()) for shuffle in shuffles]
    correlations = [float(np.corrcoef(ranks[0], ranks[1][shuffle])[0, 1]) for shuffle in shuffles]
    return Agreement(
        tasks=len(start),
        moved=float((start != end).mean()),
        rank_correlation=float(np.corrcoef(*ranks)[0, 1]),
        noise_moved=_spread(moved),
        noise_correlation=_spread(correlations),
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    low, high = interval(np.array(values))
    return float(low), float(np.mean(values)), float(high)


def counts(start_db: list[float], end_db: list[float]) -> np.ndarray:
    """Tasks by group at the start (rows) and at the end (columns), int64 [4, 4]."""
    table = np.zeros((NUM_GROUPS, NUM_GROUPS), np.int64)
    pairs = zip(equal_groups(start_db, NUM_GROUPS), equal_groups(end_db, NUM_GROUPS), strict=True)
    for first, second in pairs:
        table[first - 1, second - 1] += 1
    return table


def markdown(start_db: list[float], end_db: list[float], found: Agreement) -> str:
    """What moved, what chance would move, and from where to where."""
    low, mean, high = found.noise_moved
    below, _, above = found.noise_correlation
    ends = range(1, NUM_GROUPS + 1)
    lines = [
        f"{found.tasks} tasks; {found.moved:.0%} changed their group; by chance {mean:.0%} ({low:.0%} to {high:.0%})",
        f"Rank correlation of the gains {found.rank_correlation:+.2f}; by chance {below:+.2f} to {above:+.2f}",
        f"Gains at the start {min(start_db):+.3f} to {max(start_db):+.3f} dB, "
        f"at the end {min(end_db):+.3f} to {max(end_db):+.3f} dB",
        "",
    ]
    rows = [[f"{group}", *map(str, row)] for group, row in zip(ends, counts(start_db, end_db).tolist(), strict=True)]
    return "\n".join([*lines, table(["group at the start", *(f"{end} at the end" for end in ends)], rows)])


def figure(start_db: list[float], end_db: list[float], found: Agreement) -> Figure:
    """Left: every task, coloured by its group at the start; dotted: borders of groups. Right: tasks by both groups."""
    picture, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    groups = np.array([equal_groups(start_db, NUM_GROUPS), equal_groups(end_db, NUM_GROUPS)])
    gains_db = np.array([start_db, end_db])
    for group in range(1, NUM_GROUPS + 1):
        left.scatter(*gains_db[:, groups[0] == group], s=18, label=f"group {group} at the start")
    for place, line in enumerate((left.axvline, left.axhline)):
        for group in range(1, NUM_GROUPS):
            line(_between(gains_db[place], groups[place], group), color="grey", linewidth=0.6, linestyle=":")
    left.set_xlabel("gain of fine-tuning from the start of the run, dB")
    left.set_ylabel("from its end, dB")
    left.set_title(f"rank correlation {found.rank_correlation:+.2f}", fontsize=10)
    left.legend(fontsize=7)
    table = counts(start_db, end_db)
    right.imshow(table, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(table):
        right.text(column, row, str(count), ha="center", va="center", color="white" if count > table.max() / 2 else "k")
    names = [f"{group}" for group in range(1, NUM_GROUPS + 1)]
    right.set_xticks(range(NUM_GROUPS), names)
    right.set_yticks(range(NUM_GROUPS), names)
    right.set_xlabel("group at the end")
    right.set_ylabel("group at the start (1 gains most)")
    _, chance, _ = found.noise_moved
    right.set_title(f"{found.moved:.0%} of {found.tasks} tasks moved; by chance {chance:.0%}", fontsize=10)
    return picture


def _between(gains_db: np.ndarray, groups: np.ndarray, group: int) -> float:
    """Half way between a group and the next one, which gains less."""
    return float((gains_db[groups == group].min() + gains_db[groups == group + 1].max()) / 2)


if __name__ == "__main__":
    sys.exit(run_command(main))
