"""The tables of the report, as lines of text."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from shared.effects import IDENTICAL, affecting
from shared.text import TIME_UNITS, quantity
from train.report.runs import RunData, final_psnr, flatten
from train.settings import TrainSettings


class Table(NamedTuple):
    """A heading and lines. bold: how many lines at the end are summaries."""

    head: list[str]
    lines: list[list[str]]
    bold: int = 0


def differing_settings(runs: Sequence[RunData]) -> Table:
    """The settings in which the runs are not alike, of those that make another network."""
    flat, shown = [flatten(run.settings) for run in runs], affecting(TrainSettings, *IDENTICAL, "length")
    keys = [key for key in dict.fromkeys(k for one in flat for k in one) if key.partition(".")[0] in shown]
    differing = [key for key in keys if len({repr(one.get(key)) for one in flat}) > 1]
    return Table(
        ["setting", *(run.name for run in runs)],
        [[key, *("-" if one.get(key) is None else str(one[key]) for one in flat)] for key in differing],
    )


def comparison(runs: Sequence[RunData]) -> Table:
    """PSNR of every run on every task at its end, and the paired differences to the first run."""
    first = runs[0]
    same = [run for run in runs if run.tasks == first.tasks]
    paired = [run for run in same[1:] if run.is_paired_with(first)]
    head = ["PSNR-Y, dB", *(run.name for run in same), *(f"{run.name} - {first.name}" for run in paired)]
    columns = [[with_interval(*f) for f in final_psnr(run)] for run in same]
    columns += [[with_interval(*f, sign="+") for f in final_psnr(run, first)] for run in paired]
    names = [*first.labels, "mean of the tasks", "worst task"]
    return Table(head, [[name, *cells] for name, *cells in zip(names, *columns, strict=True)], bold=2)


def ending(run: RunData) -> Table:
    """Bicubic, single, shared, gain, gap, weight and volume of every task at the last boundary."""
    last, found = run.last, final_psnr(run)
    columns: dict[str, list[str]] = {}
    if run.bicubic_db:
        columns["bicubic, dB"] = _numbers([run.bicubic_db.get(task) for task in run.tasks], mean=True)
    if "reference_db" in last:
        columns["single, dB"] = _numbers([float(np.mean(values)) for values in last["reference_db"]], mean=True)
    columns["shared, dB [95 %]"] = [with_interval(*figures) for figures in found]
    if run.bicubic_db:
        tasks = zip(found, run.tasks, strict=False)
        gains = [f.value - run.bicubic_db[task] if task in run.bicubic_db else None for f, task in tasks]
        columns["gain over bicubic, dB"] = _numbers(gains, mean=True, sign="+")
    if "estimate" in last:
        columns["gap DP, dB"] = _numbers(last["estimate"]["gaps_db"], mean=True, sign="+")
        columns["s.e."] = _numbers(last["estimate"]["errors_db"])
        columns["weight"] = _numbers(last["estimate"]["weights"])
    delivered = np.sum([record["delivered"] for record in run.intervals], axis=0)
    columns["samples"] = [f"{count:,}" for count in delivered[: len(run.tasks)]] + [f"{delivered.sum():,} in all", ""]
    worst = run.tasks[int(np.argmin([f.value for f in found[:-2]]))]
    names = [*run.labels, "mean of the tasks", f"worst task: {worst}"]
    lines = [[name, *(column[i] for column in columns.values())] for i, name in enumerate(names)]
    return Table(["task", *columns], lines, bold=2)


def throughput(runs: Sequence[RunData]) -> Table:
    """Speed and waiting, the median over the lines of metrics.jsonl."""
    head = ["run", "steps", "samples", "samples/s", "ms a step", "data wait", "training time"]
    lines = []
    for run in runs:
        steps = run.last["step"]
        times = [""] * 4
        if run.metrics:
            keys = ("samples_per_second", "step_seconds", "data_wait")
            rate, seconds, wait = (float(np.median([line[key] for line in run.metrics])) for key in keys)
            times = [f"{rate:,.1f}", f"{1000 * seconds:.1f}", f"{100 * wait:.1f} %"]
            times.append(quantity(seconds * steps, TIME_UNITS))
        lines.append([run.name, f"{steps:,}", f"{steps * run.settings['batch_size']:,}", *times])
    return Table(head, lines)


def with_interval(value: float, low: float, high: float, sign: str = "") -> str:
    """A value with its interval."""
    return f"{number(value, sign)} [{number(low, sign)}, {number(high, sign)}]"


def number(value: float, sign: str = "") -> str:
    """Three digits; a value that rounds to 0 has no sign."""
    text = f"{value:{sign}.3f}"
    return "0.000" if float(text) == 0 else text


def _numbers(values: Sequence[float | None], mean: bool = False, sign: str = "") -> list[str]:
    """The values, their mean if it has a meaning, and an empty cell for the worst task."""
    known = [value for value in values if value is not None]
    cells = ["" if value is None else number(value, sign) for value in values]
    return [*cells, number(float(np.mean(known)), sign) if mean and known else "", ""]
