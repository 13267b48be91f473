"""What a preview shows: the datasets of one split, or a test set, with what was drawn for every LR image of each task,
and examples in which one HR crop stands beside its LR image in each task.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen.plan_words import plan_in_words
from shared.command import spelling
from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError
from shared.images import decode_png
from shared.mixing.tasks import partition_order
from shared.shards.format import Row
from shared.shards.reader import Dataset
from shared.shards.testset import hr_path, load_testset, lr_path, plan_path

SPLITS = {"train": "Training rows", "val": "Validation rows"}
OTHER_CROPS = "Training crops differ from task to task: the pairs of a line share only their HR image."
OTHER_IMAGES = "These tasks share no HR image, so each line shows another image in each task."
CROP_SIDE = 256
"""Side of what is shown of the whole images of a test set, HR pixels."""


@dataclass(frozen=True)
class TaskShown:
    """One task. facts: the table's cells by their heading. plans, hr_heights (pixels): of every LR image, in order."""

    name: str
    facts: dict[str, object]
    plans: list[Plan]
    hr_heights: list[int]
    scale: int


class Tile(NamedTuple):
    """A pair in one task: uint8 [H, W, 3] and [h, w, 3], RGB. where: what the crop was cut from. words: its plan."""

    hr: np.ndarray
    lr: np.ndarray
    where: str
    words: list[str]


class Example(NamedTuple):
    """One line: a tile for each task, in the order of the tasks. title: such as the number of the row."""

    title: str
    tiles: list[Tile]

    @property
    def is_one_crop(self) -> bool:
        """Whether all tiles show the same HR crop."""
        return len({tile.where for tile in self.tiles}) == 1


@dataclass(frozen=True)
class Group:
    """What is shown together. note: what the reader must know about the examples, or empty."""

    title: str
    note: str
    tasks: list[TaskShown]
    examples: list[Example]


def dataset_groups(datasets: Iterable[Dataset], num_examples: int, on_row: Callable[[], object]) -> list[Group]:
    """A group for each split and crop size, validation rows first, tasks in the order of their partition.

    Pairs that were made elsewhere have no plans, and groups of their own. on_row: called for each row that was read.
    Raises `RunError` that names an empty dataset or a damaged row.
    """
    groups: dict[tuple, list[Dataset]] = {}
    for dataset in sorted(datasets, key=lambda dataset: dataset.manifest.split, reverse=True):
        if not len(dataset):
            raise RunError(f"{dataset.folder} holds no rows")
        first = dataset.meta(0)
        groups.setdefault((dataset.manifest.split, first.patch, first.scale, not first.plan), []).append(dataset)
    return [_dataset_group(each, num_examples, on_row) for each in groups.values()]


def _dataset_group(datasets: list[Dataset], num_examples: int, on_row: Callable[[], object]) -> Group:
    datasets = _in_order(datasets)
    subspaces = [dataset.manifest.subspace for dataset in datasets]
    is_plain = len(set(subspaces)) == len(subspaces)
    tasks, crops = [], []
    for name, dataset in zip(subspaces, datasets, strict=True):
        plans, of_rows = read_rows(dataset, on_row)
        crops.append(of_rows)
        first = dataset.meta(0)
        facts = _facts(dataset, first.patch, first.scale)
        tasks.append(
            TaskShown(name if is_plain else str(dataset.folder), facts, plans, [first.patch] * len(plans), first.scale)
        )
    lines, note = matched_rows(crops, num_examples)
    examples = []
    for line in lines:
        pairs = [dataset[row] for dataset, row in zip(datasets, line, strict=True)]
        tiles = [
            Tile(hr, lr, f"{row.hr_id}, at ({row.crop_y}, {row.crop_x})", _words(row.plan)) for hr, lr, row in pairs
        ]
        examples.append(Example(_title([pair.row for pair in pairs]), tiles))
    return Group(SPLITS[datasets[0].manifest.split], note, tasks, examples)


def _words(plan: str) -> list[str]:
    return plan_in_words(Plan.from_json(plan)) if plan else ["made elsewhere: no plan"]


def _title(rows: Sequence[Row]) -> str:
    """What the rows of a line have in common: their number, or else the name of their HR image."""
    for words in ({f"row {row.row}" for row in rows}, {Path(row.hr_id).name for row in rows}):
        if len(words) == 1:
            return words.pop()
    return "one row of each task"


def _in_order(datasets: list[Dataset]) -> list[Dataset]:
    """Datasets as their partition orders them; those of a space that is not known here stay as they were given."""
    try:
        order = partition_order({d.manifest.subspace for d in datasets}, datasets[0].manifest.recipe)
    except (UsageError, KeyError):
        return datasets
    return sorted(datasets, key=lambda dataset: order.index(dataset.manifest.subspace))


