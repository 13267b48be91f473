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


PrintedRow = Mapping[str, Any]
"""A row: `values` are the numbers by test set and metric; beside them stands what else the table prints of a system."""


@dataclass(frozen=True)
class PrintedTable:
    """A table. testsets, metrics: its columns, all metrics of a set side by side. rows: by system, as printed.

    notes: what a reader should know.
    """

    name: str
    caption: str
    testsets: tuple[str, ...]
    metrics: tuple[str, ...]
    rows: Mapping[str, PrintedRow]
    notes: tuple[str, ...]


@cache
def content() -> Mapping[str, Any]:
    """The whole file."""
    return yaml.safe_load(FILE.read_text())


def printed_table(name: str) -> PrintedTable:
    """One of table1 .. table5."""
    entry = content()["tables"][name]
    rows = {row["system"]: row for row in entry["rows"]}
    title = f"Table {name[-1]}"
    notes = [entry["note"]] if "note" in entry else []
    notes += [remark for remark in content()["remarks"] if title in remark]
    systems = content()["systems"]
    notes += [f"{system}: {systems[system]['note']}" for system in rows if "note" in systems.get(system, {})]
    return PrintedTable(name, entry["caption"], tuple(entry["testsets"]), tuple(entry["metrics"]), rows, (*notes,))


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
