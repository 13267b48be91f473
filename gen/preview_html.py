"""The sheet as one self-contained HTML page: histograms of what was drawn over all rows, then rows to look at.

Several datasets share each histogram. Everything in a dataset may come from strangers: all text is escaped, and the
page forbids scripts and the network.
"""

import base64
import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f")
"""One for each dataset (Okabe and Ito's, which the colour-blind can tell apart, and two more), then again."""
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 360, 150, 10, 20, 8, 10
"""Of a histogram, in its own units."""
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
    """The plans of all rows in order, without reading a picture. Raises `RunError` that names what is damaged."""
    plans = []
    for number in range(len(dataset)):
        try:
            plans.append(Plan.from_json(dataset.meta(number).plan))
        except ValueError as error:
            raise RunError(f"row {number} of {dataset.folder} is damaged: {error}; run {spelling('verify')}") from error
        on_row()
    return plans


def draw_page(datasets: Sequence[Shown]) -> bytes:
    """The page, UTF-8."""
    names = ", ".join(shown.manifest.name for shown in datasets)
    parts = [f"<h1>{_text(names)}</h1>", _facts(datasets), "<h2>What was drawn, over all rows</h2>", _legend(datasets)]
    parts += ['<div class="charts">', *_charts(datasets), "</div>"]
    for shown in datasets:
        parts += [f"<h2>Rows of {_text(shown.manifest.name)}</h2>", *(_row(pair, words) for pair, words in shown.rows)]
    return _PAGE.replace("TITLE", _text(names)).replace("BODY", "\n".join(parts)).encode()


def _text(text: object) -> str:
    """Any text, safe between tags and within quotes."""
    return html.escape(printable(str(text)))


def _facts(datasets: Sequence[Shown]) -> str:
    """A table of what the datasets are."""
    heads = ("dataset", "rows", "split", "space", "partition", "HR", "LR", "seed", "recipe", "photographs", "licence")
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for number, shown in enumerate(datasets):
        m, recipe = shown.manifest, shown.manifest.recipe
        patch, scale = shown.rows[0][0].row.patch, shown.rows[0][0].row.scale
        cells = [f"{m.rows:,}".replace(",", " "), m.split, *(recipe.get(key, "?") for key in ("space", "partition"))]
        cells += [
            f"{patch} px",
            f"{patch // scale} px",
            recipe.get("seed", "?"),
            m.digest,
            len(m.photographs),
            m.licence,
        ]
        name = f"<td>{_swatch(number)}{_text(m.name)}</td>"
        lines.append(f"<tr>{name}{''.join(f'<td>{_text(cell)}</td>' for cell in cells)}</tr>")
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _swatch(number: int) -> str:
    return f'<i class="swatch" style="background:{_colour(number)}"></i>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _legend(datasets: Sequence[Shown]) -> str:
    if len(datasets) < 2:
        return ""
    names = (f"<span>{_swatch(n)}{_text(shown.manifest.name)}</span>" for n, shown in enumerate(datasets))
    return f'<p class="legend">{"".join(names)}</p>'


