"""The paper's tables as printed, from `paper.yaml`: rows, columns and numbers in the printed order."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("paper.yaml")
MEASURES = {"psnr_db": "psnr_db", "ssim": "ssim", "lpips": "lpips_vgg"}
"""The measure of `train.evaluation.summaries.COLUMNS` for each printed metric. The paper names no variant of LPIPS."""
HEADINGS = {"psnr_db": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
FORMS = {"psnr_db": "{:.2f}", "ssim": "{:.4f}", "lpips": "{:.4f}"}
PROVENANCE = (
    "About the paper's numbers: its baselines are the released networks, trained on the wider space of Real-ESRGAN, so "
    "its gains also hold the narrower space and the fine-tuning. It has no control with equal volumes; random weights "
    "(RLW) give +0.40 and +0.08 of the +0.54 and +0.48 dB. Every row is one run, without a spread over seeds. `plain` "
    "is our control: the same network, space, start and number of samples with equal volumes."
)


@dataclass(frozen=True)
class PrintedRow:
    """A row: its system's name, the values by test set and metric, and what else the table prints of it."""

    system: str
    values: Mapping[str, Mapping[str, float]]
    printed: Mapping[str, Any]

    def value(self, testset: str, metric: str) -> float:
        """A printed number. Raises KeyError for a cell that is not in the table."""
        return self.values[testset][metric]


@dataclass(frozen=True)
class PrintedTable:
    """A table. testsets, metrics: its columns, all metrics of a set side by side. notes: what a reader should know."""

    name: str
    caption: str
    testsets: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    notes: tuple[str, ...]

    def row(self, system: str) -> PrintedRow:
        """The row of a system. Raises KeyError when the table has none."""
        return {row.system: row for row in self.rows}[system]

    def difference(self, system: str, base: str, testset: str, metric: str = "psnr_db") -> float:
        """A printed number less that of another row, rounded as printed."""
        return round(self.row(system).value(testset, metric) - self.row(base).value(testset, metric), 4)


@cache
def content() -> Mapping[str, Any]:
    """The whole file."""
    return yaml.safe_load(FILE.read_text())


def printed_table(name: str) -> PrintedTable:
    """One of table1 .. table5."""
    entry = content()["tables"][name]
    rows = [
        PrintedRow(row["system"], row["values"], {k: v for k, v in row.items() if k not in ("system", "values")})
        for row in entry["rows"]
    ]
    title = f"Table {name[-1]}"
    notes = [entry["note"]] if "note" in entry else []
    notes += [remark for remark in content()["remarks"] if title in remark]
    systems = content()["systems"]
    notes += [f"{row.system}: {systems[row.system]['note']}" for row in rows if "note" in systems.get(row.system, {})]
    return PrintedTable(name, entry["caption"], tuple(entry["testsets"]), tuple(entry["metrics"]), (*rows,), (*notes,))


def measured_name(testset: str) -> str:
    """What a printed test set is called where it is measured here."""
    return content()["testsets"][testset]["product"]


def fig7_gains() -> Mapping[str, float]:
    """PSNR(shared) - PSNR(single-task), dB, by task, as far as the text gives it."""
    return content()["figures"]["fig7"]["psnr_db"]


def fig9_ends(operator: str) -> tuple[float, float]:
    """The ends of the range within which the paper finds a line: noise (of 255), or blur sigma in pixels."""
    low, high = content()["figures"]["fig9"]["linear_range"][{"noise": "noise", "blur": "blur_sigma"}[operator]]
    return low, high
