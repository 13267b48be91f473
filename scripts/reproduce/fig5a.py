"""Fig. 5 (a): do groups of tasks last? TGSR's indicator on random tasks at two checkpoints during a shared run.

The tasks are frozen plans drawn from the run's tasks in turn. Each is fine-tuned on alone, once from a checkpoint early
in the run and once from a later one, on the same samples in the same order. The gains are cut into four equal groups by
rank at either checkpoint. If the groups were pure noise, three tasks in four would change theirs.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from scripts.reproduce.comparison import main_arm, num_steps, train_arm
from scripts.reproduce.fine_tunes import FineTunes, checkpoints
from scripts.reproduce.lab import Lab
from shared.mixing.tasks import find_tasks
from shared.rebalance.clusters import interval
from shared.seeds import permutation
from train.evaluation.summaries import markdown as table
from train.grouping.groups import draw_tasks, frozen

NUM_GROUPS = 4
NUM_PERMUTATIONS = 10_000
INDICATOR_STEPS = 100
"""TGSR's length of a fine-tuning."""
AT = (0, 1)
"""The checkpoints, among three that are evenly spaced: after one and two thirds of the run."""


@dataclass(frozen=True)
class Agreement:
    """Two groupings of the same tasks. moved: share of the tasks that are in another group at the second checkpoint.

    rank_correlation: Spearman's, of the gains. noise_moved, noise_correlation: (low, mean, high) of these if the second
    gains came in any order, 95 % of 10,000 permutations between low and high.
    """

    tasks: int
    moved: float
    rank_correlation: float
    noise_moved: tuple[float, float, float]
    noise_correlation: tuple[float, float, float]


def steps(lab: Lab) -> int:
    """Training steps: the main run with its references, and two fine-tunes for each task."""
    return num_steps(lab, [main_arm(lab)], seeds=1) + len(AT) * lab.scale.random_tasks * INDICATOR_STEPS


def run(lab: Lab) -> None:
    """Fine-tune, group, and write the table and the figure."""
    folders = [_checkpoint(lab, number) for number in range(len(AT))]
    lab.do([partial(gains, at=number) for number in range(len(AT))])
    first_db, second_db = (gains(lab, at) for at in range(len(AT)))
    found = agreement(first_db, second_db)
    numbers = {"steps": [int(folder.name[5:]) for folder in folders], "first_db": first_db, "second_db": second_db}
    lab.write("fig5a", numbers | asdict(found), markdown(first_db, second_db, found))
    figure(first_db, second_db, found).savefig(lab.folder / "fig5a.png", dpi=150)


def gains(lab: Lab, at: int) -> list[float]:
    """Gain of a fine-tuning on each task alone from one of the two checkpoints, dB."""
    plans = [frozen(task).plan for task in draw_tasks(find_tasks(lab.shards()), 0, lab.scale.random_tasks)]
    return FineTunes(lab, f"at{at}t", plans, _checkpoint(lab, at), INDICATOR_STEPS).gains_db().mean(axis=1).tolist()


def _checkpoint(lab: Lab, at: int) -> Path:
    """The first or the second of the two checkpoints of the main run."""
    return checkpoints(train_arm(lab, main_arm(lab), 0), 3)[AT[at]]


def equal_groups(gains_db: Sequence[float], count: int) -> list[int]:
    """Group of each gain, 1 .. count, of equal sizes by rank, the largest gains in group 1 (paper Fig. 5 (a))."""
    ranked = sorted(range(len(gains_db)), key=lambda place: -gains_db[place])
    groups = [0] * len(gains_db)
    for rank, place in enumerate(ranked):
        groups[place] = rank * count // len(ranked) + 1
    return groups


