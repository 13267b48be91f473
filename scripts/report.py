"""One self-contained HTML page about a run: python scripts/report.py RUN. The plots also lie beside it as PNG."""

import base64
import html
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import plots
import torch
import yaml
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from shared.atomic import write_bytes, write_text
from shared.config import argument, parse
from shared.errors import RunError, run_command
from shared.runlog import JsonLines
from shared.shardfile import Dataset
from train.evaluate import load_network
from train.evidence import to_8bit_values, to_float
from train.tasks import find_tasks

SHEET_PHOTOGRAPHS = 2
TILE = 160
"""Side of a tile of the sheet, pixels."""


@dataclass(frozen=True)
class Settings:
    """What the report is about."""

    run: str = argument("folder of a run that train/run.py has finished an interval of")


@dataclass(frozen=True)
class RunData:
    """What a run folder says: settings, the records of its borders, evaluations by name."""

    folder: Path
    settings: dict[str, Any]
    borders: list[plots.Record]
    evaluations: dict[str, list[dict[str, Any]]]

    @property
    def intervals(self) -> list[plots.Record]:
        """The finished intervals; the last border has none after it."""
        return [record for record in self.borders if "delivered" in record]


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(Settings, argv, "python scripts/report.py", __doc__ or "")
    run = read_run(Path(settings.run))
    figures = {"psnr": plots.psnr(run.borders), "quotas": plots.quotas(run.intervals)}
    if "estimate" in run.borders[0]:
        figures = {"weights": plots.weights(run.borders), "gaps": plots.gaps(run.borders), **figures}
    pictures = {name: _png(figure) for name, figure in figures.items()}
    pictures["sheet"] = sheet(run)
    for name, data in pictures.items():
        write_bytes(run.folder / "report" / f"{name}.png", data)
    page = run.folder / "report.html"
    write_text(page, page_html(run, pictures))
    print(f"open {page}")
    return 0


def read_run(folder: Path) -> RunData:
    """Raises `RunError` when the folder is no run or has no finished interval."""
    borders = JsonLines(folder / "intervals.jsonl").read()
    if not (folder / "config.yaml").is_file() or not any("delivered" in record for record in borders):
        raise RunError(f"{folder} is not a run with a finished interval: train one with train/run.py")
    evaluations = {
        path.parent.name: json.loads(path.read_text())["testsets"]
        for path in sorted(folder.glob("evaluation/*/summary.json"))
    }
    return RunData(folder, yaml.safe_load((folder / "config.yaml").read_text()), borders, evaluations)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=150)
    plt.close(figure)
    return buffer.getvalue()


# ---- the sheet


