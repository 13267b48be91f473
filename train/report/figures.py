"""The page of a report with its figures, drawn and written."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from shared.storage.atomic import write_bytes, write_text
from train.report import crops, page, plots
from train.report.runs import RunData


def write_page(runs: Sequence[RunData], out: Path) -> None:
    """Write the page about the runs to `out`, and its figures as PNG into the folder of that name."""
    figures, samples = make_figures(runs), crops.samples(runs)
    sheet = {} if isinstance(samples, str) else {"sheet": crops.sheet_of(samples)}
    for name, data in (figures | sheet).items():
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
    for kind, (draw, fits) in PER_RUN.items():
        drawn = {f"{kind}-{number}": draw(run) for number, run in enumerate(runs, 1) if fits(run)}
        if len(runs) == 1:
            drawn = dict(zip([kind], drawn.values(), strict=False))
        else:
            for name, figure in drawn.items():
                plots.name_run(figure, runs[int(name.split("-")[1]) - 1].name)
            plots.share_limits([*drawn.values()])
        figures |= drawn
    return {name: plots.png(figure) for name, figure in figures.items()}


PER_RUN: dict[str, tuple[Callable[[RunData], Figure], Callable[[RunData], bool]]] = {
    "weights": (lambda run: plots.weights(run.boundaries), lambda run: run.has_gaps),
    "gaps": (lambda run: plots.gaps(run.boundaries), lambda run: run.has_gaps),
    "psnr": (plots.psnr, lambda run: True),
    "quotas": (lambda run: plots.quotas(run.intervals), lambda run: True),
}
"""How each kind of figure is drawn for a run, and which runs have it."""