def agreement(first_db: list[float], second_db: list[float]) -> Agreement:
    """Compare the two groupings into four equal groups with each other, and with what chance alone would give."""
    first, second = (np.array(equal_groups(gains_db, NUM_GROUPS)) for gains_db in (first_db, second_db))
    ranks = [stats.rankdata(gains_db) for gains_db in (first_db, second_db)]
    shuffles = [permutation(len(first), "fig5a", number) for number in range(NUM_PERMUTATIONS)]
    moved = [float((first != second[shuffle]).mean()) for shuffle in shuffles]
    correlations = [float(np.corrcoef(ranks[0], ranks[1][shuffle])[0, 1]) for shuffle in shuffles]
    return Agreement(
        tasks=len(first),
        moved=float((first != second).mean()),
        rank_correlation=float(np.corrcoef(*ranks)[0, 1]),
        noise_moved=_spread(moved),
        noise_correlation=_spread(correlations),
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    low, high = interval(np.array(values))
    return float(low), float(np.mean(values)), float(high)


def counts(first_db: list[float], second_db: list[float]) -> np.ndarray:
    """Tasks by group at the first checkpoint (rows) and at the second (columns), int64 [4, 4]."""
    groups, ends = [equal_groups(each, NUM_GROUPS) for each in (first_db, second_db)], range(1, NUM_GROUPS + 1)
    return stats.contingency.crosstab(*groups, levels=(ends, ends)).count


def markdown(first_db: list[float], second_db: list[float], found: Agreement) -> str:
    """How many tasks moved, how many chance would move, and from where to where."""
    low, mean, high = found.noise_moved
    below, _, above = found.noise_correlation
    ends = range(1, NUM_GROUPS + 1)
    lines = [
        f"{found.tasks} tasks; {found.moved:.0%} changed their group; by chance {mean:.0%} ({low:.0%} to {high:.0%})",
        f"Rank correlation of the gains {found.rank_correlation:+.2f}; by chance {below:+.2f} to {above:+.2f}",
        f"Gains at the first checkpoint {min(first_db):+.3f} to {max(first_db):+.3f} dB, "
        f"at the second {min(second_db):+.3f} to {max(second_db):+.3f} dB",
        "",
    ]
    rows = [[f"{group}", *map(str, row)] for group, row in zip(ends, counts(first_db, second_db).tolist(), strict=True)]
    return "\n".join(
        [*lines, table(["group at the first checkpoint", *(f"{end} at the second" for end in ends)], rows)]
    )


def figure(first_db: list[float], second_db: list[float], found: Agreement) -> Figure:
    """Left: every task, coloured by its first group; dotted: boundaries of groups. Right: tasks by both groups."""
    drawn, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    groups = np.array([equal_groups(first_db, NUM_GROUPS), equal_groups(second_db, NUM_GROUPS)])
    gains_db = np.array([first_db, second_db])
    for group in range(1, NUM_GROUPS + 1):
        left.scatter(*gains_db[:, groups[0] == group], s=18, label=f"group {group} at first")
    for place, line in enumerate((left.axvline, left.axhline)):
        for group in range(1, NUM_GROUPS):
            line(_between(gains_db[place], groups[place], group), color="grey", linewidth=0.6, linestyle=":")
    left.set_xlabel("gain of fine-tuning from the first checkpoint, dB")
    left.set_ylabel("from the second, dB")
    left.set_title(f"rank correlation {found.rank_correlation:+.2f}", fontsize=10)
    left.legend(fontsize=7)
    table = counts(first_db, second_db)
    right.imshow(table, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(table):
        right.text(column, row, str(count), ha="center", va="center", color="white" if count > table.max() / 2 else "k")
    names = [f"{group}" for group in range(1, NUM_GROUPS + 1)]
    right.set_xticks(range(NUM_GROUPS), names)
    right.set_yticks(range(NUM_GROUPS), names)
    right.set_xlabel("group at the second checkpoint")
    right.set_ylabel("group at the first (1 gains most)")
    _, chance, _ = found.noise_moved
    right.set_title(f"{found.moved:.0%} of {found.tasks} tasks moved; by chance {chance:.0%}", fontsize=10)
    return drawn


def _between(gains_db: np.ndarray, groups: np.ndarray, group: int) -> float:
    """Half way between a group and the next one, which gains less."""
    return float((gains_db[groups == group].min() + gains_db[groups == group + 1].max()) / 2)
