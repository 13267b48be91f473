"""Fig. 7: the shared network, trained with the paper's method, against the four single-task networks.

Whole images of DIV2K4Level. Bars: mean over seeds of PSNR(shared) - PSNR(single-task), lines: standard deviation over
seeds, crosses: the paper's two values. `plain` is the same network with equal volumes, which the paper does not have.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from scripts.reproduce.comparison import UNIFORM, Arm, main_arm, num_steps, references, run_arms
from scripts.reproduce.lab import Lab
from scripts.reproduce.paper import fig7_gains
from train.evaluation.summaries import markdown
from train.report.plots import colour

PLAIN, OURS = "plain", "ours"


def steps(lab: Lab) -> int:
    """Training steps: a main run with its references, and a plain one, for each seed."""
    return num_steps(lab, [plain(lab), main_arm(lab)])


def plain(lab: Lab) -> Arm:
    """The same network with equal volumes, stage psnr."""
    return Arm("plain-psnr", flags=lab.psnr) if lab.psnr else UNIFORM


def run(lab: Lab) -> None:
    """Train, measure, and write the table and the figure."""
    arms, testsets = {PLAIN: plain(lab), OURS: main_arm(lab)}, lab.whole_images("DIV2K4Level")
    means, names = run_arms(lab, [*arms.values()], testsets), lab.names(testsets)
    tasks = [name.removeprefix("DIV2K4Level-") for name in names]
    single = []
    for seed in range(lab.settings.seeds):
        folders = [references(lab, arms[OURS].start, seed) / task for task in tasks]
        single.append([np.mean(lab.measure(f, testsets)[name]) for f, name in zip(folders, names, strict=True)])
    psnr_db = {"single": np.array(single)} | {name: means[arm.name] for name, arm in arms.items()}
    found = {name: values.tolist() for name, values in psnr_db.items()}
    lab.write_tested("fig7", found, describe(tasks, psnr_db))
    figure(tasks, psnr_db).savefig(lab.folder / "fig7.png", dpi=150)


def describe(tasks: list[str], psnr_db: dict[str, np.ndarray]) -> str:
    """psnr_db: float [seeds, tasks] by network. PSNR of each, then the differences with the paper's beside ours."""
    lines = [[name, *(f"{value:.3f}" for value in values.mean(axis=0))] for name, values in psnr_db.items()]
    for name in (OURS, PLAIN):
        gain = psnr_db[name] - psnr_db["single"]
        spread = gain.std(axis=0, ddof=1) if len(gain) > 1 else None
        cells = [
            f"{g:+.3f}" + (f" ({spread[i]:.3f})" if spread is not None else "") for i, g in enumerate(gain.mean(0))
        ]
        lines.append([f"{name} - single (s.d. over seeds)", *cells])
    known = fig7_gains()
    lines.append(["the paper: ours - single", *(f"{known[t]:+.2f}" if t in known else "comparable" for t in tasks)])
    return markdown(["PSNR-Y on DIV2K4Level, dB", *tasks], lines)


def figure(tasks: list[str], psnr_db: dict[str, np.ndarray]) -> Figure:
    """Two bars for each task, and the paper's value where it gives one."""
    drawn, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for number, name in enumerate((PLAIN, OURS)):
        gain = psnr_db[name] - psnr_db["single"]
        spread = gain.std(axis=0, ddof=1) if len(gain) > 1 else None
        places = np.arange(len(tasks)) + 0.32 * (number - 0.5)
        axes.bar(places, gain.mean(axis=0), 0.3, yerr=spread, color=colour(number), label=name, capsize=3)
    known = fig7_gains()
    places = [place for place, task in enumerate(tasks) if task in known]
    axes.plot([p + 0.16 for p in places], [known[tasks[p]] for p in places], "kx", label="the paper, ours")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set_ylabel("dB above the single-task network")
    axes.legend(frameon=False)
    return drawn
