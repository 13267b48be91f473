"""Figures of a run: what the estimator saw, what the policy decided, what the loader delivered."""

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")  # Paul Tol, colour-blind safe
SIZE_INCHES = (6.4, 3.6)
Z_95 = 1.96
Record = dict[str, Any]


def colour(task: int) -> str:
    """Colour of a task, the same in every figure."""
    return PALETTE[task % len(PALETTE)]


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=SIZE_INCHES, layout="constrained")
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    return figure, axes


def _legend(axes: Axes) -> None:
    """Below the axis, where no line can run through it."""
    axes.legend(frameon=False, ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def weights(records: Sequence[Record]) -> Figure:
    """Weights at every border with their bootstrap intervals."""
    figure, axes = _figure("Weights (Eq. 4)", "step", "share of the next interval's samples")
    steps = [record["step"] for record in records]
    for task, name in enumerate(records[0]["tasks"]):
        value, low, high = (
            np.array([record["estimate"][key][task] for record in records]) for key in ("weights", "low", "high")
        )
        axes.plot(steps, value, color=colour(task), marker="o", markersize=3, label=name)
        axes.fill_between(steps, low, high, color=colour(task), alpha=0.13, linewidth=0)
    axes.axhline(1 / len(records[0]["tasks"]), color="black", linewidth=0.8, linestyle=":")
    _legend(axes)
    return figure


def gaps(records: Sequence[Record]) -> Figure:
    """Gap of every task at every border, with 95 % bars of its standard error."""
    figure, axes = _figure("Gap DP = single - shared (Eq. 3)", "step", "dB; above 0: shared is behind")
    names = records[0]["tasks"]
    for task, name in enumerate(names):
        value = [record["estimate"]["gaps_db"][task] for record in records]
        errors = [Z_95 * (record["estimate"]["errors_db"][task] or 0) for record in records]
        shift = (task - (len(names) - 1) / 2) * 0.012 * records[-1]["step"]  # bars side by side
        steps = np.array([record["step"] for record in records]) + shift
        axes.errorbar(steps, value, errors, color=colour(task), marker="o", markersize=3, capsize=2, label=name)
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
    _legend(axes)
    return figure


def psnr(records: Sequence[Record]) -> Figure:
    """PSNR of every task at every border: single-task networks dashed, the shared one solid."""
    figure, axes = _figure("PSNR-Y on the validation sets", "step", "dB")
    steps = [record["step"] for record in records]
    for task, name in enumerate(records[0]["tasks"]):
        axes.plot(steps, [np.mean(r["shared_db"][task]) for r in records], color=colour(task), label=name)
        if "reference_db" in records[0]:
            single = [np.mean(r["reference_db"][task]) for r in records]
            axes.plot(steps, single, color=colour(task), linestyle="--", alpha=0.8)
    axes.plot([], [], color="grey", linestyle="--", label="single-task")
    _legend(axes)
    return figure


def quotas(records: Sequence[Record]) -> Figure:
    """Samples of each task that every interval delivered."""
    figure, axes = _figure("Samples delivered per interval", "interval", "samples")
    bottom = np.zeros(len(records))
    for task, name in enumerate(records[0]["tasks"]):
        delivered = np.array([record["delivered"][task] for record in records])
        numbers = [record["interval"] + 1 for record in records]
        axes.bar(numbers, delivered, bottom=bottom, color=colour(task), label=name, width=0.75)
        for number, base, count in zip(numbers, bottom, delivered, strict=True):
            axes.text(number, base + count / 2, str(count), ha="center", va="center", color="white", fontsize=7)
        bottom += delivered
    _legend(axes)
    return figure
