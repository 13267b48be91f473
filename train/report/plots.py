"""Figures of the report: what the estimator saw, the policy decided and the loader delivered; where runs differ.

Their ground is transparent and their words are grey, so that they can be read on a light and on a dark page.
"""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from train.report.runs import RunData, final_psnr, gap_reaches, half_averaged_step

PALETTE = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")  # Paul Tol, colour-blind safe
SIZE_INCHES = (5.4, 3.4)
"""Small, so that letters can be read on a narrow window."""
GREY = "#808080"
STYLE = {f"{part}.color": GREY for part in ("text", "xtick", "ytick")} | {
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
}
LEAST_WEIGHT_SPAN, LEAST_DB_SPAN = 0.05, 0.05
"""To either side: axes show at least so much, lest noise fills the figure."""
LEGEND_LETTERS = 56
LABELLED_SHARE, LABELLED_BARS = 0.05, 12


def colour(task: int) -> str:
    """Colour of a task, the same in every figure."""
    return PALETTE[task % len(PALETTE)]


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        axes = figure.subplots()
    _title(axes, title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.ticklabel_format(axis="y", useOffset=False)
    return figure, axes


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=GREY)


def _span(axes: Axes, middle: float, reach: float) -> None:
    """Let the vertical axis show so much to either side of the middle at least."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, middle - reach), max(top, middle + reach))


def _rule(axes: Axes, value: float, reach: float) -> None:
    """A dotted line at a value, with so much to either side of it at least."""
    axes.axhline(value, color=GREY, linewidth=0.8, linestyle=":")
    _span(axes, value, reach)


def png(figure: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150, transparent=True)
    return buffer.getvalue()


def _legend(axes: Axes) -> None:
    """Below the axis, where no line can run through it; in one column when the names are long."""
    letters = sum(len(name) + 4 for name in axes.get_legend_handles_labels()[1])
    columns = 5 if letters < LEGEND_LETTERS else 1
    axes.legend(
        frameon=False, ncols=columns, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), labelcolor=GREY
    )


def weights(run: RunData) -> Figure:
    """Weights at every boundary with their bootstrap intervals."""
    records = run.boundaries
    figure, axes = _figure("Weights (Eq. 4)", "step", "weight")
    steps = [record["step"] for record in records]
    for task, name in enumerate(records[0]["tasks"]):
        value, low, high = (
            np.array([record["estimate"][key][task] for record in records]) for key in ("weights", "low", "high")
        )
        axes.plot(steps, value, color=colour(task), marker="o", markersize=3, label=name)
        axes.fill_between(steps, low, high, color=colour(task), alpha=0.13, linewidth=0)
    uniform = 1 / len(records[0]["tasks"])
    _rule(axes, uniform, LEAST_WEIGHT_SPAN)
    _legend(axes)
    return figure


def gaps(run: RunData) -> Figure:
    """Gap of every task at every boundary, with its 95 % interval."""
    records = run.boundaries
    figure, axes = _figure("Gap DP = single - shared (Eq. 3)", "step", "dB; above 0: shared is behind")
    names, boundaries = records[0]["tasks"], [gap_reaches(record) for record in records]
    for task, name in enumerate(names):
        value = [record["estimate"]["gaps_db"][task] for record in records]
        reaches = [boundary[task] or 0 for boundary in boundaries]
        shift = (task - (len(names) - 1) / 2) * 0.012 * records[-1]["step"]  # bars side by side
        steps = np.array([record["step"] for record in records]) + shift
        axes.errorbar(steps, value, reaches, color=colour(task), marker="o", markersize=3, capsize=2, label=name)
    _rule(axes, 0, LEAST_DB_SPAN)
    _legend(axes)
    return figure


def psnr(run: RunData) -> Figure:
    """PSNR of every task at every boundary: single-task networks dashed, the shared one solid, bicubic dotted.

    The ground is grey where the averaged weights have seen less than half of the training.
    """
    records = run.boundaries
    figure, axes = _figure("PSNR-Y on the validation sets", "step", "dB")
    steps = [record["step"] for record in records]
    for task, name in enumerate(records[0]["tasks"]):
        axes.plot(steps, [np.mean(r["shared_db"][task]) for r in records], color=colour(task), label=name)
        if "reference_db" in records[0]:
            single = [np.mean(r["reference_db"][task]) for r in records]
            axes.plot(steps, single, color=colour(task), linestyle="--", alpha=0.8)
        if name in run.bicubic_db:
            axes.axhline(run.bicubic_db[name], color=colour(task), linestyle=":", alpha=0.8)
    if "reference_db" in records[0]:
        axes.plot([], [], color=GREY, linestyle="--", label="single-task")
    if run.bicubic_db:
        axes.plot([], [], color=GREY, linestyle=":", label="bicubic")
    axes.axvspan(0, min(half_averaged_step(run.settings), steps[-1]), color=GREY, alpha=0.12, linewidth=0)
    _span(axes, float(np.mean(axes.get_ylim())), LEAST_DB_SPAN)
    _legend(axes)
    return figure


def quotas(run: RunData) -> Figure:
    """Samples of each task that every interval delivered."""
    records = run.intervals
    figure, axes = _figure("Samples delivered per interval", "interval", "samples")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    bottom = np.zeros(len(records))
    whole = sum(records[0]["delivered"])
    least = LABELLED_SHARE * whole if len(records) <= LABELLED_BARS else whole  # lest numbers run into each other
    numbers, table = [record["interval"] + 1 for record in records], np.array([r["delivered"] for r in records])
    names, shares = list(records[0]["tasks"]), list(table.T)
    if len(shares) > len(names):  # TGSR-style: frozen plans beside the tasks
        shares = [*shares[: len(names)], table[:, len(names) :].sum(axis=1)]
        names.append("frozen plans")
    for task, (name, delivered) in enumerate(zip(names, shares, strict=True)):
        axes.bar(numbers, delivered, bottom=bottom, color=colour(task), label=name, width=0.75)
        for number, base, count in zip(numbers, bottom, delivered, strict=True):
            if count > least:
                axes.text(number, base + count / 2, str(count), ha="center", va="center", color="white", fontsize=8)
        bottom += delivered
    _legend(axes)
    return figure


def psnr_of_runs(runs: Sequence[RunData], task: str) -> Figure:
    """PSNR of the runs on one task at every boundary."""
    figure, axes = _figure(f"PSNR-Y on {task}", "step", "dB")
    for number, run in enumerate(runs):
        values = [np.mean(record["shared_db"][run.tasks.index(task)]) for record in run.boundaries]
        steps = [record["step"] for record in run.boundaries]
        axes.plot(steps, values, color=colour(number), marker="o", markersize=3, label=run.name)
    _legend(axes)
    return figure


def differences(runs: Sequence[RunData]) -> Figure:
    """Paired differences of PSNR to the first run at the end, with their 95 % intervals."""
    first = runs[0]
    figure, axes = _figure(f"PSNR-Y at the end, less that of {first.name}", "", "dB")
    names = [*first.tasks, "mean", "worst"]
    for number, run in enumerate(runs[1:], 1):
        found = final_psnr(run, first)
        places = np.arange(len(names)) + 0.12 * (number - len(runs) / 2)
        low, high = (np.array([getattr(f, end) for f in found]) for end in ("low", "high"))
        middle, reach = (low + high) / 2, (high - low) / 2  # the worst task's interval need not hold its value
        axes.errorbar(places, middle, reach, color=colour(number), fmt="none", capsize=3)
        axes.plot(places, [f.value for f in found], "o", color=colour(number), markersize=4, label=run.name)
    _rule(axes, 0, LEAST_DB_SPAN)
    axes.set_xticks(range(len(names)), names)
    _legend(axes)
    return figure


def name_run(figure: Figure, name: str) -> None:
    """Add the name of the run to the title of a figure."""
    axes = figure.axes[0]
    _title(axes, f"{axes.get_title('left')}: {name}")


def share_limits(figures: Sequence[Figure]) -> None:
    """Give the figures of several runs one vertical scale."""
    limits = [figure.axes[0].get_ylim() for figure in figures]
    for figure in figures:
        figure.axes[0].set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def frontier(bounds_db: Sequence[float], gains_db: np.ndarray, tasks: Sequence[str]) -> Figure:
    """Predicted gain of each task, float [points, n] dB, against the largest loss that is allowed to any task."""
    figure, axes = _figure(
        "Predicted gains along the frontier", "largest loss of a task, dB", "gain over equal volumes, dB"
    )
    for task, name in enumerate(tasks):
        axes.plot(bounds_db, gains_db[:, task], color=colour(task), marker="o", markersize=3, label=name)
    _rule(axes, 0, LEAST_DB_SPAN)
    right = max(*bounds_db, LEAST_DB_SPAN)
    axes.set_xlim(-0.03 * right, 1.03 * right)
    _legend(axes)
    return figure
