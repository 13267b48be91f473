"""Crops of validation images: the LR image, the output of each network, and the HR image."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from shared.errors import RunError, UsageError
from shared.mixing.tasks import Task, find_tasks
from shared.shards.reader import Dataset
from train.evaluation.measure import photographs_of
from train.evaluation.sheet import busiest
from train.evaluation.systems import bicubic, load_network
from train.evaluation.tiles import Tiling, upscale
from train.report.runs import RunData

NUM_PHOTOGRAPHS = 2
CROP = 160
"""Side of a crop, HR pixels."""


class Sample(NamedTuple):
    """One crop of a task. images: uint8 [n, n, 3] RGB by name: LR (n / scale), bicubic, the runs, HR."""

    task: str
    photograph: str
    images: dict[str, np.ndarray]


def samples(runs: Sequence[RunData]) -> list[Sample] | str:
    """A few crops of every task of the first run, through the averaged network of each; or why there are none."""
    first = runs[0]
    try:
        tasks = find_tasks(Path(first.settings["shards"]), first.tasks)
        networks = {run.name: load_network(run.folder) for run in runs}
    except (RunError, UsageError) as error:
        return f"No crops: {error}."
    scale = tasks[0].val_manifest.recipe["scale"]
    fitting = {name: loaded.network for name, loaded in networks.items() if loaded.scale == scale}
    chosen: dict[tuple[str, ...], list[int]] = {}
    found = []
    for task in tasks:
        shown = tuple(photographs_of(rows := task.val_rows()))
        if shown not in chosen:
            chosen[shown] = _most_detailed(rows)  # tasks with the same HR images show the same crops
        found += [_sample(task, number, fitting, scale) for number in chosen[shown]]
    return found


def _most_detailed(rows: Dataset) -> list[int]:
    """The row with the most contrast of each of the first few photographs."""
    best: dict[str, tuple[float, int]] = {}
    for number in range(len(rows)):
        pair = rows[number]
        candidate = (float(pair.hr.std()), number)
        best[pair.row.hr_sha256] = max(candidate, best.get(pair.row.hr_sha256, candidate))
    return [number for _, number in sorted(best.values(), reverse=True)[:NUM_PHOTOGRAPHS]]


def _sample(task: Task, number: int, networks: dict[str, torch.nn.Module], scale: int) -> Sample:
    pair, whole = task.val_rows()[number], Tiling(1 << 12, 0)
    images = {"LR": pair.lr, "bicubic": bicubic(pair.lr, scale)}
    for name, network in networks.items():
        images[name] = upscale(network, pair.lr, scale, whole, torch.device("cpu"))
    images["HR"] = pair.hr
    top, left = _sharpest(pair.hr, scale)
    cut = {name: _cut(image, top, left, scale if name == "LR" else 1) for name, image in images.items()}
    return Sample(task.name, Path(pair.row.hr_id).stem, cut)


def _sharpest(hr: np.ndarray, scale: int) -> tuple[int, int]:
    """Top left corner of the crop of an HR image with the strongest edges, a multiple of the scale."""
    edges = np.abs(cv2.Laplacian(cv2.cvtColor(hr, cv2.COLOR_RGB2GRAY), cv2.CV_32F))
    y, x = busiest(edges, min(CROP, *edges.shape))
    return y // scale * scale, x // scale * scale


def _cut(image: np.ndarray, top: int, left: int, scale: int) -> np.ndarray:
    top, left, side = top // scale, left // scale, CROP // scale
    return image[top : top + side, left : left + side]
