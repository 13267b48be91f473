"""The report's HTML: one file with every image inside it, from the templates beside this module."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import yaml

from shared.images import encode_png
from train.evaluation.paired import caution
from train.record.run_log import INDISTINCT, tells_tasks_apart
from train.report import tables
from train.report.crops import Sample
from train.report.runs import RunData, gap_reaches, half_averaged_step

CAPTIONS = {
    "differences": "Paired by image. Bars: 95 % bootstrap over HR images, without the spread over seeds.",
    "runs": "Averaged weights, on the validation sets.",
    "weights": "Bands: 95 % bootstrap over HR images, without training noise: that is the spread over seeds.",
    "gaps": "Bars: 95 %, Student's t of standard errors with HR images as clusters; none with one HR image.",
    "psnr": "Solid: shared network. Dashed: single-task networks at the same step. Dotted: bicubic. Averaged weights; "
    "where the ground is grey, the average holds more of the initial weights than of the training.",
    "quotas": "Delivered equals the quotas exactly; the run stops otherwise.",
}
"""The caption of each kind of figure; figures are called kind or kind-number."""
COMPARISON_NOTE = (
    "Intervals: 95 % bootstrap over the HR images of validation, jointly for all tasks and runs; differences are "
    "paired by image. Training noise, the spread over seeds, is not in them: two runs of one seed each do not show "
    "which setting is better. The worst task is the one with the lowest PSNR in each resample."
)


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)
TEMPLATES.filters["base64"] = lambda data: base64.b64encode(data).decode()
TEMPLATES.filters["png"] = lambda image: encode_png(np.ascontiguousarray(image))


def render(template: str, **values: Any) -> str:
    """A page from one of the templates; all text in it is escaped."""
    return TEMPLATES.get_template(template).render(values)


def html(runs: Sequence[RunData], figures: Mapping[str, bytes], samples: Sequence[Sample] | str) -> str:
    """The page. figures: PNG by name. samples: crops, or why there are none."""
    several = len(runs) > 1
    return render(
        "report.html",
        title=f"{len(runs)} runs" if several else runs[0].name,
        runs=[_shown(run, several) for run in runs],
        differing=tables.differing_settings(runs),
        comparison=tables.comparison(runs),
        comparison_note=COMPARISON_NOTE,
        figures=[
            {"name": name, "data": data, "caption": CAPTIONS[name.split("-")[0]]} for name, data in figures.items()
        ],
        throughput=tables.throughput(runs),
        samples=samples,
        **({} if isinstance(samples, str) else _choices(samples, runs)),
    )


def _shown(run: RunData, named: bool) -> dict[str, Any]:
    """What the page says of one run."""
    return {
        "name": run.name,
        "subtitle": (f"{run.name}: " if named else "") + _subtitle(run),
        "ending": tables.ending(run),
        "caution": _caution(run),
        "config": yaml.safe_dump(run.settings, sort_keys=False),
    }


def _subtitle(run: RunData) -> str:
    settings, network = run.settings, run.settings["network"]
    size = ", ".join(f"{key} {value}" for key, value in network["options"].items())
    return (
        f"{network['name']} ({size or 'default size'}), policy {settings['policy']}, {run.last['step']} of "
        f"{settings['iterations']} steps, {len(run.intervals)} intervals of {settings['interval_steps']} steps x "
        f"{settings['batch_size']} samples"
    )


def _caution(run: RunData) -> str:
    """How much the figures can show."""
    last = run.last
    text = f"{_validation(run)}; one seed. {caution(min(len({*ids}) for ids in run.photographs))}".rstrip()
    if run.missing_steps:
        steps = ", ".join(map(str, run.missing_steps))
        text += f" intervals.jsonl has no lines of the intervals that began at step {steps}."
    if last["step"] < half_averaged_step(run.settings):
        text += (
            f" The averaged weights have seen less than half of the training: until step "
            f"{half_averaged_step(run.settings)} they hold more of the initial weights."
        )
    if "estimate" not in last:
        return f"{text} Without references there are no gaps to judge."
    estimate = last["estimate"]
    reaches = zip(estimate["gaps_db"], gap_reaches(last), strict=True)
    resolved = sum(abs(gap) > reach for gap, reach in reaches if reach is not None)
    ranked, total = 100 * estimate["ranking_share"], len(estimate["gaps_db"])
    share = estimate.get("signal_share")  # records of earlier versions have none
    signal = "" if share is None else f" {share:.2f} of the gaps' spread (B) is not the luck of these images."
    signal += "" if tells_tasks_apart(last) else f" So {INDISTINCT}."
    return (
        f"{text} The intervals speak about {estimate['band']}; the order of the weights held in {ranked:.0f} % of "
        f"bootstrap replicates. {resolved} of {total} gaps have a 95 % interval (Student's t over HR images) without 0."
        " Training noise, the spread over seeds, is not in them: no ranking of tasks follows from one small run. The "
        f"weights were set on these very crops.{signal}"
    )


def _validation(run: RunData) -> str:
    """How many crops of how many HR images the tasks are validated on."""
    sizes: dict[tuple[int, int], list[str]] = {}
    for task, ids in zip(run.tasks, run.photographs, strict=True):
        sizes.setdefault((len(ids), len({*ids})), []).append(task)
    texts = [
        f"{crops} validation crops from {photographs} HR images per task"
        + (f" ({', '.join(tasks)})" if len(sizes) > 1 else "")
        for (crops, photographs), tasks in sizes.items()
    ]
    return " and ".join(texts)


def _choices(samples: Sequence[Sample], runs: Sequence[RunData]) -> dict[str, Any]:
    """What the sliders can show on either side, and what they show first."""
    names = list(samples[0].images)
    after = next((run.name for run in runs if run.name in names), names[-1])
    side = len(samples[0].images["HR"])
    return {"shown": names, "chosen": {"before": "bicubic", "after": after}, "side": side}
