"""Tables of an evaluation: every image (CSV), and means with intervals as JSON, Markdown and LaTeX."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.storage.atomic import write_text
from train.evaluation.paired import Interval, bootstrap_mean, caution

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


def by_testset(results: Sequence[ImageResult]) -> Iterator[tuple[str, list[ImageResult]]]:
    """The results of each test set, in the order of their first appearance."""
    for name in dict.fromkeys(result.testset for result in results):
        yield name, [result for result in results if result.testset == name]


def summarise(results: Sequence[ImageResult]) -> list[dict[str, Any]]:
    """Per test set: images, photographs, means; gain of PSNR-Y over bicubic with its 95 % bootstrap interval."""
    return [_summary(name, group) for name, group in by_testset(results)]


def _summary(name: str, group: Sequence[ImageResult]) -> dict[str, Any]:
    photographs = [result.photograph for result in group]
    gain: Interval = bootstrap_mean(
        np.array([result.values["psnr_db"] - result.values["bicubic_db"] for result in group]), photographs, (name,)
    )
    return {
        "testset": name,
        "images": len(group),
        "photographs": len(set(photographs)),
        **{key: float(np.mean([r.values[key] for r in group])) for key in COLUMNS if key in group[0].values},
        "gain_db": gain.mean,
        "gain_low_db": gain.low,
        "gain_high_db": gain.high,
    }


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
    lines = [[row["testset"], str(row["images"]), *_cells(row, measured), _gain(row)] for row in summary]
    only_one = any(row["photographs"] == 1 for row in summary)
    resampled = "photographs, or over images where there is only one photograph" if only_one else "photographs"
    note = f"{system}; border {border}, Y {how['y']}; intervals: bootstrap over {resampled}."
    note = f"{note} {caution(min(row['photographs'] for row in summary))}".rstrip()
    write_text(out / "summary.md", markdown(head, lines) + f"\n{note}\n")
    write_text(out / "summary.tex", latex(head, lines, note))


def _cells(row: dict[str, Any], keys: Sequence[str]) -> list[str]:
    return [COLUMNS[key][1].format(row[key]) for key in keys]


def _gain(row: dict[str, Any]) -> str:
    return f"{row['gain_db']:+.3f} [{row['gain_low_db']:+.3f}, {row['gain_high_db']:+.3f}]"


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
