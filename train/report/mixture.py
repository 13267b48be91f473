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
    frontier = plots.png(plots.frontier(plan.bounds, plan.frontier, plan.tasks))
    write_bytes(path.with_suffix(".png"), frontier)
    pairs = zip(plan.table, plan.errors, strict=True)
    cells = [[f"{number(loss, '+')} ({error:.3f})" for loss, error in zip(*pair, strict=True)] for pair in pairs]
    rows = [[task, *row[:i], "0", *row[i + 1 :]] for i, (task, row) in enumerate(zip(plan.tasks, cells, strict=True))]
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


def _choice(plan: "MixturePlan", choice: "Choice") -> Table:
    found = choice.predicted
    aim = f"{choice.aim}: {AIMS[choice.aim]}"
    head = [aim, "weight", "predicted gain, dB", "PSNR with it, dB", "with equal volumes"]
    gains = [with_interval(*each, "+") for each in zip(found.gains_db, found.low, found.high, strict=True)]
    psnr_db = [[f"{value:.3f}" for value in values] for values in (choice.psnr_db, choice.uniform_db)]
    weights = [f"{weight:.4g}" for weight in choice.weights]
    rows = [list(cells) for cells in zip(plan.tasks, weights, gains, *psnr_db, strict=True)]
    mean = with_interval(found.mean_db, found.mean_low, found.mean_high, "+")
    return Table(head, [*rows, ["mean, not validated", "", mean, "", ""]], 1)
