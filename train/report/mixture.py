"""The page of a planned mixture: the cross table, what each aim gains and costs, and the frontier as a picture."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

from shared.rebalance.options import AIMS
from shared.storage.atomic import write_bytes, write_text
from train.report import page, plots
from train.report.tables import Table

if TYPE_CHECKING:
    from shared.rebalance.mixtures import Choice, MixturePlan

NOTES = (
    "Row: the task that is measured; column: the network, trained on that task alone. A cell is what the task loses "
    "there, in dB, with its standard error over HR images.",
    "Gains are predicted, in dB over equal volumes, with 95 % bootstrap intervals over HR images; the spread over "
    "seeds is not in them. They were validated for each task, not for the mean. Verify the chosen mixture by a run.",
    "From equal volumes on the left to the mixture of the aim worst on the right: what each task gains when no task "
    "may lose more than the bound.",
)


def write_page(plan: "MixturePlan", path: Path) -> None:
    """Write the page, and its picture beside it as PNG."""
    figure = plots.frontier(plan.bounds, plan.frontier, plan.tasks)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    plt.close(figure)
    write_bytes(path.with_suffix(".png"), picture.getvalue())
    rows = [
        [task, *("0" if i == j else _cell(plan, i, j) for j in range(len(plan.tasks)))]
        for i, task in enumerate(plan.tasks)
    ]
    parts = [
        page.heading(f"What a mixture of {len(plan.tasks)} tasks can gain", 1),
        page.heading("Cross table"),
        page.table(Table(["", *plan.tasks], rows)),
        page.note(f"{NOTES[0]} {plan.num_photographs} HR images, references at step {plan.step}."),
        page.heading("What each aim gains, and who pays"),
        *(page.table(_choice(plan, choice)) for choice in plan.choices),
        page.note(NOTES[1]),
        page.heading("The frontier"),
        page.picture(picture.getvalue(), "frontier"),
        page.note(NOTES[2]),
    ]
    write_text(path, page.document(path.stem, parts))


def _cell(plan: "MixturePlan", i: int, j: int) -> str:
    return f"{plan.table[i, j]:+.3f} ({plan.errors[i, j]:.3f})"


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
        [task, f"{w:.4g}", f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]", f"{with_it:.3f}", f"{without:.3f}"]
        for task, w, gain, low, high, with_it, without in parts
    ]
    mean = f"{found.mean_db:+.3f} [{found.mean_low:+.3f}, {found.mean_high:+.3f}]"
    return Table(head, [*rows, ["mean, not validated", "", mean, "", ""]], 1)
