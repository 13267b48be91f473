"""The report's HTML: one file with every picture inside it, and a few lines of script for the sliders."""

import base64
import html as escaping
from collections.abc import Mapping, Sequence

import numpy as np
import yaml

from shared.images import encode_png
from train.evaluation.paired import caution
from train.record.run_log import INDISTINCT, tells_tasks_apart
from train.report import tables
from train.report.crops import Sample
from train.report.runs import RunData, gap_reaches
from train.report.tables import Table

CAPTIONS = {
    "differences": "Paired by image. Bars: 95 % bootstrap over photographs, without the spread over seeds.",
    "runs": "Averaged weights, on the validation sets.",
    "weights": "Bands: 95 % bootstrap over photographs, without training noise: that is the spread over seeds.",
    "gaps": "Bars: 95 %, Student's t of standard errors with photographs as clusters; none with one photograph.",
    "psnr": "Solid: shared network. Dashed: single-task networks at the same step. Averaged weights.",
    "quotas": "Delivered equals the quotas exactly; the run stops otherwise.",
}
"""What stands below each kind of figure; figures are called kind or kind-number."""
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; background:  /* a shadow at the right while there is more to see */
  linear-gradient(to left, #fff 30%, #fff0) right / 40px 100% no-repeat local,
  linear-gradient(to left, #0003, #0000) right / 14px 100% no-repeat scroll; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th { vertical-align: bottom; min-width: 3.5rem; } td { white-space: nowrap; vertical-align: top; line-height: 1.3; }
th:first-child, td:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: #fff; }
tr.sum td { font-weight: 600; } td small { color: #666; font-weight: 400; font-size: .78rem; }
.figures, .samples { display: grid; gap: 1.2rem; }
.figures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
.samples { grid-template-columns: repeat(auto-fill, minmax(max(150px, 22%), 1fr)); }
figure { margin: 0; } img { max-width: 100%; height: auto; }
figcaption, .note { color: #555; font-size: .875rem; overflow-wrap: anywhere; }
.choice { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: .6rem 0; }
.stack { position: relative; aspect-ratio: 1; background: #eee; }
.stack img { position: absolute; inset: 0; width: 100%; height: 100%; image-rendering: pixelated; display: none; }
.stack img.before, .stack img.after { display: block; }
.stack img.after { clip-path: inset(0 0 0 var(--cut, 50%)); z-index: 1; }
.stack::after { content: ""; position: absolute; z-index: 2; top: 0; bottom: 0; left: var(--cut, 50%); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 2px #000; }
.choice select { max-width: 100%; } summary { overflow-wrap: anywhere; }
.slider input { width: 100%; margin: .3rem 0 0; }
details pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
"""
SCRIPT = """
const show = (side, name) => document.querySelectorAll('.stack img').forEach(
  image => image.classList.toggle(side, image.alt === name));
document.querySelectorAll('.choice select').forEach(
  select => select.addEventListener('change', () => show(select.name, select.value)));
document.querySelectorAll('.slider').forEach(slider => {
  const stack = slider.querySelector('.stack'), range = slider.querySelector('input');
  const cut = value => { range.value = value; stack.style.setProperty('--cut', value + '%'); };
  range.addEventListener('input', () => cut(range.value));
  stack.addEventListener('pointermove', event => {
    const box = stack.getBoundingClientRect();
    cut(Math.round(100 * (event.clientX - box.left) / box.width));
  });
});
"""


def html(runs: Sequence[RunData], figures: Mapping[str, bytes], samples: Sequence[Sample] | str) -> str:
    """The page. figures: PNG by name. samples: crops, or why there are none."""
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [f"<h1>{_text(title)}</h1>", *(_subtitle(run, len(runs) > 1) for run in runs)]
    if len(runs) > 1:
        differing = tables.differing_settings(runs)
        parts += ["<h2>Settings that differ</h2>", table(differing) if differing.lines else "<p>None.</p>"]
    parts.append("<h2>Where it ended</h2>")
    if len(runs) > 1:
        parts += [table(tables.comparison(runs)), note(COMPARISON_NOTE)]
    for run in runs:
        parts += [f"<h3>{_text(run.name)}</h3>"] * (len(runs) > 1)
        parts += [table(tables.ending(run)), note(_caution(run))]
    parts += ["<h2>How it got there</h2>", f'<div class="figures">{"".join(_figures(figures))}</div>']
    parts += ["<h2>How fast</h2>", table(tables.throughput(runs))]
    parts += [note("Medians over the lines of metrics.jsonl; without validation and checkpoints.")]
    parts += ["<h2>What it looks like</h2>", _samples(samples, runs), "<h2>Settings</h2>", *map(_settings, runs)]
    return document(title, parts, SCRIPT)


def document(title: str, parts: Sequence[str], script: str = "") -> str:
    """A page of these parts."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_text(title)}</title><style>{STYLE}</style></head><body>
{chr(10).join(parts)}
<script>{script}</script></body></html>
"""


def heading(text: str, level: int = 2) -> str:
    """A heading."""
    return f"<h{level}>{_text(text)}</h{level}>"


COMPARISON_NOTE = (
    "Intervals: 95 % bootstrap over validation photographs, jointly for all tasks and runs; differences are paired by "
    "image. Training noise, the spread over seeds, is not in them: two runs of one seed each do not show which setting "
    "is better. The worst task is the one with the lowest PSNR in each resample."
)


def _text(value: object) -> str:
    return escaping.escape(str(value))


def note(text: str) -> str:
    """A paragraph in small letters."""
    return f'<p class="note">{_text(text)}</p>'


def table(content: Table) -> str:
    """A table that scrolls where the window is narrow."""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in content.head)
    plain = len(content.lines) - content.bold
    body = "".join(
        f"<tr{' class=sum' if i >= plain else ''}>{''.join(f'<td>{_cell(cell)}</td>' for cell in line)}</tr>"
        for i, line in enumerate(content.lines)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(text: str) -> str:
    """An interval goes below its value, so that tables stay narrow."""
    value, bracket, interval = text.partition(" [")
    return f"{_text(value)}<br><small>[{_text(interval)}</small>" if bracket else _text(text)


def picture(data: bytes, name: str, kind: str = "") -> str:
    """A PNG inside the page."""
    source = base64.b64encode(data).decode()
    return f'<img alt="{_text(name)}"{f" class={kind}" if kind else ""} src="data:image/png;base64,{source}">'


def _figures(figures: Mapping[str, bytes]) -> list[str]:
    return [
        f"<figure>{picture(data, name)}<figcaption>{CAPTIONS[name.split('-')[0]]}</figcaption></figure>"
        for name, data in figures.items()
    ]


def _subtitle(run: RunData, named: bool) -> str:
    settings, network = run.settings, run.settings["network"]
    size = ", ".join(f"{key} {value}" for key, value in network["options"].items())
    return note(
        (f"{run.name}: " if named else "")
        + f"{network['name']} ({size or 'default size'}), policy {settings['policy']}, {run.last['step']} of "
        f"{settings['iterations']} steps, {len(run.intervals)} intervals of {settings['interval_steps']} steps x "
        f"{settings['batch_size']} samples"
    )


def _caution(run: RunData) -> str:
    """How far the figures carry."""
    last = run.last
    images, photographs = len(last["photographs"]), len(set(last["photographs"]))
    text = (
        f"{images} validation crops from {photographs} photographs per task; one seed. {caution(photographs)}".rstrip()
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
        f"bootstrap replicates. {resolved} of {total} gaps have a 95 % interval (Student's t over photographs) without "
        "0, and training noise, the spread over seeds, is not in them: no ranking of tasks follows from one small run. "
        f"Weights were set on these very crops.{signal}"
    )


def _samples(samples: Sequence[Sample] | str, runs: Sequence[RunData]) -> str:
    """Sliders over the crops, and what is to be seen on either side of them."""
    if isinstance(samples, str):
        return note(samples)
    names = list(samples[0].pictures)
    before, after = "bicubic", next((run.name for run in runs if run.name in names), names[-1])
    chosen = {"before": before, "after": after}
    choices = "".join(
        f'<label>{label} <select name="{side}">{_options(names, chosen[side])}</select></label>'
        for side, label in (("before", "left"), ("after", "right"))
    )
    side = len(samples[0].pictures["HR"])
    remark = f"Crops of {side} pixels of HR, upscaled by nearest neighbour; the same validation crops in every task."
    figures = "".join(_slider(sample, chosen) for sample in samples)
    return f'<div class="choice">{choices}</div><div class="samples">{figures}</div>{note(remark)}'


def _options(names: Sequence[str], chosen: str) -> str:
    return "".join(f"<option{' selected' * (name == chosen)}>{_text(name)}</option>" for name in names)


def _slider(sample: Sample, chosen: Mapping[str, str]) -> str:
    kinds = {name: side for side, name in chosen.items()}
    images = "".join(
        picture(encode_png(np.ascontiguousarray(image)), name, kinds.get(name, ""))
        for name, image in sample.pictures.items()
    )
    caption = f"{sample.task}: {sample.photograph}"
    return (
        f'<figure class="slider"><div class="stack">{images}</div><input type="range" min="0" max="100" value="50" '
        f'aria-label="border between left and right"><figcaption>{_text(caption)}</figcaption></figure>'
    )


def _settings(run: RunData) -> str:
    text = yaml.safe_dump(run.settings, sort_keys=False)
    return f"<details><summary>{_text(run.name)}: config.yaml</summary><pre>{_text(text)}</pre></details>"
