"""The page of a planned mixture: the cross table, what each aim gains and costs, and the frontier as a figure."""

from pathlib import Path
from typing import TYPE_CHECKING

from shared.rebalance.options import AIMS
from shared.storage.atomic import write_bytes, write_text
from train.report import page, plots
from train.report.tables import Table, number, with_interval

if TYPE_CHECKING:
    from shared.rebalance.mixtures import Choice, MixturePlan


def write_page(plan: "MixturePlan", path: Path) -> None:
    """Write the page, and its figure beside it as PNG."""
    figure = plots.frontier(plan.bounds, plan.frontier, plan.tasks)
    frontier = plots.png(figure)
    write_bytes(path.with_suffix(".png"), frontier)
    rows = [
        [task, *("0" if i == j else _cell(plan, i, j) for j in range(len(plan.tasks)))]
        for i, task in enumerate(plan.tasks)
    ]
    text = page.render(
        "mixture.html",
        title=f"What a mixture of {len(plan.tasks)} tasks can gain",
        cross=Table(["", *plan.tasks], rows),
        num_photographs=plan.num_photographs,
        step=plan.step,
        choices=[_choice(plan, choice) for choice in plan.choices],
        frontier=frontier,
    )
    write_text(path, text)


def _cell(plan: "MixturePlan", i: int, j: int) -> str:
    return f"{number(plan.table[i, j], '+')} ({plan.errors[i, j]:.3f})"


def _choice(plan: "MixturePlan", choice: "Choice") -> Table:
    found = choice.predicted
    head = [
        f"{choice.aim}: {AIMS[choice.aim]}",
        "weight",
        "predicted gain, dB",
        "PSNR with it, dB",
        "with equal volumes",
    ]
    parts = zip(
        plan.tasks,
        choice.weights,
        found.gains_db,
        found.low,
        found.high,
        choice.psnr_db,
        choice.uniform_db,
        strict=True,
    )
    rows = [
        [task, f"{w:.4g}", with_interval(gain, low, high, "+"), f"{with_it:.3f}", f"{without:.3f}"]
        for task, w, gain, low, high, with_it, without in parts
    ]
    mean = with_interval(found.mean_db, found.mean_low, found.mean_high, "+")
    return Table(head, [*rows, ["mean, not validated", "", mean, "", ""]], 1)
