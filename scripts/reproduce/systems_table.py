"""The tables of systems: means by test set, differences to one of them paired by image, and the paper's numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from scripts.reproduce import paper
from scripts.reproduce.comparison import num_steps
from scripts.reproduce.lab import Lab
from scripts.reproduce.systems import Evaluated, SystemSettings, arms_of, evaluate_systems, read_systems
from shared.config import option
from shared.errors import RunError, UsageError
from train.compare import Difference, compare
from train.evaluation.paired import caution
from train.evaluation.summaries import COLUMNS, by_testset, markdown


@dataclass(frozen=True)
class TableSettings(SystemSettings):
    """What a table of systems can be asked for."""

    base: str = option("plain", "system that the others are compared with, image by image")


MEASURES = ("psnr_db", "ssim", "lpips_vgg", "lpips_alex")


def write_systems_table(settings: TableSettings, name: str, title: str) -> None:
    """Measure the systems on DIV2K4Level or DIV2K-random (`title`) and the further test sets, and write the table.

    Raises `UsageError` for a base that is no system, `RunError` when none could be measured.
    """
    lab, entries = Lab(settings, name), read_systems(settings.file)
    if settings.base not in (entry.name for entry in entries):
        raise UsageError(f"base is {settings.base!r}: {settings.file} has {', '.join(e.name for e in entries)}")
    lab.announce(num_steps(lab, arms_of(entries), seeds=1))
    testsets = lab.whole_images(title) | lab.further_testsets()
    systems = evaluate_systems(lab, entries, testsets)
    if not any(system.results for system in systems):
        raise RunError(f"no system of {settings.file} could be measured: {systems[0].missing}")
    differences = differences_to(settings.base, systems)
    sizes = lab.sizes(testsets)
    texts = [means_markdown(measure, systems, sizes) for measure in MEASURES if _has(measure, systems)]
    texts += [differences_markdown(settings.base, differences, sizes), _missing_markdown(systems)]
    texts.append(paper.beside(name, [system.name for system in systems], means(systems)))
    numbers = {
        "testsets": sizes,
        "means": [{"system": s, "measure": m, **values} for (s, m), values in means(systems).items()],
        "differences": [asdict(difference) for difference in differences],
        "missing": {system.name: system.missing for system in systems if system.missing},
    }
    lab.write_tested(name, numbers, *texts)


def means(systems: Sequence[Evaluated]) -> dict[tuple[str, str], dict[str, float]]:
    """Means over the images by system and measure, then by test set."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for system in systems:
        for testset, group in by_testset(system.results):
            for measure in MEASURES:
                if measure in group[0].values:
                    mean = float(np.mean([result.values[measure] for result in group]))
                    found.setdefault((system.name, measure), {})[testset] = mean
    return found


def differences_to(base: str, systems: Sequence[Evaluated]) -> list[Difference]:
    """Every measure of every system less that of the base, paired by image."""
    of_base = next(system.results for system in systems if system.name == base)
    others = [system for system in systems if system.name != base]
    return [difference for other in others for difference in compare(other.name, other.results, base, of_base)]


def means_markdown(measure: str, systems: Sequence[Evaluated], sizes: Mapping[str, int]) -> str:
    """Means of a measure, a line for each system; where pictures are missing, over how many."""
    heading, form = COLUMNS[measure]
    unit = ", dB" if measure.endswith("_db") else ", lower is better" if measure.startswith("lpips") else ""
    lines = []
    for system in systems:
        groups = dict(by_testset(system.results))
        lines.append([system.name, *(_mean(measure, form, groups.get(name, []), size) for name, size in sizes.items())])
    head = ["", *(f"{name} ({size})" for name, size in sizes.items())]
    return f"{heading}{unit}, border 4; in brackets the number of images\n\n{markdown(head, lines)}"


def differences_markdown(base: str, differences: Sequence[Difference], sizes: Mapping[str, int]) -> str:
    """PSNR-Y less that of the base with its interval; empty when there is nothing to compare."""
    chosen = {(d.system, d.testset): d for d in differences if d.measure == "psnr_db"}
    names = list(dict.fromkeys(system for system, _ in chosen))
    lines = [[name, *(_interval(chosen[name, s]) if (name, s) in chosen else "" for s in sizes)] for name in names]
    note = f"PSNR-Y less that of {base}, dB, paired by image: mean [95 % bootstrap over photographs]. "
    note = (note + caution(min((d.photographs for d in chosen.values()), default=0))).rstrip()
    return f"{note}\n\n{markdown(['', *sizes], lines)}" if lines else ""


def _missing_markdown(systems: Sequence[Evaluated]) -> str:
    reasons = [f"* {system.name}: {' '.join(system.missing.split())}\n" for system in systems if system.missing]
    return "Missing\n\n" + "".join(reasons) if reasons else ""


def _has(measure: str, systems: Sequence[Evaluated]) -> bool:
    return any(measure in result.values for system in systems for result in system.results)


def _mean(measure: str, form: str, group: Sequence, size: int) -> str:
    if not group or measure not in group[0].values:
        return "missing"
    mean = form.format(np.mean([result.values[measure] for result in group]))
    return mean if len(group) == size else f"{mean} ({len(group)} of {size})"


def _interval(found: Difference) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
