"""The sheet as one HTML page that stands alone: rows to look at, then what was drawn over all rows as histograms.

A histogram has an axis for each task, all with the same bins and the same scale. Everything in a dataset may come from
strangers: the template escapes all text, no chart shows any, and the page forbids scripts and the network.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen.drawn import NOT_BLURRED, Drawn, drawn_numbers, kernel_shares
from gen.plan_words import FAMILIES
from gen.preview_rows import Group, TaskShown
from shared.images import encode_png
from shared.text import printable

TEMPLATE = Path(__file__).with_name("preview.html")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""One for each task (Okabe and Ito's, which the colour-blind can tell apart, and two more), then again."""
STYLE: Any = {
    **{f"{part}.color": "#808080" for part in ("text", "xtick", "ytick")},  # seen on white and on black
    "axes.edgecolor": "#808080",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "preview",  # equal datasets give equal bytes
}
WIDTH_INCHES, AXIS_INCHES, LABEL_INCHES = 3.6, 0.42, 0.3
MIN_BINS, MAX_BINS = 8, 40
QUARTILES = (0, 0.25, 0.5, 0.75, 1)
KERNELS = {**FAMILIES, "sinc": "sinc", NOT_BLURRED: "no blur"}


class Chart(NamedTuple):
    """One parameter: a histogram of each task, None when no task has a value, and what was drawn in each."""

    svg: bytes | None
    tasks: Sequence[Drawn]


def draw_page(groups: Sequence[Group]) -> bytes:
    """The page, UTF-8."""
    import jinja2  # here, as matplotlib below, so that commands answer before they are loaded

    environment = jinja2.Environment(autoescape=True, finalize=_visible)
    environment.filters |= {"base64": base64.b64encode, "png": encode_png}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    names = [*dict.fromkeys(task.name for group in groups for task in group.tasks)]
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    return template.render(
        groups=groups,
        names=names,
        colours=colours,
        families=KERNELS,
        quartiles=lambda values: np.quantile(values, QUARTILES) if len(values) else [],
        shares=lambda group, stage: [kernel_shares(task.plans, stage) for task in group.tasks],
        charts=lambda group: {
            name: [*_charts(group.tasks, stage, [colours[task.name] for task in group.tasks])]
            for name, stage in (("First", 1), ("Second", 2))
            if all(task.plans for task in group.tasks)
        },
    ).encode()


def _visible(value: Any) -> Any:
    """What the template inserts, control characters made visible; markup of its own macros stays as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _charts(tasks: Sequence[TaskShown], stage: int, colours: Sequence[str]) -> Iterator[Chart]:
    """A chart for each number of the first or the second degradation."""
    bases = [[height / (1 if stage == 1 else task.scale) for height in task.hr_heights] for task in tasks]
    of_tasks = [drawn_numbers(task.plans, stage, base) for task, base in zip(tasks, bases, strict=True)]
    for drawn in zip(*of_tasks, strict=True):
        yield Chart(_histograms([each.values for each in drawn], colours), drawn)


def _edges(filled: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of the bins, as many as the smallest sample can bear; between whole numbers when the values are such."""
    low, high = float(min(map(np.min, filled))), float(max(map(np.max, filled)))
    bins = min(MAX_BINS, max(MIN_BINS, round(math.sqrt(min(map(len, filled))))))
    if all(values.dtype.kind == "i" for values in filled):
        step = math.ceil((high - low + 1) / bins)
        return np.append(np.arange(low, high + 1, step), high + 1) - 0.5
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def _histograms(series: Sequence[Sequence[float]], colours: Sequence[str]) -> bytes | None:
    """An axis for each task, SVG: common bins, the same area on each, so that tasks of any size can be compared."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    filled = [np.asarray(values) for values in series if len(values)]
    if not filled:
        return None
    edges, buffer = _edges(filled), io.BytesIO()
    with rc_context(STYLE):
        figure = Figure((WIDTH_INCHES, AXIS_INCHES * len(series) + LABEL_INCHES), layout="constrained")
        axes = figure.subplots(len(series), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axis, values, colour in zip(axes, series, colours, strict=True):
            if len(values):
                axis.stairs(np.histogram(values, edges, density=True)[0], edges, fill=True, color=colour)
            axis.set_yticks([])
            axis.tick_params(bottom=axis is axes[-1])
        axes[0].set_ylim(bottom=0)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
