"""Tables of an evaluation: every image (CSV), and means with intervals as JSON, Markdown and LaTeX."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.storage.atomic import write_text
from train.evaluation.paired import bootstrap_mean, caution

COLUMNS = {
    "psnr_db": ("PSNR-Y", "{:.3f}"),
    "ssim": ("SSIM-Y", "{:.4f}"),
    "psnr_rgb_db": ("PSNR-RGB", "{:.3f}"),
    "ssim_rgb": ("SSIM-RGB", "{:.4f}"),
    "lpips_vgg": ("LPIPS-VGG", "{:.4f}"),
    "lpips_alex": ("LPIPS-Alex", "{:.4f}"),
    "bicubic_db": ("bicubic PSNR-Y", "{:.3f}"),
}
"""Heading and format of every measure."""
LOWER_IS_BETTER = {"lpips_vgg", "lpips_alex"}


@dataclass(frozen=True)
class ImageResult:
    """One image of a test set; values by the names of `COLUMNS`, PSNR in dB."""

    testset: str
    image: str
    photograph: str
    values: dict[str, float]


def summarise(results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    """Per test set, in the order of their first appearance: images, photographs and means of the measures.

    And the gain of PSNR-Y over bicubic with its 95 % bootstrap interval.
    """
    groups: dict[str, list[ImageResult]] = {}
    for result in results:
        groups.setdefault(result.testset, []).append(result)
    summary = []
    for name, group in groups.items():
        photographs = [result.photograph for result in group]
        gains_db = np.array([result.values["psnr_db"] - result.values["bicubic_db"] for result in group])
        gain = bootstrap_mean(gains_db, photographs, (name,))
        means = {key: float(np.mean([r.values[key] for r in group])) for key in COLUMNS if key in group[0].values}
        sizes = {"testset": name, "images": len(group), "photographs": len(set(photographs))}
        interval = {"gain_db": gain.value, "gain_low_db": gain.low, "gain_high_db": gain.high}
        summary.append({**sizes, **means, **interval})
    return summary


def write_tables(results: Sequence[ImageResult], out: Path, system: str, border: int, rounded: bool) -> None:
    """Write images.csv, summary.json, summary.md and summary.tex."""
    summary = summarise(results)
    measured = [key for key in COLUMNS if key in results[0].values]
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["testset", "image", "photograph", *measured])
    writer.writerows([r.testset, r.image, r.photograph, *(r.values[key] for key in measured)] for r in results)
    write_text(out / "images.csv", table.getvalue())
    how = {"border": border, "y": "rounded" if rounded else "float"}
    write_text(out / "summary.json", json.dumps({"system": system, **how, "testsets": summary}, indent=1) + "\n")
    head = ["test set", "images", *(COLUMNS[key][0] for key in measured), "gain [95 %]"]
    lines = []
    for row in summary:
        gain = f"{row['gain_db']:+.3f} [{row['gain_low_db']:+.3f}, {row['gain_high_db']:+.3f}]"
        values = [COLUMNS[key][1].format(row[key]) for key in measured]
        lines.append([row["testset"], str(row["images"]), *values, gain])
    only_one = any(row["photographs"] == 1 for row in summary)
    resampled = "photographs, or over images where there is only one photograph" if only_one else "photographs"
    note = f"{system}; border {border}, Y {how['y']}; intervals: bootstrap over {resampled}."
    note = f"{note} {caution(min(row['photographs'] for row in summary))}".rstrip()
    write_text(out / "summary.md", markdown(head, lines) + f"\n{note}\n")
    write_text(out / "summary.tex", latex(head, lines, note))


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, rule, *lines))


def latex(head: Sequence[str], lines: Sequence[Sequence[str]], note: str) -> str:
    """A table in LaTeX, with booktabs' rules."""
    rows = "".join(f"{' & '.join(map(_escape, line))} \\\\\n" for line in lines)
    return (
        f"% {note}\n\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n\\toprule\n"
        f"{' & '.join(map(_escape, head))} \\\\\n\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
    )


def _escape(text: str) -> str:
    for character in "%_&#":
        text = text.replace(character, f"\\{character}")
    return text
