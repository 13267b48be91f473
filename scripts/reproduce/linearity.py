"""Figs. 8 and 9: is the gap of the shared network linear in the noise level, and in the blur's standard deviation?

Each value of noise (or blur) is a frozen plan of its own (`frozen.py`): everything else is fixed, stage 2 moves in
proportion to stage 1. A network is fine-tuned on each value, from the weights that the main run starts from, and the
gap
is its PSNR less that of the main multi-task run at six of its checkpoints. Fig. 8 takes the ranges of the tables; Fig.
9 goes beyond the ends that the paper gives for its linear range, and fits the line within them alone.

The fine-tunes are short (the paper's networks of each value would be 24 million steps), so the level of a line also
holds the difference in length of training; its slope and its straightness are what the figures are about.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from scripts.reproduce.comparison import main_arm, num_steps, train_arm
from scripts.reproduce.fine_tunes import FineTunes, checkpoints, errors_db
from scripts.reproduce.frozen import OPERATORS, evenly_spaced, moved, span
from scripts.reproduce.lab import Lab
from scripts.reproduce.paper import fig9_ends
from shared.degradation.space import Range
from shared.degradation.space_file import find_space
from train.evaluation.summaries import markdown

CHECKPOINTS = 6
ALONG = ("noise", "blur")
BEYOND = {"noise": Range(0.5, 30.0), "blur": Range(0.2, 5.0)}
"""The ranges of Fig. 9: wider than those within which the paper finds a line; how wide its own were is not stated."""


@dataclass(frozen=True)
class Trend:
    """Gaps along an operator at one checkpoint, and the straight line through those within `fitted`.

    errors_db: standard errors of the gaps over photographs. slope_error: standard error of the slope by the scatter
    around the line, without that of other seeds and photographs. residual_db: root mean square distance to the line
    within the fitted range, and outside of it (None where there is no value).
    """

    operator: str
    step: int
    values: list[float]
    gaps_db: list[float]
    errors_db: list[float]
    fitted: tuple[float, float]
    slope: float
    intercept: float
    slope_error: float
    correlation: float
    residual_db: float
    residual_outside_db: float | None


def steps(lab: Lab) -> int:
    """Training steps: the main run with its references, and a fine-tune for each value."""
    return num_steps(lab, [main_arm(lab)], seeds=1) + len(ALONG) * lab.scale.values * lab.scale.fine_tune_steps


def run(lab: Lab) -> None:
    """Train, fit, and write the table and the figure."""
    trends = [trend for operator in ALONG for trend in measure(lab, operator, beyond=lab.experiment == "fig9")]
    lab.write(lab.experiment, [asdict(trend) for trend in trends], describe(trends))
    figure(trends).savefig(lab.folder / f"{lab.experiment}.png", dpi=150)


def measure(lab: Lab, operator: str, beyond: bool) -> list[Trend]:
    """The trend along one operator at each checkpoint. beyond: over `BEYOND` instead of the space's range."""
    space = find_space(lab.settings.space)
    values = evenly_spaced(BEYOND[operator] if beyond else span(space, operator), lab.scale.values)
    plans = [moved(space, operator, value, lab.scale.train_patch) for value in values]
    start = lab.initial()
    trials = FineTunes(lab, operator, plans, start)
    of_values = trials.psnr_db(start) + trials.gains_db()
    fitted = fig9_ends(operator) if beyond else (values[0], values[-1])
    trends = []
    for folder in checkpoints(train_arm(lab, main_arm(lab), 0), CHECKPOINTS):
        gaps = of_values - trials.psnr_db(folder)
        errors = errors_db(gaps, trials.photographs())
        trends.append(fit(operator, int(folder.name[5:]), values, gaps.mean(axis=1), errors, fitted))
    return trends


def fit(
    operator: str,
    step: int,
    values: Sequence[float],
    gaps_db: np.ndarray,
    errors_db: np.ndarray,
    fitted: tuple[float, float],
) -> Trend:
    """The line through the gaps, float [values], whose value lies within `fitted`, and how far all lie from it."""
    x = np.array(values)
    inside = (fitted[0] <= x) & (x <= fitted[1])
    line = stats.linregress(x[inside], gaps_db[inside])
    away = gaps_db - (line.slope * x + line.intercept)
    outside = float(np.sqrt((away[~inside] ** 2).mean())) if (~inside).any() else None
    return Trend(
        operator,
        step,
        [*values],
        gaps_db.tolist(),
        np.asarray(errors_db, float).tolist(),
        fitted,
        slope=float(line.slope),
        intercept=float(line.intercept),
        slope_error=float(line.stderr),
        correlation=float(line.rvalue),
        residual_db=float(np.sqrt((away[inside] ** 2).mean())),
        residual_outside_db=outside,
    )


def describe(trends: Sequence[Trend]) -> str:
    """A line for each operator and checkpoint."""
    head = [
        "operator",
        "step",
        "mean gap, dB",
        "slope, dB per unit (s.e.)",
        "r",
        "residual, dB",
        "outside",
        "s.e. of a gap",
    ]
    lines = []
    for trend in trends:
        outside = "" if trend.residual_outside_db is None else f"{trend.residual_outside_db:.3f}"
        slope = [f"{trend.slope:+.4f} ({trend.slope_error:.4f})", f"{trend.correlation:+.2f}"]
        rest = [f"{trend.residual_db:.3f}", outside, f"{np.mean(trend.errors_db):.3f}"]
        lines.append([trend.operator, f"{trend.step}", f"{np.mean(trend.gaps_db):+.3f}", *slope, *rest])
    note = (
        "The s.e. of a slope is by the scatter around the line, without other seeds and photographs; the s.e. of a gap "
        "is over photographs. The paper says that the trend is roughly linear and gives no sign and no slope.\n"
    )
    return f"{markdown(head, lines)}\n{note}"


def figure(trends: Sequence[Trend]) -> Figure:
    """A panel for each operator, a line for each checkpoint; grey bars mark the ends of the fitted range of Fig. 9."""
    drawn, panels = plt.subplots(1, len(ALONG), figsize=(10, 4), layout="constrained")
    for panel, operator in zip(panels, ALONG, strict=True):
        mine = [trend for trend in trends if trend.operator == operator]
        for number, trend in enumerate(mine):
            shade = plt.get_cmap("viridis")(number / len(mine))
            panel.plot(trend.values, trend.gaps_db, color=shade, marker="o", markersize=3, label=f"step {trend.step}")
        last = mine[-1]
        ends = np.array(last.fitted)
        panel.plot(ends, last.slope * ends + last.intercept, color="black", linewidth=0.8, linestyle="--")
        if last.residual_outside_db is not None:
            for end in ends:
                panel.axvline(end, color="grey", linewidth=5, alpha=0.3)
        panel.axhline(0, color="black", linewidth=0.8, linestyle=":")
        panel.set_xlabel(OPERATORS[operator])
        panel.set_ylabel("network of the value - shared, dB")
        panel.legend(fontsize=7, frameon=False)
    return drawn