def _facts(dataset: Dataset, patch: int, scale: int) -> dict[str, object]:
    manifest, recipe = dataset.manifest, dataset.manifest.recipe
    return {
        "dataset": manifest.name,
        "rows": manifest.rows,
        "space": recipe.get("space"),
        "partition": recipe.get("partition"),
        "HR": f"{patch} px",
        "LR": f"{patch // scale} px",
        "seed": recipe.get("seed"),
        "recipe": manifest.digest,
        "HR images": len(manifest.photographs),
        "licence": manifest.licence,
    }


def read_rows(dataset: Dataset, on_row: Callable[[], object] = lambda: None) -> tuple[list[Plan], list[tuple]]:
    """The plan of every row that has one, and every row's HR crop as (sha256 of the HR image, y, x).

    No image is read. Raises `RunError` that names a damaged row.
    """
    plans, crops = [], []
    for number in range(len(dataset)):
        try:
            row = dataset.meta(number)
            if row.plan:
                plans.append(Plan.from_json(row.plan))
        except ValueError as error:
            raise RunError(f"row {number} of {dataset.folder} is damaged: {error}; run {spelling('verify')}") from error
        crops.append((row.hr_sha256, row.crop_y, row.crop_x))
        on_row()
    return plans, crops


def matched_rows(crops: Sequence[Sequence[tuple]], count: int) -> tuple[list[tuple[int, ...]], str]:
    """Rows to show side by side, evenly spread: one of each dataset a line, at most `count` lines, and a note on them.

    Rows of a line share the HR crop; where no crop is in every dataset, the HR image; where no image is, nothing.
    crops: for each dataset, (HR image, y, x) of its rows.
    """
    exact = _shared(crops)
    if exact:
        return [exact[place] for place in spread(len(exact), count)], ""
    alike = _shared([[image for image, _, _ in each] for each in crops])
    if alike:
        return [alike[place] for place in spread(len(alike), count)], OTHER_CROPS
    count = min(count, *map(len, crops))
    return list(zip(*(spread(len(each), count) for each in crops), strict=True)), OTHER_IMAGES


def _shared(keys: Sequence[Sequence[Hashable]]) -> list[tuple[int, ...]]:
    """Rows of each sequence whose keys are equal, in the order of the first; the k-th row of a key meets the k-th."""
    found = []
    for each in keys:
        seen: dict[Hashable, int] = {}
        rows = {}
        for row, key in enumerate(each):
            rows[key, seen.setdefault(key, 0)] = row
            seen[key] += 1
        found.append(rows)
    first, *others = found
    return [(row, *(rows[key] for rows in others)) for key, row in first.items() if all(key in rows for rows in others)]


def spread(length: int, count: int) -> list[int]:
    """At most `count` numbers below `length`, evenly spread."""
    count = min(count, length)
    return [(2 * i + 1) * length // (2 * count) for i in range(count)]


def testset_group(folder: Path, num_examples: int) -> Group:
    """A whole-image test set: the plans of all images, and the middle of some of them in every task."""
    record = load_testset(folder)
    plans = {
        task: [Plan.from_json(plan_path(folder, task, image.name).read_text()) for image in record.images]
        for task in record.tasks
    }
    facts = {
        "images": len(record.images),
        "space": record.recipe.get("space"),
        "partition": record.recipe.get("partition"),
        "scale": record.scale,
        "seed": record.recipe.get("seed"),
        "licence": ", ".join(sorted({image.licence for image in record.images})),
    }
    heights = [image.height for image in record.images]
    tasks = [TaskShown(task, facts, plans[task], heights, record.scale) for task in record.tasks]
    examples = []
    for number in spread(len(record.images), num_examples):
        name = record.images[number].name
        hr = _image(hr_path(folder, name))
        tiles = []
        for task in record.tasks:
            crop, lr = middle(hr, _image(lr_path(folder, task, name)), record.scale)
            tiles.append(
                Tile(crop, lr, f"{name}, {hr.shape[1]} x {hr.shape[0]} pixels", plan_in_words(plans[task][number]))
            )
        examples.append(Example(name, tiles))
    note = f"Of each image the middle is shown, at most {CROP_SIDE} x {CROP_SIDE} pixels."
    return Group(f"Test set {record.name}", note, tasks, examples)


def _image(path: Path) -> np.ndarray:
    return decode_png(path.read_bytes(), str(path))


def middle(hr: np.ndarray, lr: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """The same square in the middle of an HR image and of its LR image, at most `CROP_SIDE` HR pixels a side."""
    side = min(CROP_SIDE // scale, *lr.shape[:2])
    top, left = ((length - side) // 2 for length in lr.shape[:2])
    large = slice(top * scale, (top + side) * scale), slice(left * scale, (left + side) * scale)
    return hr[large], lr[top : top + side, left : left + side]
