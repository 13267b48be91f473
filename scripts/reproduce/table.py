"""Tables of arms: every measure, paired by seed, with the paper's numbers beside ours."""

from collections.abc import Mapping, Sequence

import numpy as np

from scripts.reproduce import paper
from scripts.reproduce.comparison import PSNR, Arm, Means, markdown, measured, run_arms
from scripts.reproduce.lab import Lab


def write_tables(lab: Lab, name: str, groups: Sequence[Sequence[Arm]], testsets: Mapping[str, str]) -> None:
    """Train the arms, measure PSNR-Y and the LPIPS that was asked for, and write the table.

    groups: arms that are compared with the first of them.
    """
    names, arms = lab.names(testsets), [arm for group in groups for arm in group]
    found = {PSNR: run_arms(lab, arms, testsets)}
    for net in lab.settings.lpips or ():
        found[f"lpips_{net}"] = measured(lab, arms, testsets, f"lpips_{net}")
    texts = [
        markdown({arm.title: means[arm.title] for arm in group}, names, group[0].title, measure)
        for measure, means in found.items()
        for group in groups
    ]
    texts.append(paper.beside(name, [arm.title for arm in arms], _by_testset(found, names)))
    numbers = {measure: {arm: values.tolist() for arm, values in means.items()} for measure, means in found.items()}
    lab.write_tested(name, {"testsets": names, **numbers}, *texts)


def _by_testset(found: Mapping[str, Means], names: Sequence[str]) -> dict[tuple[str, str], dict[str, float]]:
    """Means over seeds as `paper.Ours` has them."""
    return {
        (arm, measure): dict(zip(names, np.mean(values, axis=0).tolist(), strict=True))
        for measure, means in found.items()
        for arm, values in means.items()
    }
