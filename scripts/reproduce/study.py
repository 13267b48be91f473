"""Does it help? Every policy at equal samples, temperatures, and the number of distinct rows: paired by seed.

All networks start from the same weights and see, for one seed, each task's samples in the same order. Every difference
stands beside the smallest one that so many seeds could have found; "not resolved" is an answer.
"""

import sys
from dataclasses import asdict

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm, Gaps, gaps_of, markdown, run_arms
from scripts.reproduce.lab import Lab
from shared.errors import run_command
from train.evaluation.summaries import markdown as table
from train.policies import POLICIES

FRESH = Arm("uniform, on the fly", flags=("--source", "fly"))
FLAGS = {"optimal": ("--moments", "16")}
"""What a policy needs beside its name."""
TEMPERATURES_DB = (0.3, 0.1, 0.03)
ROWS = (25, 100)
PARTS: dict[str, tuple[Arm, ...]] = {  # the first arm of each is what the others are compared with
    "Policies": (UNIFORM, *(Arm(name, name, FLAGS.get(name, ())) for name in POLICIES if name != "uniform")),
    "Re-sampling against re-weighting": (REWEIGHT, REBALANCE),
    "The same at a tenth of the temperature": (
        Arm("reweight, 0.1 dB", "reweight", ("--estimator.temperature", "0.1")),
        Arm("rebalance, 0.1 dB", "rebalance", ("--estimator.temperature", "0.1")),
    ),
    "Temperature of the weights": (
        UNIFORM,
        REBALANCE,
        *(
            Arm(f"rebalance, {value} dB", "rebalance", ("--estimator.temperature", str(value)))
            for value in TEMPERATURES_DB
        ),
    ),
    "Groups of frozen plans, against degradations as fresh as theirs": (FRESH, Arm("tgsr", "tgsr")),
    "Distinct rows of each task": (
        UNIFORM,
        *(Arm(f"uniform, {rows} rows", rows=rows) for rows in ROWS),
        FRESH,
    ),
}


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("study", argv, __doc__, without=("lpips",))
    testsets = lab.testsets()
    names = lab.names(testsets)
    means = run_arms(lab, [*{arm.name: arm for arms in PARTS.values() for arm in arms}.values()], testsets)
    judged = [arm for arms in PARTS.values() for arm in arms if arm.policy == "rebalance"]
    gaps = {arm.name: gaps_of(lab, arm) for arm in judged}
    texts = ["## The gaps\n", gaps_markdown(gaps)]
    for title, arms in PARTS.items():
        texts += [f"## {title}\n", markdown({arm.name: means[arm.name] for arm in arms}, names, arms[0].name)]
    numbers = {
        "testsets": names,
        "psnr_db": {name: values.tolist() for name, values in means.items()},
        "gaps": {name: asdict(found) for name, found in gaps.items()},
    }
    lab.write("study", numbers, "\n".join(texts))
    return 0


def gaps_markdown(gaps: dict[str, Gaps]) -> str:
    """The last border's gaps of each run, by task."""
    head = ["run", "task", "gap DP, dB", "s.d. over seeds", "s.e. over photographs", "weights over all borders"]
    lines = []
    for name, found in gaps.items():
        spreads = found.spread_db or [float("nan")] * len(found.tasks)
        rows = zip(found.tasks, found.gaps_db, spreads, found.errors_db, found.weights, strict=True)
        lines += [
            [name, task, f"{gap:+.3f}", f"{spread:.3f}", f"{error:.3f}", f"{low:.3f} to {high:.3f}"]
            for task, gap, spread, error, (low, high) in rows
        ]
    return table(head, lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
