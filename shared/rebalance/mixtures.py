"""The mixture of every aim, what it is predicted to gain and who pays, from references that know all tasks."""

import math
from dataclasses import dataclass

import numpy as np

from . import surface
from .options import AIMS, FLOOR, require_aim
from .references import References

FRONTIER_POINTS = 9


@dataclass(frozen=True)
class Choice:
    """The mixture of an aim, and what is predicted of it. psnr_db: of each task with it, and with equal volumes."""

    aim: str
    weights: list[float]
    predicted: surface.PredictedGains
    psnr_db: list[float]
    uniform_db: list[float]

    @property
    def is_uniform(self) -> bool:
        """Whether no mixture is predicted better than equal volumes."""
        return len({*self.weights}) == 1


@dataclass(frozen=True)
class MixturePlan:
    """What references predict. table, errors: D with its standard errors, dB, [n tasks, n networks].

    most_db: what each task gains over equal volumes by its own network, the most that any mixture gives. bounds:
    largest predicted loss of a task along the frontier; frontier: the gain of each task there under the aim `worst`.
    """

    tasks: list[str]
    step: int
    num_photographs: int
    table: np.ndarray
    errors: np.ndarray
    most_db: list[float]
    choices: list[Choice]
    bounds: list[float]
    frontier: np.ndarray


def make_plan(references: References, step: int, floor: float = FLOOR, max_loss_db: float = math.inf) -> MixturePlan:
    """Predictions at a step of the references. Raises `RunError` as `References.across` and where they overfit."""
    values, hr_ids = references.across(step)
    n, tasks = len(values), references.tasks
    require_aim(next(iter(AIMS)), floor, max_loss_db, n)
    surface.require_no_overfitting(values, hr_ids, tasks)
    means, uniform = surface.mean_psnr(values), np.full(n, 1 / n)
    table, own = surface.cross_table(means), np.diag(means)
    uniform_db = own - surface.shortfall(table, uniform)
    choices = []
    for aim in AIMS:
        w = surface.best_mixture(means, aim, floor, max_loss_db)
        predicted = surface.predicted_gains(values, w.tolist(), hr_ids, ("plan", aim))
        psnr_db = (own - surface.shortfall(table, w)).tolist()
        choices.append(Choice(aim, w.tolist(), predicted, psnr_db, uniform_db.tolist()))
    largest = max(0.0, -min(choices[0].predicted.gains_db))
    bounds = np.linspace(0, largest, FRONTIER_POINTS) if largest else np.zeros(1)
    points = [surface.gains(table, surface.best_mixture(means, "worst", floor, bound)) for bound in bounds]
    return MixturePlan(
        tasks=tasks,
        step=step,
        num_photographs=min(len(set(each)) for each in hr_ids),
        table=table,
        errors=surface.cross_errors(values, hr_ids),
        most_db=surface.shortfall(table, uniform).tolist(),
        choices=choices,
        bounds=bounds.tolist(),
        frontier=np.array(points),
    )


# ---- in words


def describe(plan: MixturePlan) -> list[str]:
    """The plan in lines of text."""
    width = max(map(len, plan.tasks))
    lines = [
        f"D, dB, at step {plan.step}: what the task of the row loses in the network of the column instead of its own",
        f"(standard error over {plan.num_photographs} HR images)",
        " " * width + "".join(f"{task:>16}" for task in plan.tasks),
    ]
    for i, task in enumerate(plan.tasks):
        cells = ["0" if i == j else cell(plan.table[i, j], plan.errors[i, j]) for j in range(len(plan.tasks))]
        lines.append(f"{task:<{width}}" + "".join(f"{each:>16}" for each in cells))
    return [*lines, most(plan), *(line for choice in plan.choices for line in _choice_lines(plan, choice, width))]


def cell(value: float, error: float) -> str:
    """A value with its standard error."""
    return f"{value:+.3f} ({error:.3f})"


def most(plan: MixturePlan) -> str:
    """The bound that no mixture exceeds."""
    task = max(range(len(plan.tasks)), key=plan.most_db.__getitem__)
    return f"no task can gain more than {plan.most_db[task]:.3f} dB over equal volumes ({plan.tasks[task]})"


def _choice_lines(plan: MixturePlan, choice: Choice, width: int) -> list[str]:
    weights = ", ".join(f"{task} {w:.4g}" for task, w in zip(plan.tasks, choice.weights, strict=True))
    lines = ["", f"aim {choice.aim} ({AIMS[choice.aim]}): {weights}"]
    if choice.is_uniform:
        return [*lines, "  no mixture is predicted better than equal volumes"]
    lines += [f"  {task:<{width}} {text}" for task, text in zip(plan.tasks, gain_texts(choice), strict=True)]
    found = choice.predicted
    mean = f"{found.mean_db:+.3f} [{found.mean_low:+.3f}, {found.mean_high:+.3f}]"
    return [*lines, f"  {'mean':<{width}} {mean} dB, not validated", f"  {payers(plan, choice)}"]


def gain_texts(choice: Choice) -> list[str]:
    """The predicted gain of each task with its interval."""
    found = choice.predicted
    parts = zip(found.gains_db, found.low, found.high, strict=True)
    return [f"{gain:+.3f} [{low:+.3f}, {high:+.3f}] dB" for gain, low, high in parts]


def payers(plan: MixturePlan, choice: Choice) -> str:
    """The tasks that lose."""
    losing = [task for task, gain in zip(plan.tasks, choice.predicted.gains_db, strict=True) if gain < 0]
    return f"who pays: {', '.join(losing) or 'none'}"
