"""Does the method help? Every policy at equal samples, temperatures, and the number of distinct rows, paired by seed.

All networks start from the same weights and see, for one seed, each task's samples in the same order. Beside every
difference stands the smallest one that so many seeds could have found; "not resolved" is an answer.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm, gaps_of, markdown, num_steps, run_arms
from scripts.reproduce.lab import Lab
from shared.errors import UsageError
from shared.rebalance.policies import POLICIES
from train.evaluation.summaries import markdown as table

FRESH = Arm("uniform, on the fly", flags=("--source", "fly"))
FLAGS = {"optimal": ("--moments", "16")}
"""Options that a policy needs."""
OTHERS = ("uniform", "fixed", "planned")
"""Policies that are not arms by their name alone."""
TEMPERATURES_DB = (0.3, 0.1, 0.03)
ROWS = (25, 100)


def _cold(policy: str, temperature_db: float) -> Arm:
    """A policy at another temperature than the paper's."""
    return Arm(f"{policy}, {temperature_db} dB", policy, ("--estimator.temperature", str(temperature_db)))


PARTS = {
    "policies": (
        "Policies",
        (UNIFORM, *(Arm(name, name, FLAGS.get(name, ())) for name in POLICIES if name not in OTHERS)),
    ),
    "schemes": ("Re-sampling against re-weighting", (REWEIGHT, REBALANCE)),
    "schemes-cold": ("The same at a tenth of the temperature", (_cold("reweight", 0.1), _cold("rebalance", 0.1))),
    "temperatures": (
        "Temperature of the weights",
        (UNIFORM, REBALANCE, *(_cold("rebalance", value) for value in TEMPERATURES_DB)),
    ),
    "groups": ("Groups of frozen plans, against degradations as fresh as theirs", (FRESH, Arm("tgsr", "tgsr"))),
    "rows": (
        "Distinct rows of each task",
        (UNIFORM, *(Arm(f"uniform, {rows} rows", rows=rows) for rows in ROWS), FRESH),
    ),
}
"""The questions of the study: title and arms, of which the others are compared with the first."""


def steps(lab: Lab) -> int:
    """Training steps of the parts that are asked for."""
    return num_steps(lab, _arms(_parts(lab)))


def run(lab: Lab) -> None:
    """Train, measure and write the tables."""
    parts, testsets = _parts(lab), lab.crop_testsets() | lab.further_testsets()
    names, all_arms = lab.names(testsets), _arms(parts)
    means = run_arms(lab, all_arms, testsets)
    gaps = {arm.name: gaps_of(lab, arm) for arm in all_arms if arm.policy == "rebalance"}
    texts = ["## The gaps\n", gaps_markdown(gaps)] if gaps else []
    for title, arms in parts.items():
        chosen = {arm.name: means[arm.name] for arm in arms}
        texts += [f"## {title}\n", markdown(chosen, names, arms[0].name)]
    numbers = {"testsets": names, "psnr_db": {name: values.tolist() for name, values in means.items()}, "gaps": gaps}
    lab.write_tested("-".join(["study", *(lab.settings.parts or ())]), numbers, *texts)


def _parts(lab: Lab) -> dict[str, tuple[Arm, ...]]:
    """The arms of each part that is asked for, by its title. Raises `UsageError` for an unknown part."""
    asked = lab.settings.parts or [*PARTS]
    for name in asked:
        if name not in PARTS:
            raise UsageError(f"unknown part {name!r} of the study: choose from {', '.join(PARTS)}")
    return dict(PARTS[name] for name in asked)


def _arms(parts: Mapping[str, Sequence[Arm]]) -> list[Arm]:
    return [*{arm.name: arm for arms in parts.values() for arm in arms}.values()]


def gaps_markdown(gaps: Mapping[str, Mapping[str, Any]]) -> str:
    """The last boundary's gaps of each run, by task."""
    head = ["run", "task", "gap DP, dB", "s.d. over seeds", "s.e. over photographs", "weights over all boundaries"]
    lines = []
    for name, found in gaps.items():
        for number, task in enumerate(found["tasks"]):
            gap, spread, error, (low, high) = (
                found[key][number] if found[key] else None for key in ("gaps_db", "spread_db", "errors_db", "weights")
            )
            noises = ["unknown" if value is None else f"{value:.3f}" for value in (spread, error)]
            lines.append([name, task, f"{gap:+.3f}", *noises, f"{low:.3f} to {high:.3f}"])
    return table(head, lines)
