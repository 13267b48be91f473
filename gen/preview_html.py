"""The sheet as one HTML page that stands alone: what was drawn over all rows as histograms, then rows to look at.

Several datasets share each histogram. Everything in a dataset may come from strangers: the template escapes all text,
no chart shows any, and the page forbids scripts and the network.
"""

import base64
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gen.drawn import NOT_BLURRED, blur_sigmas, kernel_shares, noise_levels, resize_factors
from shared.command import spelling
from shared.degradation.plan import Plan
from shared.errors import RunError
from shared.images import encode_png
from shared.shards.format import Pair
from shared.shards.manifest import Manifest
from shared.shards.reader import Dataset
from shared.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEMPLATE = Path(__file__).with_name("preview.html")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""One for each dataset (Okabe and Ito's, which the colour-blind can tell apart, and two more), then again."""
STYLE: Any = {
    **{f"{part}.color": "#808080" for part in ("text", "xtick", "ytick")},  # seen on white and on black
    "axes.edgecolor": "#808080",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "preview",  # equal datasets give equal bytes
}
SIZE_INCHES = (3.6, 1.7)
MIN_BINS, MAX_BINS = 8, 40
FAMILIES = {
    "iso": "isotropic",
    "aniso": "anisotropic",
    "generalized_iso": "generalized iso",
    "generalized_aniso": "generalized aniso",
    "plateau_iso": "plateau iso",
    "plateau_aniso": "plateau aniso",
    "sinc": "sinc",
    NOT_BLURRED: "no blur",
}


@dataclass(frozen=True)
class Shown:
    """One dataset on the page: its manifest, the plans of all rows, and some rows with their plans in words."""

    manifest: Manifest
    plans: list[Plan]
    rows: list[tuple[Pair, list[str]]]


def read_plans(dataset: Dataset, on_row: Callable[[], object] = lambda: None) -> list[Plan]:
    """The plans of all rows in order, without reading an image. Raises `RunError` that names a damaged row."""
    plans = []
    for number in range(len(dataset)):
        try:
            plans.append(Plan.from_json(dataset.meta(number).plan))
        except ValueError as error:
            raise RunError(f"row {number} of {dataset.folder} is damaged: {error}; run {spelling('verify')}") from error
        on_row()
    return plans


class Chart(NamedTuple):
    """One parameter. note: in which share of the rows it occurs. svg: None when it occurs in none."""

    title: str
    note: str
    svg: bytes | None


def draw_page(datasets: Sequence[Shown]) -> bytes:
    """The page, UTF-8."""
    import jinja2  # here, as matplotlib below, so that commands answer before they are loaded

    environment = jinja2.Environment(autoescape=True, finalize=_visible)
    environment.filters |= {"base64": base64.b64encode, "png": encode_png}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    stages = {"First": [*_charts(datasets, 1)], "Second": [*_charts(datasets, 2)]}
    return template.render(datasets=datasets, stages=stages, colours=COLOURS).encode()


def _visible(value: Any) -> Any:
    """What the template inserts, control characters made visible; markup of its own macros stays as it is."""
    return value if hasattr(value, "__html__") else printable(str(value))


def _charts(datasets: Sequence[Shown], stage: int) -> Iterator[Chart]:
    """Charts of each parameter of the first or the second degradation."""
    plans = [shown.plans for shown in datasets]
    rows = [shown.rows[0][0].row for shown in datasets]
    bases = [row.patch if stage == 1 else row.patch // row.scale for row in rows]
    yield _shares(f"blur {stage}: kernel family, share of rows", [kernel_shares(p, stage) for p in plans])
    yield _histogram(f"blur {stage}: sigma, pixels", [blur_sigmas(p, stage) for p in plans])
    factors = [resize_factors(p, stage, base) for p, base in zip(plans, bases, strict=True)]
    size = "HR" if stage == 1 else "LR"
    yield _histogram(f"resize {stage}: factor of {size} size", factors, _part_of(factors, plans))
    for kind, title in (("gaussian", "Gaussian, sigma of 255"), ("poisson", "Poisson, scale")):
        levels = [noise_levels(p, stage, kind) for p in plans]
        yield _histogram(f"noise {stage}: {title}", levels, _part_of(levels, plans))
    yield _histogram(f"JPEG {stage}: quality", [[getattr(q, f"jpeg{stage}") for q in p] for p in plans], whole=True)


def _part_of(found: Sequence[Sequence[float]], plans: Sequence[Sequence[Plan]]) -> str:
    """In which share of the rows a parameter occurs; of several datasets, the range."""
    return f"{_range([len(some) / len(every) for some, every in zip(found, plans, strict=True)])} of rows"


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
    return low if low == high else f"{low[:-1]}-{high}"


def _edges(filled: Sequence[np.ndarray], whole: bool) -> np.ndarray:
    """Borders of the bins, as many as the smallest sample can bear; between whole numbers when the values are such."""
    low, high = float(min(map(np.min, filled))), float(max(map(np.max, filled)))
    bins = min(MAX_BINS, max(MIN_BINS, round(math.sqrt(min(map(len, filled))))))
    if whole:
        step = math.ceil((high - low + 1) / bins)
        return np.append(np.arange(low, high + 1, step), high + 1) - 0.5
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def _histogram(title: str, series: Sequence[Sequence[float]], note: str = "", whole: bool = False) -> Chart:
    """Outlines over common bins, each of the same area, so that datasets of different size can be compared."""
    filled = [np.asarray(values) for values in series if len(values)]
    if not filled:
        return Chart(title, "in no row", None)
    edges = _edges(filled, whole)

    def draw(axes: "Axes") -> None:
        for number, values in enumerate(series):
            if len(values):
                density, colour = np.histogram(values, edges, density=True)[0], COLOURS[number % len(COLOURS)]
                axes.stairs(density, edges, fill=True, color=colour, alpha=0.35 if len(series) == 1 else 0.1)
                axes.stairs(density, edges, color=colour)
        axes.set_yticks([])
        axes.spines.left.set_visible(False)

    return Chart(title, note, _svg(draw))


def _shares(title: str, series: Sequence[Mapping[str, float]]) -> Chart:
    """Horizontal bars, a group for each family that occurs."""
    families = [family for family in FAMILIES if any(shares[family] for shares in series)]
    height = 0.8 / len(series)

    def draw(axes: "Axes") -> None:
        for number, shares in enumerate(series):
            places = [place + number * height for place in range(len(families))]
            axes.barh(places, [shares[f] for f in families], 0.9 * height, color=COLOURS[number % len(COLOURS)])
        for place, family in enumerate(families):
            found = [shares[family] for shares in series]
            end = (max(found), place + 0.4 - height / 2)
            axes.annotate(_range(found), end, (3, 0), textcoords="offset points", va="center")
        axes.set_yticks([place + 0.4 - height / 2 for place in range(len(families))], [FAMILIES[f] for f in families])
        axes.invert_yaxis()
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)

    return Chart(title, "", _svg(draw))


def _svg(draw: "Callable[[Axes], None]") -> bytes:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure, buffer = Figure(SIZE_INCHES, layout="constrained"), io.BytesIO()
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()
