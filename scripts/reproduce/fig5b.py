"""Fig. 5 (b): the weights of the four tasks over the intervals of a shared run with rebalancing."""

import sys
from functools import partial
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from scripts.reproduce.comparison import REBALANCE, num_steps, references, train_arm
from scripts.reproduce.lab import NO_TESTS, Lab, boundaries
from shared.errors import run_command
from train.evaluation.summaries import markdown as table
from train.report.plots import colour


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig5b", argv, __doc__, without=NO_TESTS)
    lab.announce(num_steps(lab, [REBALANCE]))
    lab.initial()
    seeds = range(lab.settings.seeds)
    lab.do([partial(references, start=REBALANCE.start, seed=seed) for seed in seeds])
    lab.do([partial(train_arm, arm=REBALANCE, seed=seed) for seed in seeds])
    logs = [boundaries(train_arm(lab, REBALANCE, seed)) for seed in seeds]
    tasks, steps = logs[0][0]["tasks"], [boundary["step"] for boundary in logs[0]]
    found = {key: np.array([[b["estimate"][key] for b in log] for log in logs]) for key in ("weights", "low", "high")}
    numbers: dict[str, Any] = {"tasks": tasks, "steps": steps, **{key: v.tolist() for key, v in found.items()}}
    lab.write("fig5b", numbers, markdown(tasks, steps, found["weights"]))
    figure(tasks, steps, found).savefig(lab.folder / "fig5b.png", dpi=150)
    return 0


def markdown(tasks: list[str], steps: list[int], weights: np.ndarray) -> str:
    """weights: float [seeds, boundaries, tasks]. A line for each boundary: mean over seeds (lowest to highest)."""
    lines = [
        [f"{step}", *(f"{seeds.mean():.4f} ({seeds.min():.4f} to {seeds.max():.4f})" for seeds in values)]
        for step, values in zip(steps, weights.transpose(1, 2, 0), strict=True)
    ]
    return f"Weights, mean over {len(weights)} seeds (lowest to highest)\n\n{table(['step', *tasks], lines)}"


def figure(tasks: list[str], steps: list[int], found: dict[str, np.ndarray]) -> Figure:
    """A thick line for the mean of each task, thin ones for the seeds; bands: bootstrap over photographs."""
    picture, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for task, name in enumerate(tasks):
        weights = found["weights"][:, :, task]
        axes.plot(steps, weights.T, color=colour(task), linewidth=0.6, alpha=0.6)
        axes.plot(steps, weights.mean(axis=0), color=colour(task), linewidth=2, marker="o", markersize=4, label=name)
        low, high = (found[key][:, :, task].mean(axis=0) for key in ("low", "high"))
        axes.fill_between(steps, low, high, color=colour(task), alpha=0.12, linewidth=0)
    axes.axhline(1 / len(tasks), color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("step")
    axes.set_ylabel("weight (Eq. 4)")
    axes.legend(frameon=False, ncols=len(tasks))
    return picture


if __name__ == "__main__":
    sys.exit(run_command(main))
