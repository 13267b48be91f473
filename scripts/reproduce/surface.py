"""What a mixture can gain: predicted from short and from whole references, and measured on networks trained on it.

The mixtures are chosen from references of another seed than the measured networks, and measured on crops that set
nothing. Two intervals stand beside a measured gain: over seeds with these photographs, and over photographs. Agreement
is over the tasks of all mixtures; the means of the mixtures, in which gains and losses cancel, are judged apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scripts.reproduce.comparison import Arm, difference, num_steps, train_arm, train_arms
from scripts.reproduce.lab import Lab
from scripts.reproduce.scales import Scale
from shared.errors import RunError, UsageError
from shared.rebalance import surface
from shared.rebalance.policies.fixed import write_mixture
from shared.rebalance.references import References
from train.evaluation.paired import bootstrap_mean
from train.evaluation.results import read_results
from train.evaluation.summaries import markdown
from train.record.references import load_trace

PILOT_SEED = 1000
"""The seed of the references: the measured networks have others."""
SHORT = 0.2
MAX_LOSS_DB = 0.02
TILT = {"mild": 0.125, "blur": 0.125, "noise": 0.375, "severe": 0.375}
"""Three times as many samples in the noisy half: one axis alone."""
UNIFORM = "uniform"
PREDICTED = ("worst", "gap", "bounded", "tilt")
"""Arms of a constant mixture, whose gain is predicted."""
OTHERS = {
    "rebalance": Arm("rebalance", "rebalance"),
    "auto": Arm("rebalance, auto", "rebalance", ("--estimator.temperature", "auto")),
    "policy-worst": Arm("policy worst", "worst"),
}
"""Arms whose mixture follows what is measured."""
DEFAULT = ("worst", "gap", "tilt")


@dataclass(frozen=True)
class Agreement:
    """How well predictions agree with measured gains. slope: of measured on predicted, through 0. rmse_db: root mean
    square difference. correlation: None for less than three values."""

    count: int
    correlation: float | None
    slope: float
    rmse_db: float


def steps(lab: Lab) -> int:
    """Training steps of the references and of all arms."""
    arms = [Arm(UNIFORM), *(OTHERS.get(name, Arm(name)) for name in _asked(lab))]
    return num_steps(lab, arms) + len(lab.tasks()) * lab.scale.iterations


def run(lab: Lab) -> None:
    """Train the references, choose, predict, train the mixtures, measure and write the table."""
    lab.initial()
    references, tasks = find_references(lab), [box.name for box in lab.tasks()]
    readings = {f"{step} steps": references.across(step) for step in (short_step(lab.scale), lab.scale.iterations)}
    short_db, hr_ids = readings[f"{short_step(lab.scale)} steps"]
    surface.require_no_overfitting(short_db, hr_ids, tasks)
    mixtures = choose(surface.mean_psnr(short_db), tasks, _asked(lab))
    arms = {UNIFORM: Arm(UNIFORM)} | {name: _arm(name, tasks, mixtures) for name in _asked(lab)}
    train_arms(lab, [*arms.values()])
    measured = {name: measure(lab, arm) for name, arm in arms.items()}
    predicted = {
        title: {name: surface.gains(surface.cross_table(surface.mean_psnr(values)), w) for name, w in mixtures.items()}
        for title, (values, _) in readings.items()
    }
    texts = [_limits(readings, tasks), table(lab, tasks, mixtures, predicted, measured)]
    gained = {name: _gain(measured, name).mean(axis=(0, 2)) for name in mixtures}
    found = {title: agreement(gains, gained) for title, gains in predicted.items()}
    texts.append(agreement_table(found))
    numbers = {
        "tasks": tasks,
        "seeds": lab.settings.seeds,
        "mixtures": {name: w.tolist() for name, w in mixtures.items()},
        "predicted_db": {title: {name: g.tolist() for name, g in each.items()} for title, each in predicted.items()},
        "measured_db": {name: _gain(measured, name).mean(axis=2).tolist() for name in arms},
        "psnr_db": {name: values.mean(axis=2).tolist() for name, (values, _) in measured.items()},
    }
    lab.write_tested("surface", numbers, *texts)


def _asked(lab: Lab) -> Sequence[str]:
    """The arms that are asked for, beside uniform. Raises `UsageError` for an unknown one."""
    names = lab.settings.arms or DEFAULT
    for name in names:
        if name not in (*PREDICTED, *OTHERS):
            raise UsageError(f"unknown arm {name!r}: choose from {', '.join((*PREDICTED, *OTHERS))}")
    return names


def short_step(scale: Scale) -> int:
    """Length of the short references: a fifth, in whole intervals."""
    return scale.interval_steps * max(1, round(SHORT * scale.iterations / scale.interval_steps))


def find_references(lab: Lab) -> References:
    """The single-task networks, of a seed of their own."""
    folder = lab.references(seed=PILOT_SEED)
    return References([trace for trace in (load_trace(folder / box.name) for box in lab.tasks()) if trace])


def choose(psnr_db: np.ndarray, tasks: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The constant mixtures by name, from mean PSNR [n networks, n tasks] of the short references."""
    made = {
        "worst": lambda: surface.best_mixture(psnr_db, "worst"),
        "gap": lambda: surface.best_mixture(psnr_db, "gap"),
        "bounded": lambda: surface.best_mixture(psnr_db, "worst", max_loss_db=MAX_LOSS_DB),
        "tilt": lambda: np.array([TILT[task] for task in tasks]),
    }
    return {name: made[name]() for name in names if name in made}


