"""Tasks: what the shards folder offers to train on. A task is a subspace with its train and its val dataset."""

from dataclasses import dataclass
from pathlib import Path

from shared.degradation.partition import partition
from shared.degradation.space import get_space
from shared.errors import RunError, UsageError
from shared.manifest import MANIFEST, Manifest, dataset_name, load_manifest
from shared.shardfile import Dataset

RENDER_COMMAND = "python -m gen.render --subspace all && python -m gen.render --subspace all --split val"


@dataclass(frozen=True)
class Task:
    """One task: its name and its two datasets."""

    name: str
    train: Path
    train_manifest: Manifest
    val: Path
    val_manifest: Manifest

    def val_rows(self) -> Dataset:
        """The validation rows; row r shows the same HR crop in every task."""
        return Dataset(self.val)


def find_tasks(shards: Path, names: list[str] | None = None) -> list[Task]:
    """The tasks below a shards folder, in the order of their partition; `names` restricts them.

    Raises `RunError` when there are none, when one lacks its val dataset, or when scales, patches or val crops differ;
    `UsageError` for a name that is not there.
    """
    train = {m.subspace: (p.parent, m) for p, m in _manifests(shards) if m.split == "train"}
    val = {m.subspace: (p.parent, m) for p, m in _manifests(shards) if m.split == "val"}
    if not train:
        raise RunError(f"no shards in {shards}: render some with {RENDER_COMMAND} (--out {shards})")
    for name in names or ():
        if name not in train:
            raise UsageError(f"task {name!r} is not in {shards}: it holds {', '.join(train)}")
    chosen = [name for name in _partition_order(train) if not names or name in names]
    for name in chosen:
        if name not in val:
            folder = shards / dataset_name(name, "val")
            raise RunError(
                f"no validation set {folder}: render it with python -m gen.render --subspace {name} --split val"
            )
    tasks = [Task(name, *train[name], *val[name]) for name in chosen]
    _check_alike(tasks)
    return tasks


def _manifests(shards: Path) -> list[tuple[Path, Manifest]]:
    paths = sorted(shards.glob(f"*/{MANIFEST}"))
    return [(path, load_manifest(path.parent)) for path in paths]


def _partition_order(train: dict[str, tuple[Path, Manifest]]) -> list[str]:
    """Names in the order in which their partition lists them, names of other partitions after it."""
    recipe = next(iter(train.values()))[1].recipe
    listed = [subspace.name for subspace in partition(get_space(recipe["space"]), recipe["partition"])]
    return sorted(train, key=lambda name: (listed.index(name) if name in listed else len(listed), name))


def _check_alike(tasks: list[Task]) -> None:
    first = tasks[0]
    for task in tasks:
        for manifest in (task.train_manifest, task.val_manifest):
            if manifest.recipe["scale"] != first.train_manifest.recipe["scale"]:
                raise RunError(
                    f"{task.name} has scale {manifest.recipe['scale']}, {first.name} another: render them alike"
                )
        if task.train_manifest.recipe["patch"] != first.train_manifest.recipe["patch"]:
            raise RunError(f"train patches of {task.name} and {first.name} differ: render them with one --patch")
        same = ("photographs", "patch", "seed")
        if any(task.val_manifest.recipe[k] != first.val_manifest.recipe[k] for k in same) or (
            task.val_manifest.rows != first.val_manifest.rows
        ):
            raise RunError(
                f"val sets of {task.name} and {first.name} show different crops, so gaps cannot be paired: "
                "render all of them with one --hr, --patch, --seed and --count"
            )