@torch.no_grad()
def sheet(run: RunData) -> bytes:
    """PNG with a line for each task: LR, bicubic, the shared network's output and HR of a few crops side by side."""
    tasks = find_tasks(Path(run.settings["shards"]), run.settings["tasks"])
    network = load_network(run.folder, None, tasks[0].val_manifest.recipe["scale"])
    numbers = _most_detailed(tasks[0].val_rows())
    names = ("LR", "bicubic", "output", "HR") * len(numbers)
    margin, label, header = 6, 64, 26
    canvas = Image.new("RGB", (label + len(names) * (TILE + margin), header + len(tasks) * (TILE + margin)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=15)
    for column, name in enumerate(names):
        draw.text((label + column * (TILE + margin) + TILE / 2, 4), name, "black", font, anchor="ma")
    for line, task in enumerate(tasks):
        top, rows = header + line * (TILE + margin), task.val_rows()
        draw.text((4, top + TILE / 2), task.name, "black", font, anchor="lm")
        for column, tile in enumerate(tile for number in numbers for tile in _tiles(network, rows, number)):
            canvas.paste(Image.fromarray(tile), (label + column * (TILE + margin), top))
    buffer = io.BytesIO()
    canvas.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _most_detailed(rows: Dataset) -> list[int]:
    """The row with the most contrast of each of the first few photographs; all tasks show the same crops."""
    best: dict[str, tuple[float, int]] = {}
    for number in range(len(rows)):
        pair = rows[number]
        candidate = (float(pair.hr.std()), number)
        best[pair.row.hr_sha256] = max(candidate, best.get(pair.row.hr_sha256, candidate))
    return [number for _, number in sorted(best.values(), reverse=True)[:SHEET_PHOTOGRAPHS]]


def _tiles(network: torch.nn.Module, rows: Dataset, number: int) -> list[np.ndarray]:
    """uint8 [TILE, TILE, 3] each: LR, bicubic, output, HR of a row."""
    pair = rows[number]
    lr = to_float(torch.from_numpy(pair.lr).permute(2, 0, 1)[None])
    output = to_8bit_values(network(lr))[0].permute(1, 2, 0).mul(255).byte().numpy()
    bicubic = cv2.resize(pair.lr, pair.hr.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return [cv2.resize(i, (TILE, TILE), interpolation=cv2.INTER_NEAREST) for i in (pair.lr, bicubic, output, pair.hr)]


# ---- the page


def page_html(run: RunData, pictures: dict[str, bytes]) -> str:
    """The page, with every picture inside it."""
    captions = {
        "weights": "Bands: 95 % bootstrap over photographs, without training noise: that is the spread over seeds.",
        "gaps": "Bars: 1.96 standard errors, photographs as clusters.",
        "psnr": "Solid: shared network. Dashed: single-task networks at the same step. Averaged weights.",
        "quotas": "Delivered equals the quotas exactly; the run stops otherwise.",
    }
    figures = "".join(
        f"<figure>{_image(pictures[name], name)}<figcaption>{caption}</figcaption></figure>"
        for name, caption in captions.items()
        if name in pictures
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(str(run.folder))}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: .2rem; }} h2 {{ font-size: 1.15rem; margin-top: 2rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }} tr:last-child td {{ font-weight: 600; }}
.figures {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1.2rem; }}
figure {{ margin: 0; }} img {{ max-width: 100%; height: auto; }}
figcaption, .note {{ color: #555; font-size: .875rem; }}
details pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; }}
</style></head><body>
<h1>{html.escape(str(run.folder))}</h1>
<p class="note">{html.escape(_subtitle(run))}</p>
<h2>Where it ended</h2>
<div class="scroll">{_table(run)}</div>
<p class="note">{html.escape(_caution(run))}</p>
<h2>How it got there</h2>
<div class="figures">{figures}</div>
<h2>What it looks like</h2>
{_image(pictures["sheet"], "crops")}
<p class="note">Enlarged by nearest neighbour; the same validation crops in every task.</p>
<h2>Settings</h2>
<details><summary>config.yaml</summary><pre>{html.escape(yaml.safe_dump(run.settings, sort_keys=False))}</pre></details>
</body></html>
"""


def _image(data: bytes, name: str) -> str:
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'


def _subtitle(run: RunData) -> str:
    network, settings = run.settings["network"], run.settings
    size = ", ".join(f"{key} {value}" for key, value in network["options"].items())
    return (
        f"{network['name']} ({size or 'default size'}), policy {settings['policy']}, {run.borders[-1]['step']} of "
        f"{settings['iterations']} steps, {len(run.intervals)} intervals of {settings['interval_steps']} steps x "
        f"{settings['batch_size']} samples"
    )


def _table(run: RunData) -> str:
    """Last border: bicubic, single, shared, gap and weight of every task, and the means."""
    last = run.borders[-1]
    columns: dict[str, list[float | None]] = {}
    if "shared" in run.evaluations:
        bicubic = {row["testset"]: row["bicubic_db"] for row in run.evaluations["shared"]}
        columns["bicubic, dB"] = [bicubic.get(task) for task in last["tasks"]]
    if "reference_db" in last:
        columns["single, dB"] = [float(np.mean(values)) for values in last["reference_db"]]
    columns["shared, dB"] = [float(np.mean(values)) for values in last["shared_db"]]
    if "estimate" in last:
        columns["gap DP, dB"] = last["estimate"]["gaps_db"]
        columns["s.e."] = last["estimate"]["errors_db"]
        columns["weight"] = last["estimate"]["weights"]
    head = "".join(f"<th>{name}</th>" for name in ["task", *columns])
    lines = [[task, *(_number(values[i]) for values in columns.values())] for i, task in enumerate(last["tasks"])]
    lines.append(["mean", *("" if name == "s.e." else _number(_mean(values)) for name, values in columns.items())])
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _caution(run: RunData) -> str:
    """How far the figures carry."""
    last = run.borders[-1]
    images, photographs = len(last["photographs"]), len(set(last["photographs"]))
    text = f"{images} validation crops from {photographs} photographs per task; one seed."
    if "estimate" not in last:
        return f"{text} Without references there are no gaps to judge."
    estimate = last["estimate"]
    resolved = sum(
        abs(gap) > plots.Z_95 * error
        for gap, error in zip(estimate["gaps_db"], estimate["errors_db"], strict=True)
        if error
    )
    ranked, total = 100 * estimate["ranking_share"], len(estimate["gaps_db"])
    return (
        f"{text} The intervals speak about {estimate['band']}; the order of the weights held in {ranked:.0f} % of "
        f"bootstrap replicates. {resolved} of {total} gaps exceed 1.96 standard errors, and training noise, the spread "
        "over seeds, is not in them: no ranking of tasks follows from one small run. Weights were set on these very "
        "crops."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
