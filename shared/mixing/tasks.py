"""Tasks: the kinds of degradation to train on, each with stored rows or served on the fly."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..command import typed
from ..degradation.definition import space_of
from ..degradation.partition import get_subspace, partition
from ..errors import RunError, UsageError
from ..records import canonical_json
from ..shards.cache import ShardCache, default_folder
from ..shards.format import ADOPTED, MAX_PATCH
from ..shards.manifest import MANIFEST, Manifest, dataset_name, load_manifest
from ..shards.reader import OPEN_SHARDS, Dataset, open_in_place
from ..storage.places import Place, folders_below, place
from ..storage.remote import READ_ONLY, Remote
from ..storage.retry import RetryPolicy
from ..text import short
from ..user_folders import expand_home
from .plans import Box, Plans

MAX_SHARD_ROWS = 100_000
"""Keys number the rows of a shard with five digits."""
RECIPE = {"patch": int, "scale": int, "seed": int, "usm": bool, "space": str, "partition": str, "photographs": str}
"""Entries of a dataset's recipe that training needs, and their types."""
CACHE_BYTES = 64 * 10**9
"""Size limit of a loader's cache of shards, where only its folder is given."""
ALL = ("--subspace", "all")
VAL = ("--split", "val")


@dataclass(frozen=True)
class Task:
    """One task.

    plans: the degradations, for samples that are made on the fly; None for pairs that were made elsewhere. patch: HR
    side of the samples, pixels. usm: LR is made from the sharpened HR. train: the folder of the shards, None for a task
    that is always served on the fly. val, validation: folder and manifest of the validation set, if there is one.
    cache: where shards behind a url are kept; without a cache they are read in place.
    """

    name: str
    plans: Plans | None
    patch: int
    scale: int
    usm: bool
    train: Place | None = None
    train_manifest: Manifest | None = None
    val: Place | None = None
    validation: Manifest | None = None
    cache: ShardCache | None = None

    @property
    def num_rows(self) -> int:
        """Rows of its shards."""
        return self.train_manifest.rows if self.train_manifest else 0

    @property
    def is_remote(self) -> bool:
        """Whether its shards are behind a url and go through the cache."""
        return isinstance(self.train, Remote) and self.cache is not None

    def identity(self) -> str:
        """What its samples are: equal for equal shards, and without shards for equal degradations."""
        if self.train_manifest:
            return self.train_manifest.identity()
        assert self.plans
        fields = [asdict(self.plans), self.patch, self.scale, self.usm]
        return hashlib.sha256(canonical_json(fields)).hexdigest()

    @property
    def val_manifest(self) -> Manifest:
        """The manifest of the validation set. Raises `RunError` when there is none."""
        if self.validation is None:
            raise RunError(f"task {self.name} has no validation set: render one with {typed('render', *ALL, *VAL)}")
        return self.validation

    def val_rows(self) -> Dataset:
        """The validation rows; row r shows the same HR crop in every task. Raises `RunError` when there are none."""
        manifest = self.val_manifest
        assert self.val
        return self._rows(self.val, manifest)

    def train_rows(self, max_open: int = OPEN_SHARDS) -> Dataset | None:
        """Its shards, so many of them open at a time."""
        return self._rows(self.train, self.train_manifest, max_open) if self.train else None

    def _rows(self, folder: Place, manifest: Manifest | None, max_open: int = OPEN_SHARDS) -> Dataset:
        return Dataset(folder, manifest, self.cache.open if self.cache else open_in_place, max_open)


def open_tasks(
    shards: str | Path,
    tasks: str | Sequence[str] | Sequence[Task] | None,
    *,
    on_the_fly: bool,
    patch: int | None,
    cache: str | Path | ShardCache | None,
) -> list[Task]:
    """The tasks of a `MixingLoader`, which needs no validation sets; the arguments are as for `find_tasks`.

    tasks: their names, or the tasks themselves. cache: a cache, or the folder of one of 64 GB.
    """
    given = [tasks] if isinstance(tasks, str) else list(tasks or ())
    if given and all(isinstance(task, Task) for task in given):
        return given  # type: ignore[return-value]
    if not isinstance(cache, ShardCache):
        cache = ShardCache(expand_home(str(cache)) if cache else default_folder(), CACHE_BYTES)
    names: list[str] = given  # type: ignore[assignment]
    return find_tasks(place(str(shards)), names, on_the_fly=on_the_fly, validation=False, patch=patch, cache=cache)


