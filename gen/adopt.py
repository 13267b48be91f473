"""Make a dataset of LR-HR pairs that were made elsewhere, such as those of a camera, so that they train as a task.

SOURCE is a folder that holds two folders or two LMDBs, named by --hr and --lr; or tars, also compressed, behind a url
or in a folder, whose samples have members named by --hr and --lr, as webdataset reads them; or pipe:COMMAND, which
writes such a tar. HR must be exactly --scale times LR; other pairs are named, counted and skipped. Crops of --patch
lie on a grid, or with --count at random places; a PNG of that size is stored unchanged. Running the same command again
makes only what is missing. One scene in 20 is held out for --split val, unless --whole says that all pairs belong
to the split.

Examples:
realsr adopt RealSR/Canon/Train/4 --hr "*_HR.png" --lr "*_LR4.png" --whole --subspace camera
realsr adopt pairs --hr gt --lr lq --subspace camera --count 20000
realsr adopt "s3://bucket/pairs-{000..009}.tar.gz" --hr gt.png --lr lq.png --subspace camera --split val
"""

import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from gen.dataset import DatasetJob, plan_dataset
from gen.jobs import complete
from gen.recipe import Recipe
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.degradation.partition import AXES, PARTITIONS
from shared.degradation.presets import SPACES
from shared.errors import UsageError, require_at_least, run_command
from shared.photos.find import HRImageSet, Selection
from shared.photos.licences import read_sources
from shared.photos.pairs import Pairing, find_pairs
from shared.photos.staged import PIPE
from shared.rebalance.clusters import FEW_PHOTOGRAPHS
from shared.shards.format import ADOPTED
from shared.storage.places import place, writable_place
from shared.text import counted

TAKEN = re.compile(rf"b\d+n\d+|({'|'.join(AXES)})\d+|all|photos")
"""Names that a partition gives to its tasks, or that mean something else to a command."""


@dataclass(frozen=True)
class AdoptSettings:
    """What `gen.adopt` can be asked for."""

    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "basic": ("hr", "lr", "subspace", "out", "split", "whole", "count", "workers", "dry_run"),
        "data": ("patch", "scale"),
    }
    source: list[str] = argument("folders, tars, patterns or urls that hold the pairs")  # noqa: RUF009 -- a field
    hr: str = option(
        "gt", "HR images: folder, pattern or LMDB below SOURCE, or name of a member of tars such as gt.png"
    )
    lr: str = option("lq", "LR images, in the same way")
    subspace: str = option("camera", "name of the task")
    out: str = option("shards", "folder or url that gets the dataset; a url is such as s3://bucket/shards")
    split: Literal["train", "val"] = option("train", "whether training or validation pairs are used")
    whole: bool = option(False, "use all pairs for --split; otherwise 1 scene in 20, chosen by hash, is for val")
    count: int | None = option(None, "number of random crops (default: all crops on a grid)")
    licence: str | None = option(None, "licence of the images; without it rows and card say 'not given'")
    sources: str | None = option(
        None, "YAML or JSON list of {pattern, licence, attribution, url}: terms of HR images by glob pattern"
    )
    patch: int = option(256, "side of the HR crop in pixels")
    scale: int = option(4, "HR side / LR side")
    seed: int = option(0, "seed of the random crops")
    rows_per_shard: int = option(500, "rows in one tar")
    workers: int = option(lambda: len(os.sched_getaffinity(0)), "processes at work at once (default: all cores)")
    dry_run: bool = option(False, "say what would be done and stop")


def main(argv: list[str]) -> int:
    """The command; see `AdoptSettings`. Returns the exit code."""
    settings = parse(AdoptSettings, argv, spelling("adopt"), __doc__ or "")
    _check(settings, argv)
    recipe = _recipe(settings)  # before hours of reading images: it refuses what cannot be meant
    pairs = _pairs(settings)
    recipe = replace(recipe, photographs=pairs.digest())

    def plan() -> list[DatasetJob]:
        rows = settings.count or sum(pair.weight for pair in pairs.photographs)
        return [plan_dataset(place(settings.out), recipe, pairs, rows)]

    (job,) = plan()
    _announce(settings, pairs, job)
    if settings.dry_run:
        print("next: the same command without --dry-run")
        return 0
    complete(plan, place(settings.out), "gen.adopt", "local", settings.workers)
    print(next_step("preview", job.folder, "--out", "sheet.html"))
    return 0


def _check(settings: AdoptSettings, argv: Sequence[str]) -> None:
    """Raises `UsageError` for what cannot be meant."""
    require_at_least(1, settings, "count", "workers")
    writable_place(settings.out, "out")
    name = settings.subspace
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or name.endswith("-val"):
        raise UsageError(f"subspace is {name!r}: it must be lowercase letters and digits, parted by -, without -val")
    built_in = {task for space in SPACES.values() for cut in PARTITIONS.values() for task in cut(space)}
    if name in built_in or TAKEN.fullmatch(name):
        raise UsageError(f"subspace is {name!r}: rendered tasks have that name; take another, such as camera")
    if settings.hr == settings.lr:
        raise UsageError(f"hr and lr are both {settings.hr!r}: they must name different images")
    for source in settings.source:
        if source.startswith(PIPE) and source not in argv:
            raise UsageError(
                f"source {source!r} is a command of the shell: it is run only when it stands on the command line "
                "word for word, never from a file"
            )


def _recipe(settings: AdoptSettings) -> Recipe:
    """The recipe, still without the images."""
    return Recipe(
        space=ADOPTED,
        partition="",
        subspace=settings.subspace,
        split=settings.split,
        photographs="",
        patch=settings.patch,
        scale=settings.scale,
        seed=settings.seed,
        rows_per_shard=settings.rows_per_shard,
        crops="random" if settings.count else "grid",
    )


def _pairs(settings: AdoptSettings) -> HRImageSet:
    pairing = Pairing(settings.hr, settings.lr, settings.scale, settings.whole, on_grid=settings.count is None)
    selection = Selection(settings.patch, sources=read_sources(settings.sources, settings.licence))
    return find_pairs(settings.source, settings.split, pairing, selection)


def _announce(settings: AdoptSettings, pairs: HRImageSet, job: DatasetJob) -> None:
    """Say what will be done before it is done."""
    for note in pairs.notes:
        print(note)
    print(f"{counted(len(pairs.photographs), 'pair')} for {settings.split}{pairs.skipped_text}")
    if settings.split == "val" and len(pairs.photographs) < FEW_PHOTOGRAPHS:
        print(f"note: gaps measured on fewer than {FEW_PHOTOGRAPHS} pairs have large errors")
    print(job.summary("make"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up and say how to go on
    sys.exit(run_command(main))
