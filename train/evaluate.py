"""Measure a checkpoint on test sets: PSNR on Y of every image beside bicubic, as a table, a summary and Markdown.

A checkpoint is a run folder (its latest averaged weights), one of its checkpoint folders, or a weights file; a file in
official keys needs --network. A test set is a dataset folder that gen.render made.
"""

import csv
import io
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from shared.atomic import write_text
from shared.config import option, parse
from shared.errors import RunError, UsageError, run_command
from shared.progress import progress_bar
from shared.shardfile import Dataset
from train.checkpoint import NetworkSpec, fill, load_weights, read_spec, weights_file
from train.evidence import MEASURE_BATCH, measure
from train.settings import NetworkSettings


@dataclass(frozen=True)
class Settings:
    """What `train.evaluate` can be asked for."""

    checkpoint: str | None = option(None, "run folder, checkpoint folder, .safetensors or .pth file")
    testset: list[str] | None = option(None, "test sets as NAME=PATH or PATH (then named like the folder)")
    out: str = option("evaluation", "folder for images.csv, summary.json and summary.md")
    network: NetworkSettings | None = option(None, "network of a .pth file; a checkpoint of ours names its own")


@dataclass(frozen=True)
class ImageResult:
    """One image of a test set: quality of the network's output and of bicubic enlargement, PSNR-Y in dB."""

    testset: str
    row: int
    hr_id: str
    psnr_db: float
    bicubic_db: float


def main(argv: list[str]) -> int:
    """The command; see `Settings`. Returns the exit code."""
    settings = parse(Settings, argv, "python -m train.evaluate", __doc__ or "")
    if not settings.checkpoint or not settings.testset:
        raise UsageError("give --checkpoint F and --testset NAME=PATH ... (see --help)")
    testsets = dict(_named_testset(text) for text in settings.testset)
    scales = {rows.manifest.recipe["scale"] for rows in testsets.values()}
    if len(scales) > 1:
        raise UsageError(f"the test sets have scales {sorted(scales)}: evaluate one scale at a time")
    network = load_network(Path(settings.checkpoint), settings.network, scales.pop())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"{settings.checkpoint} on {', '.join(f'{name} ({len(rows)})' for name, rows in testsets.items())}, {device}")
    results = evaluate(network.to(device), testsets, device)
    write_results(results, Path(settings.out), settings.checkpoint)
    print((Path(settings.out) / "summary.md").read_text())
    return 0


def _named_testset(text: str) -> tuple[str, Dataset]:
    name, separator, path = text.partition("=")
    return (name, Dataset(Path(path))) if separator else (Path(text).name, Dataset(Path(text)))


def load_network(checkpoint: Path, named: NetworkSettings | None, scale: int) -> nn.Module:
    """The averaged network of a checkpoint, in evaluation mode.

    Raises `UsageError` when a file does not say which network it is of and `named` does not either, `RunError` when
    the weights do not fit or enlarge by another factor.
    """
    file = weights_file(checkpoint)
    spec = read_spec(file) or (NetworkSpec(named.name, named.options, scale) if named else None)
    if spec is None:
        raise UsageError(f"{file} does not name its network: give --network.name and --network.options")
    if spec.scale != scale:
        raise RunError(f"{file} enlarges by {spec.scale}, the test set's scale is {scale}")
    network = spec.build()
    fill(network, load_weights(file), str(file))
    return network.eval()


def evaluate(network: nn.Module, testsets: dict[str, Dataset], device: torch.device) -> list[ImageResult]:
    """Every image of every test set, in order."""
    results = []
    with progress_bar(sum(map(len, testsets.values())), "image") as bar:
        for name, rows in testsets.items():
            bicubic = Bicubic(rows.manifest.recipe["scale"])
            for first in range(0, len(rows), MEASURE_BATCH):
                numbers = range(first, min(first + MEASURE_BATCH, len(rows)))
                psnr_db = measure(network, rows, numbers, device)
                bicubic_db = measure(bicubic, rows, numbers, device)
                for number, ours, base in zip(numbers, psnr_db, bicubic_db, strict=True):
                    results.append(ImageResult(name, number, rows.meta(number).hr_id, ours, base))
                bar.update(len(numbers))
    return results


class Bicubic(nn.Module):
    """OpenCV's bicubic enlargement of 8-bit pictures as a network: the usual baseline of test tables."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, lr: torch.Tensor) -> torch.Tensor:
        images = lr.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        size = (images.shape[2] * self.scale, images.shape[1] * self.scale)
        large = np.stack([cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) for image in images])
        return torch.from_numpy(large).to(lr.device).permute(0, 3, 1, 2).float().div(255)


def summarise(results: list[ImageResult]) -> list[dict[str, Any]]:
    """Per test set: number of images, mean PSNR-Y, bicubic's, mean gain and its standard error (paired, images)."""

    def one(name: str, group: list[ImageResult]) -> dict[str, Any]:
        gain = np.array([result.psnr_db - result.bicubic_db for result in group])
        return {
            "testset": name,
            "images": len(group),
            "psnr_db": float(np.mean([result.psnr_db for result in group])),
            "bicubic_db": float(np.mean([result.bicubic_db for result in group])),
            "gain_db": float(gain.mean()),
            "gain_error_db": float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else None,
        }

    return [one(name, group) for name, group in _by_testset(results)]


def _by_testset(results: list[ImageResult]) -> Iterator[tuple[str, list[ImageResult]]]:
    for name in dict.fromkeys(result.testset for result in results):
        yield name, [result for result in results if result.testset == name]


def write_results(results: list[ImageResult], out: Path, checkpoint: str) -> None:
    """Write images.csv, summary.json and summary.md."""
    summary = summarise(results)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(asdict(results[0])))
    writer.writeheader()
    writer.writerows(asdict(result) for result in results)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "images.csv", table.getvalue())
    write_text(out / "summary.json", json.dumps({"checkpoint": checkpoint, "testsets": summary}, indent=1))
    lines = ["| test set | images | PSNR-Y, dB | bicubic | gain | s.e. of gain |", "|---|---|---|---|---|---|"]
    for row in summary:
        error = "" if row["gain_error_db"] is None else f"{row['gain_error_db']:.3f}"
        lines.append(
            f"| {row['testset']} | {row['images']} | {row['psnr_db']:.3f} | {row['bicubic_db']:.3f} "
            f"| {row['gain_db']:+.3f} | {error} |"
        )
    write_text(out / "summary.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
