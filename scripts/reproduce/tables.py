"""Tables 1 to 5: the paper's rows and columns in the printed order, its numbers beside ours.

Below a rule come rows that the paper does not have: bicubic, `plain` (the same network, space, start and samples with
equal volumes) and further policies. What cannot be measured is printed as "not given", with what to supply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.reproduce.comparison import REBALANCE, REWEIGHT, UNIFORM, Arm, difference, num_steps, train_arms
from scripts.reproduce.lab import Lab, lacking
from scripts.reproduce.paper import (
    FORMS,
    HEADINGS,
    MEASURES,
    PROVENANCE,
    PrintedRow,
    PrintedTable,
    measured_name,
    printed_table,
)
from scripts.reproduce.systems import Evaluated, Released, evaluate_arm, evaluate_released, read_systems
from shared.errors import UsageError
from shared.metrics_lpips import BACKBONES
from shared.rebalance.policies import POLICIES
from shared.text import counted
from train.evaluation.paired import bootstrap_mean, caution
from train.evaluation.summaries import COLUMNS, markdown

PLAIN = "plain"
NOT_GIVEN = "not given"
NETWORKS = {"RealSRGAN": "msrresnet", "RealESRGAN": "rrdbnet", "RealSwinIR": "swinir", "RealHAT": "hat"}
"""The networks of Table 3."""
FIVE = {  # the cuts of 2, 3 and 5 tasks are ours: the paper does not state them
    "re-sampling, 2 tasks": Arm("rebalance, 2 tasks", "rebalance", cut="1x2"),
    "re-sampling, 3 tasks": Arm("rebalance, 3 tasks", "rebalance", cut="1x3"),
    "re-sampling, 5 tasks": Arm("rebalance, 5 tasks", "rebalance", cut="1x5"),
    "re-weighting, 4 tasks": REWEIGHT,
    "re-sampling, 4 tasks": REBALANCE,
}
FOUR = {"RLW": Arm("rlw", "rlw"), "DWA": Arm("dwa", "dwa"), "GLS": Arm("gls", "gls"), "Ours": REBALANCE}
BEYOND_FOUR = {
    "re-weighting": REWEIGHT,
    "achievement": Arm("achievement", "achievement"),
    "TGSR-style": Arm("tgsr", "tgsr"),
}
SUPPLY = {
    "RealSRset-Nikon": "--testset RealSR=RealSR_V3",
    "RealSRset-Canon": "--testset RealSR=RealSR_V3",
    "DRealSR": "--testset DRealSR=Test_x4",
}


@dataclass(frozen=True)
class Row:
    """A row of a table: what the paper prints of it, None beyond the paper, and what is measured here.

    source: a released system, an arm, or why there is neither.
    """

    label: str
    source: Released | Arm | str
    printed: PrintedRow | None = None


def steps(lab: Lab) -> int:
    """Training steps of the arms of the table."""
    return num_steps(lab, arms_of(rows_of(lab, lab.experiment)))


def run(lab: Lab) -> None:
    """Train, measure and write the table."""
    table, rows = printed_table(lab.experiment), rows_of(lab, lab.experiment)
    testsets = testsets_of(lab, lab.experiment)
    found = evaluate(lab, rows, testsets)
    sizes = lab.sizes(testsets)
    others = [name for name in sizes if name not in map(measured_name, table.testsets)]
    texts = [
        f"{table.caption} Here / the paper.\n\n{beside(table, rows, found, sizes)}",
        f"Beyond the paper's columns, here\n\n{further(rows, found, others, sizes)}" if others else "",
        against_plain(found, list(sizes)),
        missing(table, rows, found, sizes),
        "\n".join(f"* {note}" for note in (*table.notes, *ours(lab, table))) + "\n",
        f"{PROVENANCE}\n",
    ]
    lab.write_tested(lab.experiment, numbers(found, sizes), *texts)


def rows_of(lab: Lab, name: str) -> list[Row]:
    """The rows of a table in the printed order, then those beyond the paper.

    A system of the file comes before an arm of that name, so networks trained elsewhere can stand in any row. Raises
    `UsageError` for wrong options.
    """
    table, released = printed_table(name), read_systems(Path(lab.settings.systems))
    known: dict[str, Released | Arm | str] = {"Ours": REBALANCE}
    beyond: dict[str, Released | Arm | str] = {PLAIN: UNIFORM}
    if name in ("table1", "table2"):
        beyond = {"bicubic": "the file of systems has none", **beyond}
    elif name == "table3":
        known, beyond = _networks(lab, "+ours", REBALANCE), _networks(lab, " plain", UNIFORM)
    elif name == "table4":
        known, beyond = {**FOUR}, {**beyond, **BEYOND_FOUR}
    elif name == "table5":
        known = {**FIVE}
    for policy in lab.settings.policies or ():
        if policy not in POLICIES:
            raise UsageError(f"unknown policy {policy!r}: choose from {', '.join(POLICIES)}")
        beyond.setdefault(policy, Arm(policy, policy))
    none = "the file of systems has none"
    printed = [Row(name, released.get(name, known.get(name, none)), row) for name, row in table.rows.items()]
    return [*printed, *(Row(label, released.get(label, source)) for label, source in beyond.items())]


def _networks(lab: Lab, suffix: str, like: Arm) -> dict[str, Released | Arm | str]:
    """An arm for each network of Table 3 that is asked for."""
    chosen = lab.settings.networks or lab.scale.table3
    if unknown := sorted({*chosen} - {*NETWORKS.values()}):
        raise UsageError(f"unknown network {unknown[0]!r}: choose from {', '.join(NETWORKS.values())}")
    arms: dict[str, Released | Arm | str] = {}
    for label, network in NETWORKS.items():
        own = network == lab.scale.network
        arm = like if own else Arm(f"{network}-{like.name}", like.policy, network=network)
        arms[label + suffix] = arm if network in chosen else f"--networks {network} trains it"
    return arms


def arms_of(rows: Sequence[Row]) -> list[Arm]:
    """The arms that have to be trained."""
    return [row.source for row in rows if isinstance(row.source, Arm)]


def testsets_of(lab: Lab, name: str) -> dict[str, str]:
    """The test sets of a table: those that are made here, and those of --testset."""
    made = {"table1": ["DIV2K4Level"], "table2": ["DIV2K-random"]}.get(name, [])
    whole = {key: path for title in made for key, path in lab.whole_images(title).items()}
    return whole | ({} if made else lab.crop_testsets()) | lab.further_testsets()


def evaluate(lab: Lab, rows: Sequence[Row], testsets: Mapping[str, str]) -> dict[str, Evaluated]:
    """Every row as measured; released systems first, because they need no training."""
    found = {}
    for row in rows:
        if isinstance(row.source, Released):
            found[row.label] = evaluate_released(lab, row.source, testsets)
    train_arms(lab, arms_of(rows))
    for row in rows:
        if isinstance(row.source, Arm):
            found[row.label] = evaluate_arm(lab, row.label, row.source, testsets, range(lab.settings.seeds))
        elif isinstance(row.source, str):
            found[row.label] = Evaluated(row.label, (), (), row.source)
    return found


# ---- the page


def beside(table: PrintedTable, rows: Sequence[Row], found: Mapping[str, Evaluated], sizes: Mapping[str, int]) -> str:
    """The printed table, each cell as "here / the paper"; rows beyond the paper below a rule."""
    ticks = ["Diff", "Dyna"] if table.name == "table4" else []
    columns = [(testset, metric) for testset in table.testsets for metric in table.metrics]
    head = ["", *ticks, *(f"{testset} {HEADINGS[metric]}" for testset, metric in columns)]
    lines, ruled = [], False
    for row in rows:
        if row.printed is None and not ruled:
            lines.append(["*beyond the paper*", *("" for _ in head[1:])])
            ruled = True
        marks = [_tick(row, key) for key in ("difficulty_aware", "dynamic")] if ticks else []
        lines.append([row.label, *marks, *(_cell(row, found[row.label], *column, sizes) for column in columns)])
    return markdown(head, lines)


def _tick(row: Row, key: str) -> str:
    return "yes" if row.printed and row.printed.get(key) else ""


def _cell(row: Row, measured: Evaluated, testset: str, metric: str, sizes: Mapping[str, int]) -> str:
    name = measured_name(testset)
    here = _mean(measured, name, MEASURES[metric], FORMS[metric], sizes.get(name, 0))
    if row.printed is None:
        return here
    return f"{here} / {FORMS[metric].format(row.printed['values'][testset][metric])}"


def _mean(measured: Evaluated, testset: str, measure: str, form: str, size: int) -> str:
    """The mean over images and seeds, with the standard deviation over seeds; where images are missing, of how many."""
    values = measured.values(testset, measure)
    if not values:
        return NOT_GIVEN
    means = np.array([*values.values()]).mean(axis=0)
    spread = f" ({form.format(means.std(ddof=1))})" if len(means) > 1 else ""
    return form.format(means.mean()) + spread + (f", {len(values)} of {size}" if len(values) < size else "")


def further(
    rows: Sequence[Row], found: Mapping[str, Evaluated], testsets: Sequence[str], sizes: Mapping[str, int]
) -> str:
    """The means on test sets that the table does not have, of all measures that there are."""
    measures = [m for m in ("psnr_db", "ssim", "lpips_vgg", "lpips_alex") if any(_has(f, m) for f in found.values())]
    head = ["", *(f"{name} ({sizes[name]}) {COLUMNS[measure][0]}" for name in testsets for measure in measures)]
    cells = [(testset, measure) for testset in testsets for measure in measures]
    lines = [
        [
            row.label,
            *(_mean(found[row.label], name, measure, COLUMNS[measure][1], sizes[name]) for name, measure in cells),
        ]
        for row in rows
        if found[row.label].runs
    ]
    return markdown(head, lines)


def _has(measured: Evaluated, measure: str) -> bool:
    return any(measure in result.values for run in measured.runs for result in run)


def against_plain(found: Mapping[str, Evaluated], testsets: Sequence[str]) -> str:
    """PSNR-Y less that of `plain` with two intervals: over photographs, and over seeds where both have several."""
    lines, fewest = [], []
    for label, measured in found.items():
        base = found.get(f"{label.removesuffix('+ours')} {PLAIN}", found.get(PLAIN))
        if base is None or base is measured or not (base.runs and measured.runs):
            continue
        lines.append([f"{label} - {base.name}", *(_difference(measured, base, testset) for testset in testsets)])
        fewest += [len({*measured.photographs(testset).values()}) for testset in testsets]
    if not lines:
        return ""
    note = f"PSNR-Y less that of {PLAIN}, dB: mean [95 % over photographs; over seeds]. {caution(min(fewest))}".rstrip()
    return f"{note}\n\n{markdown(['', *testsets], lines)}"


def _difference(measured: Evaluated, base: Evaluated, testset: str) -> str:
    """Over the images that both have."""
    photographs = measured.photographs(testset)
    all_ours, all_theirs = (each.values(testset, "psnr_db") for each in (measured, base))
    common = [image for image in all_ours if image in all_theirs]
    if not common:
        return NOT_GIVEN
    ours, theirs = (np.array([values[image] for image in common]) for values in (all_ours, all_theirs))
    delta = ours.mean(axis=1) - theirs.mean(axis=1)
    key = (measured.name, base.name, testset)
    mean, low, high = bootstrap_mean(delta, [photographs[image] for image in common], key)
    seeds = ""
    if ours.shape[1] == theirs.shape[1] > 1:
        over = difference(ours.mean(axis=0), theirs.mean(axis=0))
        seeds = f"; {over.low:+.3f}, {over.high:+.3f}"
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}{seeds}]"


def missing(table: PrintedTable, rows: Sequence[Row], found: Mapping[str, Evaluated], sizes: Mapping[str, int]) -> str:
    """What is not given, and what to supply."""
    lines = [f"* {row.label}: {' '.join(found[row.label].missing.split())}" for row in rows if found[row.label].missing]
    for testset in table.testsets:
        if measured_name(testset) not in sizes:
            lines.append(f"* test set {testset}: give {SUPPLY.get(testset, '--val-hr or --test-hr')}")
    if "lpips" in table.metrics and not any(_has(each, "lpips_vgg") for each in found.values()):
        lines.append(f"* LPIPS: {lacking('vgg') or 'turned off by --lpips'}")
    return "\n".join([f"{NOT_GIVEN.capitalize()}:", "", *lines, ""]) if lines else ""


def ours(lab: Lab, table: PrintedTable) -> list[str]:
    """What a reader must know of our side of the table."""
    notes = [f"Here: scale {lab.scale.name}, space {lab.settings.space}, network {lab.scale.network}"]
    notes[0] += f", {counted(lab.settings.seeds, 'seed')}; PSNR and SSIM on Y, border 4 (the paper states no border)"
    if lab.lpips():
        notes.append(
            f"LPIPS here is {BACKBONES['vgg'].split('-')[0]}'s, version 0.1; the paper does not state its variant"
        )
    if table.name == "table5":
        notes.append("The cuts into 2, 3 and 5 tasks are ours: equal parts of the noise axis")
    return notes


def numbers(found: Mapping[str, Evaluated], sizes: Mapping[str, int]) -> dict:
    """The means by row, test set and measure, a value for each seed, and what is missing."""
    means: dict[str, dict[str, dict[str, list[float]]]] = {}
    for label, measured in found.items():
        for testset in sizes:
            for measure in COLUMNS:
                if values := [*measured.values(testset, measure).values()]:
                    means.setdefault(label, {}).setdefault(testset, {})[measure] = np.mean(values, axis=0).tolist()
    gone = {label: measured.missing for label, measured in found.items() if measured.missing}
    return {"testsets": dict(sizes), "means": means, "missing": gone}
