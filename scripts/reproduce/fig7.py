"""Fig. 7: single-task networks against the shared one, task by task, with and without rebalancing.

Bars: mean over seeds of (shared - single), lines: standard deviation over seeds."""

import sys

import numpy as np
from matplotlib import pyplot as plt

from scripts.reproduce.comparison import REBALANCE, UNIFORM, run_arms
from scripts.reproduce.lab import Lab
from shared.errors import run_command
from train.evaluation.summaries import markdown
from train.report.plots import colour

ARMS = (UNIFORM, REBALANCE)


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig7", argv, __doc__, without=("testset", "lpips"))
    testsets = lab.testsets()
    means = run_arms(lab, ARMS, testsets)
    tasks = [name for name, path in testsets.items() if path.endswith("-val")]
    single = np.array(
        [
            [np.mean(lab.measure(lab.references(seed=seed) / task, {task: testsets[task]})[task]) for task in tasks]
            for seed in range(lab.settings.seeds)
        ]
    )
    bars = {"single": single, **{name: values[:, : len(tasks)] for name, values in means.items()}}
    lines = [[name, *(f"{value:.3f}" for value in values.mean(axis=0))] for name, values in bars.items()]
    numbers = {name: values.tolist() for name, values in bars.items()}
    lab.write_tested("fig7", numbers, markdown(["PSNR-Y, dB", *tasks], lines))
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for i, name in enumerate(means):
        gain = bars[name] - single
        spread = gain.std(axis=0, ddof=1) if len(gain) > 1 else None
        places = np.arange(len(tasks)) + 0.32 * (i - (len(means) - 1) / 2)
        axes.bar(places, gain.mean(axis=0), 0.3, yerr=spread, color=colour(i), label=name, capsize=3)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_ylabel("dB above the single-task network")
    axes.legend(frameon=False)
    figure.savefig(lab.folder / "fig7.png", dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