def _charts(datasets: Sequence[Shown]) -> Iterator[str]:
    """Charts of each parameter, first those of the first degradation, then the same of the second."""
    plans = [shown.plans for shown in datasets]
    rows = [shown.rows[0][0].row for shown in datasets]
    bases = {1: [row.patch for row in rows], 2: [row.patch // row.scale for row in rows]}
    for stage, title, size in ((1, "First", "HR"), (2, "Second", "LR")):
        yield f"<h3>{title} degradation</h3>"
        yield _shares(f"blur {stage}: kernel family, share of rows", [kernel_shares(p, stage) for p in plans])
        yield _histogram(f"blur {stage}: sigma, pixels", [blur_sigmas(p, stage) for p in plans])
        factors = [resize_factors(p, stage, base) for p, base in zip(plans, bases[stage], strict=True)]
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


def _histogram(title: str, series: Sequence[Sequence[float]], note: str = "", whole: bool = False) -> str:
    """Outlines over common bins, each of the same area, so that datasets of different size can be compared."""
    filled = [np.asarray(values) for values in series if len(values)]
    if not filled:
        return _figure(title, "in no row", "")
    edges = _edges(filled, whole)
    counts = [np.histogram(values, edges)[0] / np.diff(edges) / max(len(values), 1) for values in series]
    peak = max(float(count.max()) for count in counts)

    def x(value: float) -> float:
        return LEFT + (value - edges[0]) / (edges[-1] - edges[0]) * (WIDTH - LEFT - RIGHT)

    floor = HEIGHT - BOTTOM
    marks = [f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>']
    for number, count in enumerate(counts):
        heights = floor - count / peak * (floor - TOP)
        steps = "".join(
            f"L{x(a):.1f} {y:.1f}L{x(b):.1f} {y:.1f}" for a, b, y in zip(edges[:-1], edges[1:], heights, strict=True)
        )
        path, colour = f"M{x(edges[0]):.1f} {floor}{steps}L{x(edges[-1]):.1f} {floor}", _colour(number)
        fill = 0.35 if len(counts) == 1 else 0.1
        if count.any():
            marks.append(f'<path d="{path}" fill="{colour}" fill-opacity="{fill}" stroke="{colour}"/>')
    for tick in _ticks(edges[0], edges[-1]):
        marks.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{floor}" y2="{floor + 4}"/>')
        marks.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 3}" text-anchor="middle">{tick:g}</text>')
    return _figure(title, note, _svg(title, HEIGHT, marks))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers within the range, four to eight."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.85)
    return [round(n * step, 10) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _shares(title: str, series: Sequence[Mapping[str, float]]) -> str:
    """Horizontal bars, a group for each family that occurs."""
    families = [family for family in FAMILIES if any(shares[family] for shares in series)]
    bar, gap, label, value = max(5, 16 - 3 * len(series)), 7, 112, 52
    top, marks, peak = 2, [], max(max(shares.values()) for shares in series)
    for family in families:
        middle = top + bar * len(series) / 2
        marks.append(f'<text x="{label - 6}" y="{middle + 4:.1f}" text-anchor="end">{FAMILIES[family]}</text>')
        for number, shares in enumerate(series):
            length = shares[family] / peak * (WIDTH - label - value)
            y, colour = top + number * bar, _colour(number)
            tip = f"<title>{shares[family]:.1%}</title>"
            marks.append(
                f'<rect x="{label}" y="{y}" width="{length:.1f}" height="{bar - 1}" fill="{colour}">{tip}</rect>'
            )
        found = [shares[family] for shares in series]
        end = label + max(found) / peak * (WIDTH - label - value) + 4
        marks.append(f'<text x="{end:.1f}" y="{middle + 4:.1f}">{_range(found)}</text>')
        top += bar * len(series) + gap
    return _figure(title, "", _svg(title, top, marks))


def _svg(title: str, height: float, marks: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{_text(title)}">{"".join(marks)}</svg>'


def _figure(title: str, note: str, svg: str) -> str:
    return f"<figure><figcaption>{_text(title)}<small>{_text(note)}</small></figcaption>{svg}</figure>"


def _row(pair: Pair, words: Sequence[str]) -> str:
    """A row: HR, LR at the same size without smoothing, and the degradation step by step."""
    steps = []
    for line in words:
        operator, _, text = line.partition(": ")
        steps.append(f"<li><b>{_text(operator)}</b> <span>{_text(text)}</span></li>")
    source = f"{_text(pair.row.hr_id)}, at ({pair.row.crop_y}, {pair.row.crop_x})"
    hr, lr = (_picture(image, what) for image, what in ((pair.hr, "HR"), (pair.lr, "LR")))
    return (
        f'<article><div class="pair">{hr}{lr}</div>'
        f"<div><h4>row {pair.row.row}</h4><p>{source}</p><ol>{''.join(steps)}</ol></div></article>"
    )


def _picture(image: np.ndarray, what: str) -> str:
    data = base64.b64encode(encode_png(image)).decode()
    size = f"{image.shape[0]} x {image.shape[1]}"
    return f'<div><img alt="{what}" src="data:image/png;base64,{data}"><small>{what} {size}</small></div>'


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>TITLE</title>
<style>
:root { color-scheme: light dark; --ink: #1a1a1a; --grey: #6a6a6a; --rule: #dcdcdc; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --grey: #a0a0a0; --rule: #3a3a3a; --paper: #161616; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 24px clamp(14px, 4vw, 40px) 60px; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 28px; font-weight: 600; margin: 0 0 14px; overflow-wrap: anywhere; }
h2 { font-size: 20px; font-weight: 600; margin: 44px 0 12px; }
h3 { font-size: 15px; font-weight: 600; margin: 10px 0 0; grid-column: 1 / -1; }
h4 { font-size: 16px; font-weight: 600; margin: 0; }
small, th, article p { color: var(--grey); font-size: 13px; font-weight: 400; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; white-space: nowrap; }
th, td { text-align: left; vertical-align: top; padding: 5px 18px 5px 0; border-bottom: 1px solid var(--rule); }
td:last-child { white-space: normal; min-width: 24em; }
figcaption small { white-space: nowrap; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 7px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; margin: 0 0 12px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(290px, 100%), 1fr)); gap: 20px 34px; }
figure { margin: 0; }
figcaption { display: flex; justify-content: space-between; gap: 10px; font-size: 13.5px; padding-bottom: 4px;
  border-bottom: 1px solid var(--rule); margin-bottom: 8px; }
svg { display: block; width: 100%; height: auto; font-size: 11.5px; }
svg text { fill: var(--grey); }
svg .axis { stroke: var(--grey); }
article { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 28px; padding: 20px 0;
  border-top: 1px solid var(--rule); }
article p { margin: 0 0 10px; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 14px; align-items: start; }
.pair img { display: block; width: 100%; image-rendering: pixelated; }
ol { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 62px 1fr; font-size: 14px; }
li b { font-weight: 400; color: var(--grey); }
@media (max-width: 760px) { article { grid-template-columns: 1fr; gap: 14px; } }
@media print { article, figure { break-inside: avoid; } }
</style>
</head>
<body>
BODY
</body>
</html>
"""