def _arm(name: str, tasks: Sequence[str], mixtures: Mapping[str, np.ndarray]) -> Arm:
    if name in OTHERS:
        return OTHERS[name]
    text = write_mixture(dict(zip(tasks, mixtures[name].tolist(), strict=True)))
    return Arm(f"mixture-{name}", "fixed", ("--policy-options.weights", text))


Measured = tuple[np.ndarray, list[str]]
"""PSNR, float [seeds, n tasks, m crops] in dB, and the photograph of each crop."""


def measure(lab: Lab, arm: Arm) -> Measured:
    """What the networks of an arm achieve on crops that set nothing."""
    testsets, values, photographs = lab.crop_testsets(), [], []
    for seed in range(lab.settings.seeds):
        folder = train_arm(lab, arm, seed)
        psnr_db = lab.measure(folder, testsets)
        values.append([*psnr_db.values()])
        first = next(iter(psnr_db))
        photographs = [result.photograph for result in read_results(folder / "test") if result.testset == first]
    return np.array(values), photographs


def _gain(measured: Mapping[str, Measured], name: str) -> np.ndarray:
    """PSNR over uniform, float [seeds, n, m]."""
    return measured[name][0] - measured[UNIFORM][0]


def agreement(predicted: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray]) -> dict[str, Agreement]:
    """Of predicted and measured gains [n] by mixture: over the tasks of all mixtures, and over their means."""
    pairs = [(predicted[name], measured[name]) for name in predicted]
    return {
        "tasks": _agree(np.concatenate([p for p, _ in pairs]), np.concatenate([m for _, m in pairs])),
        "means, not validated": _agree(np.array([p.mean() for p, _ in pairs]), np.array([m.mean() for _, m in pairs])),
    }


def _agree(predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    squares = float((predicted**2).sum())
    varies = len(predicted) > 2 and predicted.std() > 0 and measured.std() > 0
    return Agreement(
        count=len(predicted),
        correlation=float(np.corrcoef(predicted, measured)[0, 1]) if varies else None,
        slope=float((predicted * measured).sum()) / squares if squares else 0.0,
        rmse_db=float(((predicted - measured) ** 2).mean() ** 0.5),
    )


# ---- in words


def _limits(readings: Mapping[str, tuple[surface.CrossValues, list[list[str]]]], tasks: list[str]) -> str:
    """What no mixture exceeds, by each reading of the references."""
    lines = []
    for title, (values, hr_ids) in readings.items():
        most = surface.shortfall(surface.cross_table(surface.mean_psnr(values)), np.full(len(tasks), 1 / len(tasks)))
        text = f"References of {title}: no task can gain more than {most.max():.3f} dB ({tasks[most.argmax()]})."
        try:
            surface.require_no_overfitting(values, hr_ids, tasks)
        except RunError as error:
            text += f" {error}."
        lines.append(text)
    return "\n".join(lines) + "\n"


def table(
    lab: Lab,
    tasks: list[str],
    mixtures: Mapping[str, np.ndarray],
    predicted: Mapping[str, Mapping[str, np.ndarray]],
    measured: Mapping[str, Measured],
) -> str:
    """Predicted and measured gains of every arm on every task, their mean and the worst task, dB over uniform."""
    lines = []
    for name in measured:
        if name == UNIFORM:
            continue
        if name in mixtures:
            lines.append([f"{name}: weights", *(f"{w:.4g}" for w in mixtures[name]), "", ""])
            lines += [
                [f"{name}: predicted from {title}", *(f"{g:+.3f}" for g in each[name]), f"{each[name].mean():+.3f}", ""]
                for title, each in predicted.items()
            ]
        lines.append([f"{name}: measured [over seeds] [over photographs]", *_cells(measured, name)])
    seeds = f"{lab.settings.seeds} seed{'s' if lab.settings.seeds > 1 else ''}"
    head = [f"PSNR-Y over uniform, dB, {seeds}", *tasks, "mean, not validated", "worst task"]
    return markdown(head, lines)


def _cells(measured: Mapping[str, Measured], name: str) -> list[str]:
    """Measured gains on each task, of their mean, and of the worst task of each network."""
    gain, photographs = _gain(measured, name), measured[name][1]
    columns = [*gain.swapaxes(0, 1), gain.mean(axis=1)]  # each [seeds, m]
    cells = []
    for number, column in enumerate(columns):
        over_seeds = difference(column.mean(axis=1), np.zeros(len(column)))
        seeds = "" if over_seeds.low is None else f" [{over_seeds.low:+.3f}, {over_seeds.high:+.3f}]"
        found = bootstrap_mean(column.mean(axis=0), photographs, ("surface", name, number))
        cells.append(f"{over_seeds.mean:+.3f}{seeds} [{found.low:+.3f}, {found.high:+.3f}]")
    worst = [values.mean(axis=2).min(axis=1) for values, _ in (measured[name], measured[UNIFORM])]
    return [*cells, f"{(worst[0] - worst[1]).mean():+.3f}"]


def agreement_table(found: Mapping[str, Mapping[str, Agreement]]) -> str:
    """Correlation, slope and error of the predictions from each reading."""
    lines = [
        [
            f"from {title}, over {what}",
            str(each.count),
            "unknown" if each.correlation is None else f"{each.correlation:.3f}",
            f"{each.slope:.2f}",
            f"{each.rmse_db:.4f}",
        ]
        for title, parts in found.items()
        for what, each in parts.items()
    ]
    return markdown(["predicted against measured", "values", "r", "slope", "rmse, dB"], lines)
