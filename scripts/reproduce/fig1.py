"""Fig. 1: which operator makes tasks differ? One network fine-tuned on each setting of each operator.

(a) How far a network trained on all settings of an operator is behind the network of one setting. (b)-(e) Gain of
fine-tuning on each setting; its variance over settings says how much the operator defines tasks.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from scripts.reproduce.lab import NO_TESTS, Lab, boundaries
from shared.degradation.partition import AXES
from shared.errors import run_command
from shared.rebalance.clusters import clusters_of, standard_errors
from train.evaluation.summaries import markdown
from train.record.references import load_trace


@dataclass(frozen=True)
class Operator:
    """The settings of one operator in order: gains of fine-tuning and gaps to the shared network, dB.

    variance: of the gains over settings. error_variance: the part of it that the choice of validation photographs
    explains, which are the same in all settings.
    """

    gains_db: list[float]
    gaps_db: list[float]
    variance: float
    error_variance: float


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    lab = Lab.of_command("fig1", argv, __doc__, without=("seeds", *NO_TESTS))
    lab.announce(len(AXES) * (lab.scale.settings + 1) * lab.scale.fine_tune_steps)
    lab.initial()
    lab.do([partial(measure, axis=axis) for axis in AXES])
    operators = {axis: measure(lab, axis) for axis in AXES}
    head = ["operator", "settings", "mean gain, dB", "variance of the gain", "of it photographs", "mean gap, dB"]
    lines = []
    for axis, operator in operators.items():
        gain, gap = (f"{np.mean(values):+.3f}" for values in (operator.gains_db, operator.gaps_db))
        variances = [f"{variance:.5f}" for variance in (operator.variance, operator.error_variance)]
        lines.append([axis, f"{len(operator.gains_db)}", gain, *variances, gap])
    lab.write("fig1", {axis: asdict(operator) for axis, operator in operators.items()}, markdown(head, lines))
    figure(operators).savefig(lab.folder / "fig1.png", dpi=150)
    return 0


def measure(lab: Lab, axis: str) -> Operator:
    """Fine-tune on every setting of an operator, and once on all of them."""
    cut, steps = f"{axis}:{lab.scale.settings}", lab.scale.fine_tune_steps
    length = ("--iterations", str(steps), "--interval-steps", str(steps))
    references = lab.references(*length, cut=cut)
    last = boundaries(lab.train(axis, "--policy", "uniform", *length, cut=cut))[-1]
    shared_db = np.array(last["shared_db"])
    traces = [load_trace(references / f"{axis}{i}") for i in range(lab.scale.settings)]
    before, after = (np.array([t.psnr_db[str(step)] for t in traces if t]) for step in (0, steps))
    gains = after - before
    return Operator(
        gains_db=gains.mean(axis=1).tolist(),
        gaps_db=(after - shared_db).mean(axis=1).tolist(),
        variance=float(gains.mean(axis=1).var(ddof=1)),
        error_variance=error_variance(gains, last["photographs"]),
    )


def error_variance(gains_db: np.ndarray, photographs: Sequence[str]) -> float:
    """What other photographs would add to the variance over settings, dB^2, of gains [settings, images].

    Column k shows the same crop of `photographs[k]` in every setting, so what a photograph does to all settings alike
    adds nothing: errors are those of the gains less their mean over settings, with photographs as clusters.
    """
    apart = gains_db - gains_db.mean(axis=0)
    errors = standard_errors(apart, apart.mean(axis=1), clusters_of(photographs))
    return float((errors**2).sum() / (len(gains_db) - 1))


def figure(operators: dict[str, Operator]) -> Figure:
    """Five panels: gaps of all settings, then the gains operator by operator."""
    picture, panels = plt.subplots(1, 1 + len(operators), figsize=(14, 3), layout="constrained")
    panels[0].boxplot([o.gaps_db for o in operators.values()], tick_labels=[*operators])
    panels[0].set_ylabel("dB")
    panels[0].set_title("(a) single - shared, dB", fontsize=10)
    low = min(min(o.gains_db) for o in operators.values())
    high = max(max(o.gains_db) for o in operators.values())
    for letter, panel, (axis, operator) in zip("bcde", panels[1:], operators.items(), strict=True):
        panel.plot(operator.gains_db, marker="o", markersize=3)
        panel.set_ylim(low - 0.02, high + 0.02)
        panel.set_title(f"({letter}) {axis}: variance {operator.variance:.5f}", fontsize=10)
        panel.set_xlabel("setting, from low to high", fontsize=9)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return picture


if __name__ == "__main__":
    sys.exit(run_command(main))
