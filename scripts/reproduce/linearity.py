"""Figs. 8 and 9: does the gap between single-task and shared network grow linearly along an operator's range?

The range of noise (or blur) is cut into narrow parts, stage 2 in proportion to stage 1; each has a network of its own,
and one network is trained on all. Fig. 8 takes the ranges of the tables, Fig. 9 wider ones.

A reading: the paper takes uniform values of noise (or blur). Here a value is a part of the range, a thirtieth of it at
the paper's scale, drawn at its middle: parts cover the range, so the one network is trained on exactly what the others
are, and both stages are cut in the same proportion.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import stats

from scripts.reproduce.lab import Lab, boundaries
from shared.degradation.partition import partition
from shared.degradation.presets import get_space
from train.evaluation.summaries import markdown
from train.record.references import load_trace

T = TypeVar("T")
AXES = ("noise", "blur")
CHECKPOINTS = 6
"""Boundaries that are shown, evenly spaced up to the last."""


@dataclass(frozen=True)
class Trend:
    """Gaps along an operator at one boundary, and the straight line through them.

    values: middle of each part of the range. slope_error: standard error of the slope by the scatter
    around the line, without that of seeds and of other photographs. correlation: Pearson's r.
    """

    axis: str
    step: int
    values: list[float]
    gaps_db: list[float]
    slope: float
    slope_error: float
    correlation: float


def study(lab: Lab, space: str, name: str) -> None:
    """Train, fit and write the figure."""
    lab.announce(len(AXES) * (lab.scale.values + 1) * lab.scale.setting("iterations"))
    lab.initial()
    lab.do([partial(measure, space=space, axis=axis) for axis in AXES])
    trends = [trend for axis in AXES for trend in measure(lab, space, axis)]
    head = ["operator", "step", "mean gap, dB", "slope, dB per unit (s.e.)", "r"]
    lines = [
        [
            t.axis,
            f"{t.step}",
            f"{np.mean(t.gaps_db):+.3f}",
            f"{t.slope:+.4f} ({t.slope_error:.4f})",
            f"{t.correlation:+.2f}",
        ]
        for t in trends
    ]
    note = "s.e.: by the scatter of the parts around the line; other seeds and photographs are not in it.\n"
    lab.write(name, [asdict(trend) for trend in trends], f"{markdown(head, lines)}\n{note}")
    figure(trends).savefig(lab.folder / f"{name}.png", dpi=150)


def measure(lab: Lab, space: str, axis: str) -> list[Trend]:
    """The trend along one operator at `CHECKPOINTS` boundaries."""
    cut = f"{axis}:{lab.scale.values}"
    references = lab.references(cut=cut, space=space)
    shared = boundaries(lab.train(axis, "--policy", "uniform", cut=cut, space=space))
    traces = [load_trace(references / f"{axis}{i}") for i in range(lab.scale.values)]
    found = []
    for boundary in evenly(shared[1:], CHECKPOINTS):
        reference_db = np.array([trace.psnr_db[str(boundary["step"])] for trace in traces if trace])
        gaps_db = (reference_db - np.array(boundary["shared_db"])).mean(axis=1)
        values = middles(space, cut, axis)
        line = stats.linregress(values, gaps_db)
        numbers = (float(line.slope), float(line.stderr), float(line.rvalue))
        found.append(Trend(axis, boundary["step"], values, gaps_db.tolist(), *numbers))
    return found


def evenly(items: Sequence[T], count: int) -> list[T]:
    """`count` of the items with equal steps between them, the last among them; all when there are fewer."""
    return [items[-(-len(items) * (i + 1) // count) - 1] for i in range(count)] if len(items) > count else [*items]


def middles(space: str, cut: str, axis: str) -> list[float]:
    """Middle of each part: blur sigma of stage 1 in pixels, or Gaussian noise sigma of stage 1 (of 255)."""
    boxes = [box.ranges for box in partition(get_space(space), cut)]
    ranges = [box.blur1.sigma if axis == "blur" else box.noise1.gaussian_sigma_255 for box in boxes]
    return [(bounds.low + bounds.high) / 2 for bounds in ranges]


def figure(trends: list[Trend]) -> Figure:
    """A panel for each operator, a line for each boundary."""
    picture, panels = plt.subplots(1, len(AXES), figsize=(10, 4), layout="constrained")
    units = {"noise": "Gaussian sigma of stage 1 (of 255)", "blur": "blur sigma of stage 1, pixels"}
    for panel, axis in zip(panels, AXES, strict=True):
        mine = [trend for trend in trends if trend.axis == axis]
        for i, trend in enumerate(mine):
            shade = plt.get_cmap("viridis")(i / len(mine))
            panel.plot(trend.values, trend.gaps_db, color=shade, marker="o", markersize=3, label=f"step {trend.step}")
        panel.axhline(0, color="black", linewidth=0.8, linestyle=":")
        panel.set_xlabel(units[axis])
        panel.set_ylabel("single - shared, dB")
        panel.legend(fontsize=7, frameon=False)
    return picture
