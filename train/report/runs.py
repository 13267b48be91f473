"""A run as its folder tells it: settings, boundaries, speed, and the figures that follow from them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared.command import spelling
from shared.errors import RunError, UsageError
from shared.mixing.tasks import find_tasks
from shared.rebalance.clusters import by_task, interval, resampled_means, with_other_images
from shared.storage.json_lines import JsonLines
from shared.storage.places import place
from train.evaluation.paired import Interval, student_reach
from train.record.interval_log import missing_intervals
from train.record.resume import begun_settings

Record = dict[str, Any]


@dataclass(frozen=True)
class RunData:
    """A run: its settings, the records of its boundaries and of its steps.

    bicubic_db: mean PSNR-Y of bicubic upscaling on the validation crops, by task; without those that are gone.
    """

    name: str
    folder: Path
    settings: dict[str, Any]
    boundaries: list[Record]
    metrics: list[Record]
    bicubic_db: dict[str, float]

    @property
    def intervals(self) -> list[Record]:
        """The finished intervals; the last boundary has none after it."""
        return [record for record in self.boundaries if "delivered" in record]

    @property
    def missing_steps(self) -> list[int]:
        """First steps of the intervals that intervals.jsonl has no line of."""
        return missing_intervals(self.boundaries, self.last["step"], self.settings["interval_steps"])

    @property
    def last(self) -> Record:
        """The last boundary."""
        return self.boundaries[-1]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in the run's order."""
        return self.last["tasks"]

    @property
    def photographs(self) -> list[list[str]]:
        """The HR image of each validation image of each task."""
        return by_task(self.last["photographs"], len(self.tasks))

    @property
    def labels(self) -> list[str]:
        """Names of the tasks for tables; those whose HR images are not the others' are marked."""
        marked = zip(self.tasks, with_other_images(self.last["photographs"], len(self.tasks)), strict=True)
        return [f"{task} (other validation images)" if other else task for task, other in marked]

    @property
    def has_gaps(self) -> bool:
        """Whether the run was measured against references."""
        return all("estimate" in record for record in self.boundaries)

    def is_paired_with(self, other: "RunData") -> bool:
        """Whether both were measured on the same tasks and images."""
        return all(self.last[key] == other.last[key] for key in ("tasks", "photographs"))


def read_run(folder: Path, name: str) -> RunData:
    """Raises `RunError` when the folder is no run or has no finished interval."""
    boundaries = JsonLines(folder / "intervals.jsonl").read("step")
    if not (folder / "config.yaml").is_file() or not any("delivered" in record for record in boundaries):
        raise RunError(f"{folder} is not a run with a finished interval: train one with {spelling('train')}")
    settings = begun_settings(folder) or {}
    last = boundaries[-1]
    num_images = {task: len(row) for task, row in zip(last["tasks"], last["shared_db"], strict=True)}
    bicubic_db = bicubic_psnr(settings["shards"], num_images)
    return RunData(name, folder, settings, boundaries, JsonLines(folder / "metrics.jsonl").read(), bicubic_db)


def bicubic_psnr(shards: str, num_images: Mapping[str, int]) -> dict[str, float]:
    """Mean PSNR-Y of bicubic upscaling on the validation crops by task, dB; empty where they are gone or others.

    It is measured as validation measures networks. num_images: validation crops of each task.
    """
    from shared.metrics import psnr_y  # here, because the command answers wrong usage before PyTorch is imported
    from train.evaluation.measure import EQUAL_DB, to_tensor
    from train.evaluation.systems import bicubic

    try:
        found = [(task, task.val_rows()) for task in find_tasks(place(shards), [*num_images])]
    except (RunError, UsageError):
        return {}
    means = {}
    for task, rows in found:
        if len(rows) == num_images[task.name]:
            pairs = (rows[number] for number in range(len(rows)))
            images = ((to_tensor(bicubic(pair.lr, task.scale)), to_tensor(pair.hr)) for pair in pairs)
            values = [psnr_y(*each, border=task.scale).clamp(max=EQUAL_DB).item() for each in images]
            means[task.name] = float(np.mean(values))
    return means


def half_averaged_step(settings: dict[str, Any]) -> int:
    """The first step at which the averaged weights hold more of the training than of the initial weights."""
    decay = float(settings["ema"])
    if settings.get("ema_warmup"):
        return 1
    return math.ceil(math.log(0.5) / math.log(decay)) if decay > 0.5 else 1


def final_psnr(run: RunData, base: RunData | None = None) -> list[Interval]:
    """PSNR of every task at the last boundary, dB, then that of their mean and the worst task; HR images as clusters.

    With a `base` that is paired with the run: the differences to it, from the same resamples.
    """
    value, replicates = (
        ours - theirs for ours, theirs in zip(_levels(run), _levels(base) if base else (0, 0), strict=True)
    )
    return [Interval(*map(float, row)) for row in zip(value, *interval(replicates), strict=True)]


def _levels(run: RunData) -> tuple[np.ndarray, np.ndarray]:
    """PSNR of the tasks, their mean and their minimum, float [n + 2], and the same in the resamples, [R, n + 2]."""
    table = [*map(np.array, run.last["shared_db"])]
    once = np.array([row.mean() for row in table])
    tasks = resampled_means(table, run.last["photographs"], ("report",))
    value = np.array([*once, once.mean(), once.min()])
    return value, np.column_stack([tasks, tasks.mean(axis=1), tasks.min(axis=1)])


def gap_reaches(record: Record) -> list[float | None]:
    """How far the 95 % interval of each gap of a boundary goes to either side, dB; None with one photograph.

    Student's t with one degree of freedom less than photographs: 1.96 standard errors cover .70 with 2 and .90 with 7.
    """
    errors: list[float | None] = record["estimate"]["errors_db"]
    names = by_task(record["photographs"], len(errors))
    return [None if e is None else student_reach(len({*ids})) * e for e, ids in zip(errors, names, strict=True)]


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def names_of(folders: Sequence[Path]) -> list[str]:
    """What runs are called on the page: their folders, without what all have in common; of one the last two parts."""
    if len(folders) == 1:
        return ["/".join(folders[0].resolve().parts[-2:]).lstrip("/")]
    parts = [folder.resolve().parts for folder in folders]
    common = next(i for i in range(len(min(parts, key=len)) + 1) if len({p[: i + 1] for p in parts}) > 1)
    return ["/".join(p[common:]) or p[-1] for p in parts]