def find_tasks(
    shards: Place,
    names: Sequence[str] | None = None,
    *,
    on_the_fly: bool = False,
    validation: bool = True,
    patch: int | None = None,
    cache: ShardCache | None = None,
) -> list[Task]:
    """The tasks in a folder of datasets, or behind a url, in the order of their partition; `names` restricts them.

    Tasks of pairs that were made elsewhere come last, and may have validation images of their own.

    A named task needs no train dataset. on_the_fly: no task needs one; every validation set is a task.
    validation: whether each task needs a validation set, which for rendered tasks shows the crops of the others.
    patch: HR side of samples on the fly where no shards say it, pixels (default: as the validation sets).
    Raises `RunError` when there are no tasks, when one lacks its validation set, or when scales, patches or validation
    crops differ; `UsageError` for a name that is not there, for a patch that the shards do not have, and for a url that
    cannot be listed without names.
    """
    found = _manifests(shards, names, cache.retry if cache else RetryPolicy())
    _require_one_each(found)
    train = {m.subspace: (folder, m) for folder, m in found if m.split == "train"}
    val = {m.subspace: (folder, m) for folder, m in found if m.split == "val"}
    offered = {**val, **train} if on_the_fly or names else train
    if not offered:
        raise _no_tasks(shards, on_the_fly)
    for name in names or ():
        if name not in offered:
            raise UsageError(f"task {name!r} is not in {shards}: it holds {', '.join(offered)}")
    rendered = [manifest.recipe for _, manifest in offered.values() if not _is_adopted(manifest)]
    ordered = partition_order(offered, rendered[0]) if rendered else sorted(offered)
    chosen = [name for name in ordered if not names or name in names]
    for name in chosen:
        if validation and name not in val:
            folder = shards / dataset_name(name, "val")
            verb = "adopt" if _is_adopted(train[name][1]) else "render"
            raise RunError(
                f"no validation set {folder}: {verb} it with "
                f"{typed(verb, '--subspace', name, *VAL, '--out', shards)}, and --hr and the rest as for the shards"
            )
    patches = {train[name][1].recipe["patch"] for name in chosen if name in train}
    if patch and patches - {patch}:
        raise UsageError(f"patch is {patch}: the shards in {shards} have {patches.pop()}, leave it out")
    side = max(patches) if patches else patch or val[chosen[0]][1].recipe["patch"]
    tasks = [_task(name, side, train.get(name), val.get(name), cache) for name in chosen]
    _require_alike(tasks)
    if validation:
        _require_same_crops(tasks)
    return tasks


def _no_tasks(shards: Place, on_the_fly: bool) -> UsageError | RunError:
    """The error for a place that holds no dataset to train on."""
    if isinstance(shards, Path) and (shards / MANIFEST).is_file():
        return UsageError(f"shards is {shards}: this is one dataset, name the folder that holds it")
    where = f"{shards}, which does not exist" if isinstance(shards, Path) and not shards.is_dir() else f"{shards}"
    val = typed("render", *ALL, *VAL)
    needed, commands = ("validation sets", val) if on_the_fly else ("shards", f"{typed('render', *ALL)} && {val}")
    hint = "" if on_the_fly else ", or train without any: --source fly --hr DIR (validation sets are needed still)"
    return RunError(f"no {needed} in {where}: render some with {commands} (--out {shards}){hint}")


def _task(
    name: str,
    patch: int,
    train: tuple[Place, Manifest] | None,
    val: tuple[Place, Manifest] | None,
    cache: ShardCache | None,
) -> Task:
    either = train or val
    assert either
    recipe = either[1].recipe
    plans = None if _is_adopted(either[1]) else Box(get_subspace(space_of(recipe), recipe["partition"], name))
    task = Task(name, plans, patch, recipe["scale"], recipe["usm"], cache=cache)
    if train:
        task = replace(task, train=train[0], train_manifest=train[1])
    if plans is None and not train:
        raise RunError(f"task {name} has validation pairs alone, which were made elsewhere: adopt some to train on")
    return replace(task, val=val[0], validation=val[1]) if val else task


