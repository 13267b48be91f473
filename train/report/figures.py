"""The page of a report with its figures, drawn and written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from shared.contact_sheet import Line, contact_sheet
from shared.storage.atomic import write_bytes, write_text
from train.report import crops, page, plots
from train.report.runs import RunData


def write_page(runs: Sequence[RunData], out: Path) -> None:
    """Write the page about the runs to `out`, and its figures as PNG into the folder of that name."""
    figures, samples = make_figures(runs), crops.samples(runs)
    written = dict(figures)
    if not isinstance(samples, str):
        written["sheet"] = contact_sheet([Line([s.task, s.photograph], list(s.images.items())) for s in samples])
    for name, data in written.items():
        write_bytes(out.with_suffix("") / f"{name}.png", data)
    write_text(out, page.html(runs, figures, samples))


def make_figures(runs: Sequence[RunData]) -> dict[str, bytes]:
    """PNG by name: what compares the runs, then for every run what its estimator, policy and loader did."""
    figures: dict[str, Figure] = {}
    if len(runs) > 1:
        paired = [run for run in runs if run.is_paired_with(runs[0])]
        if len(paired) > 1:
            figures["differences"] = plots.differences(paired)
        for task in runs[0].tasks:
            figures[f"runs-{task}"] = plots.psnr_of_runs([run for run in runs if task in run.tasks], task)
    for kind, draw in PER_RUN.items():
        shown = {number: run for number, run in enumerate(runs, 1) if kind not in NEED_GAPS or run.has_gaps}
        drawn = {number: draw(run) for number, run in shown.items()}
        if len(runs) > 1:
            for number, figure in drawn.items():
                plots.name_run(figure, runs[number - 1].name)
            plots.share_limits([*drawn.values()])
        figures |= {f"{kind}-{number}" if len(runs) > 1 else kind: figure for number, figure in drawn.items()}
    return {name: plots.png(figure) for name, figure in figures.items()}


PER_RUN: dict[str, Callable[[RunData], Figure]] = {
    "weights": plots.weights,
    "gaps": plots.gaps,
    "psnr": plots.psnr,
    "quotas": plots.quotas,
}
"""How each kind of figure is drawn for a run."""
NEED_GAPS = ("weights", "gaps")
"""Kinds of figures of runs that were measured against references."""
