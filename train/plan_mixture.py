"""Predict from references what each mixture of the tasks gains, and choose the mixture of every aim.

The references must know the PSNR of each network on all tasks; `realsr train --mode pilot` trains short ones. A
predicted gain is relative to a network that is trained on equal volumes. What one task gains another one pays: look
at both.

Examples:
realsr plan-mixture runs/default
realsr plan-mixture references.json --max-loss-db 0.05
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.command import spelling
from shared.config import argument, option, parse
from shared.errors import RunError, run_command
from shared.rebalance.options import AIMS, FLOOR, require_aim

if TYPE_CHECKING:
    from shared.rebalance.mixtures import MixturePlan
    from shared.rebalance.references import References


@dataclass(frozen=True)
class PlanSettings:
    """What `train.plan_mixture` can be asked for."""

    run: str = argument("folder of a run with a pilot or references, folder of the references, or a pack of references")
    floor: float = option(FLOOR, "smallest weight of a task, at most 1 / number of tasks")
    max_loss_db: float = option(float("inf"), "most that any task may lose against equal volumes, as predicted, dB")
    step: int | None = option(None, "step of the references to predict from (default: the last one that all have)")
    out: str | None = option(None, "folder for the weights and the page (default: the run's, or the pack's)")


def main(argv: list[str]) -> int:
    """The command; see `PlanSettings`. Returns the exit code."""
    settings = parse(PlanSettings, argv, spelling("plan-mixture"), __doc__ or "")
    require_aim(next(iter(AIMS)), settings.floor, settings.max_loss_db)
    from shared.rebalance.mixtures import describe, make_plan  # here: wrong usage is answered before Numba is loaded

    source = Path(settings.run)
    references = find_references(source)
    step = references.last_step if settings.step is None else settings.step
    plan = make_plan(references, step, settings.floor, settings.max_loss_db)
    out = Path(settings.out) if settings.out else source.parent if source.is_file() else source
    print("\n".join(describe(plan)))
    save(plan, out, str(source))
    return 0


def find_references(source: Path) -> "References":
    """The references of a run folder (its pilot before its references), of their own folder, or of a pack.

    Raises `RunError` when there are none, or fewer than two.
    """
    from shared.rebalance.references import References
    from train.record.references import PACK, PILOT, load_traces

    folders = [source / PILOT, source / "references", source]
    places = [source] if source.is_file() else [place for folder in folders for place in (folder / PACK, folder)]
    traces = next((found for place in places if (found := [*load_traces(place)])), [])
    if len(traces) < 2:
        raise RunError(
            f"{source} holds {len(traces)} references, a mixture needs those of 2 tasks or more: train them with "
            f"{spelling('train')} --mode pilot --run FOLDER, and give that folder"
        )
    return References(traces)


def save(plan: "MixturePlan", out: Path, source: str) -> None:
    """Write each aim's weights and the page, and say how to train."""
    from train.record.mixtures import save_choice
    from train.report.mixture import write_page

    for choice in plan.choices:
        path = out / f"mixture-{choice.aim}.json"
        save_choice(path, plan, choice, source)
        if not choice.is_uniform:
            options = f"--mode shared --policy fixed --policy-options.weights {path} --run runs/{path.stem}"
            print(f"\nto train for {choice.aim}, give the pilot's settings again with these:")
            print(f"  {spelling('train')} {options}")
    write_page(plan, out / "mixture.html")
    print(f"\nopen {out / 'mixture.html'}")


if __name__ == "__main__":
    sys.exit(run_command(main))