def _is_adopted(manifest: Manifest) -> bool:
    """Whether the pairs were made elsewhere."""
    return manifest.recipe["space"] == ADOPTED


def _manifests(shards: Place, names: Sequence[str] | None, retry: RetryPolicy) -> list[tuple[Place, Manifest]]:
    if isinstance(shards, Remote) and shards.protocol in READ_ONLY:
        if not names:
            raise UsageError(f"shards is {shards}: {shards.protocol} cannot be listed, so name the tasks (--tasks)")
        folders: list[Place] = [shards / dataset_name(name, split) for name in names for split in ("train", "val")]
    else:
        folders = retry(lambda: folders_below(shards)) if shards.is_dir() else []
    found = []
    for folder in folders:
        try:
            found.append((folder, read_manifest(folder, retry)))
        except RunError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
    return found


def read_manifest(folder: Place, retry: RetryPolicy) -> Manifest:
    """The manifest of a dataset to train on. Raises `RunError` when it is none, or promises what cannot be."""
    manifest = retry(lambda: load_manifest(folder))
    for key, kind in RECIPE.items():
        if type(manifest.recipe.get(key)) is not kind:
            raise RunError(f"{folder}: its recipe has {key} = {short(manifest.recipe.get(key))}, no {kind.__name__}")
    patch, scale = manifest.recipe["patch"], manifest.recipe["scale"]
    if not 1 <= scale <= patch <= MAX_PATCH or patch % scale:
        raise RunError(f"{folder}: its recipe has patch {short(patch)} and scale {short(scale)}, which cannot be")
    if not all(isinstance(each, dict) and isinstance(each.get("sha256"), str) for each in manifest.photographs):
        raise RunError(f"{folder}: the HR images in its manifest have no sha256")
    for entry in manifest.shardlist:
        if entry.nsamples > MAX_SHARD_ROWS:
            raise RunError(
                f"{folder}: {entry.url} is said to hold {short(entry.nsamples)} rows, above {MAX_SHARD_ROWS}"
            )
    return manifest


def partition_order(names: Iterable[str], recipe: Mapping[str, Any]) -> list[str]:
    """Names in the order in which the partition of a dataset's recipe lists them, other names after these."""
    listed = [subspace.name for subspace in partition(space_of(recipe), recipe["partition"])]
    return sorted(names, key=lambda name: (listed.index(name) if name in listed else len(listed), name))


def _require_one_each(found: list[tuple[Place, Manifest]]) -> None:
    """Raises `RunError` when two folders hold the same split of a task, since it is unknown which of them is meant."""
    seen: dict[tuple[str, str], Place] = {}
    for folder, manifest in found:
        other = seen.setdefault((manifest.subspace, manifest.split), folder)
        if other is not folder:
            raise RunError(f"{other} and {folder} both hold {manifest.subspace}, {manifest.split}: move one elsewhere")


def _require_alike(tasks: list[Task]) -> None:
    """Raises `RunError` when scales, sharpening or train patches of the tasks differ."""
    first = tasks[0]
    for task in tasks:
        for manifest in filter(None, (task.train_manifest, task.validation)):
            if manifest.recipe["scale"] != first.scale:
                raise RunError(
                    f"{task.name} has scale {manifest.recipe['scale']}, {first.name} another: render them alike"
                )
        if task.usm != first.usm:
            raise RunError(f"LR of {task.name} and {first.name} differ in sharpening: render all or none with --usm")
        if task.train_manifest and task.train_manifest.recipe["patch"] != task.patch:
            patch = task.train_manifest.recipe["patch"]
            raise RunError(
                f"train shards of {task.name} have patch {patch}, others {task.patch}: render them with one --patch"
            )


def _require_same_crops(tasks: list[Task]) -> None:
    """Raises `RunError` when the validation sets of rendered tasks show different HR crops."""
    rendered = [task for task in tasks if task.plans]
    for task in rendered:
        first = rendered[0]
        same = ("photographs", "patch", "seed")
        if any(task.val_manifest.recipe[k] != first.val_manifest.recipe[k] for k in same) or (
            task.val_manifest.rows != first.val_manifest.rows
        ):
            raise RunError(
                f"val sets of {task.name} and {first.name} show different crops, so gaps cannot be paired: "
                "render all of them with one --hr, --patch, --seed and --count"
            )
