"""Fig. 1: which operator makes tasks differ? Networks fine-tuned from one start on frozen degradations.

(a) Patterns drawn from Real-ESRGAN's own process: by how much a network fine-tuned on one pattern is ahead of one
fine-tuned on all of them, with as many steps for each. (b)-(e) For noise, blur, down-sampling and JPEG, the gain of
fine-tuning on each of several configurations in which only that operator's severity moves (`frozen.py`), and the
variance of the gain over the configurations. Stage psnr; the paper does not state the length of a fine-tuning.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from scripts.reproduce.fine_tunes import FineTunes, errors_db
from scripts.reproduce.frozen import OPERATORS, evenly_spaced, moved, span
from scripts.reproduce.lab import Lab
from shared.degradation.plan import sample_plan
from shared.degradation.space_file import find_space
from train.evaluation.summaries import markdown

WHOLE = "realesrgan"
"""The space that the patterns of (a) are drawn from."""


@dataclass(frozen=True)
class OperatorGains:
    """Gains of fine-tuning along one operator, dB.

    values: the number that moves. variance: of the gains over the values. error_variance: the part of it that the
    choice of validation photographs explains, which are the same for all values.
    """

    operator: str
    values: list[float]
    gains_db: list[float]
    variance: float
    error_variance: float


def steps(lab: Lab) -> int:
    """Training steps: every configuration, every pattern alone, and all patterns together."""
    return (len(OPERATORS) * lab.scale.configurations + 2 * lab.scale.patterns) * lab.scale.fine_tune_steps


def run(lab: Lab) -> None:
    """Fine-tune, and write the table and the figure."""
    found = [along(lab, operator) for operator in OPERATORS]
    gaps_db = pattern_gaps(lab)
    numbers = {"operators": [asdict(one) for one in found], "pattern_gaps_db": gaps_db}
    lab.write("fig1", numbers, describe(found, gaps_db))
    figure(found, gaps_db).savefig(lab.folder / "fig1.png", dpi=150)


def along(lab: Lab, operator: str) -> OperatorGains:
    """Fine-tune on every configuration of an operator."""
    space = find_space(lab.settings.space)
    values = evenly_spaced(span(space, operator), lab.scale.configurations)
    plans = [moved(space, operator, value, lab.scale.train_patch) for value in values]
    trials = FineTunes(lab, operator, plans, lab.initial())
    gains, photographs = trials.gains_db(), trials.photographs()
    means = gains.mean(axis=1)
    error = error_variance(gains, photographs)
    return OperatorGains(operator, values, means.tolist(), float(means.var(ddof=1)), error)


def pattern_gaps(lab: Lab) -> list[float]:
    """PSNR(network of one pattern) - PSNR(network of all), dB, on each pattern."""
    patch, rows = lab.scale.train_patch, range(lab.scale.patterns)
    plans = [sample_plan(WHOLE, "full", 0, row, height=patch, width=patch, split="fig1") for row in rows]
    trials = FineTunes(lab, "pattern", plans, lab.initial())
    return (trials.gains_db() - trials.joint_gains_db()).mean(axis=1).tolist()


def error_variance(gains_db: np.ndarray, photographs: Sequence[str]) -> float:
    """What other photographs would add to the variance over configurations, dB^2, of gains [configurations, crops].

    Crop k is the same in every configuration, so an effect of a photograph that is alike in all of them adds nothing:
    errors are those of the gains less their mean over the configurations, with photographs as clusters. NaN with only
    one.
    """
    apart = gains_db - gains_db.mean(axis=0)
    return float((errors_db(apart, photographs) ** 2).sum() / (len(gains_db) - 1))


def describe(found: Sequence[OperatorGains], gaps_db: Sequence[float]) -> str:
    """The table of the operators, and a line about the patterns."""
    head = ["operator", "values", "mean gain, dB", "variance of the gain, dB^2", "of it photographs"]
    lines = [
        [
            one.operator,
            f"{one.values[0]:g} to {one.values[-1]:g} ({len(one.values)})",
            f"{np.mean(one.gains_db):+.3f}",
            f"{one.variance:.5f}",
            f"{one.error_variance:.5f}",
        ]
        for one in found
    ]
    return (
        f"{markdown(head, lines)}\nPatterns of Real-ESRGAN's process: single - shared {np.mean(gaps_db):+.3f} dB "
        f"in the mean, {min(gaps_db):+.3f} to {max(gaps_db):+.3f} over {len(gaps_db)} patterns\n"
    )


def figure(found: Sequence[OperatorGains], gaps_db: Sequence[float]) -> Figure:
    """Five panels: the gap of each pattern, then the gains operator by operator on one scale."""
    drawn, panels = plt.subplots(1, 1 + len(found), figsize=(14, 3), layout="constrained")
    panels[0].bar(range(len(gaps_db)), sorted(gaps_db))
    panels[0].set_title("(a) single - shared, dB", fontsize=10)
    panels[0].set_xlabel("pattern of Real-ESRGAN, sorted", fontsize=9)
    panels[0].set_xticks([])
    gains = [gain for one in found for gain in one.gains_db]
    for letter, panel, one in zip("bcde", panels[1:], found, strict=True):
        panel.plot(one.values, one.gains_db, marker="o", markersize=3)
        panel.set_ylim(min(gains) - 0.02, max(gains) + 0.02)
        panel.set_title(f"({letter}) {one.operator}: variance {one.variance:.5f}", fontsize=10)
        panel.set_xlabel(OPERATORS[one.operator], fontsize=9)
    panels[1].set_ylabel("gain of fine-tuning, dB")
    return drawn
