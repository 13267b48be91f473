"""Fig. 5 (b): the weights of the four tasks over the intervals of the main run."""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from scripts.reproduce.comparison import main_arm, num_steps, train_arm, train_arms
from scripts.reproduce.lab import Lab, boundaries
from shared.text import counted
from train.evaluation.summaries import markdown as table
from train.report.plots import colour


def steps(lab: Lab) -> int:
    """Training steps: a main run with its references for each seed."""
    return num_steps(lab, [main_arm(lab)])


def run(lab: Lab) -> None:
    """Train, and write the table and the figure."""
    main = main_arm(lab)
    train_arms(lab, [main])
    logs = [boundaries(train_arm(lab, main, seed)) for seed in range(lab.settings.seeds)]
    tasks, at = logs[0][0]["tasks"], [boundary["step"] for boundary in logs[0]]
    found = {key: np.array([[b["estimate"][key] for b in log] for log in logs]) for key in ("weights", "low", "high")}
    numbers: dict[str, Any] = {"tasks": tasks, "steps": at, **{key: v.tolist() for key, v in found.items()}}
    lab.write("fig5b", numbers, markdown(tasks, at, found["weights"]))
    figure(tasks, at, found).savefig(lab.folder / "fig5b.png", dpi=150)


def markdown(tasks: list[str], steps: list[int], weights: np.ndarray) -> str:
    """weights: float [seeds, boundaries, tasks]. A line for each boundary: mean over seeds (lowest to highest)."""
    lines = [
        [f"{step}", *(f"{seeds.mean():.4f} ({seeds.min():.4f} to {seeds.max():.4f})" for seeds in values)]
        for step, values in zip(steps, weights.transpose(1, 2, 0), strict=True)
    ]
    return f"Weights, mean over {counted(len(weights), 'seed')} (lowest to highest)\n\n{table(['step', *tasks], lines)}"


def figure(tasks: list[str], steps: list[int], found: dict[str, np.ndarray]) -> Figure:
    """A thick line for the mean of each task, thin ones for the seeds; bands: bootstrap over photographs."""
    drawn, axes = plt.subplots(figsize=(7, 4), layout="constrained")
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
    return drawn
