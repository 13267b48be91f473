"""Render LR-HR pairs of one task, or of all, into tar shards.

Without --hr the images are photographs that scikit-image carries, so nothing needs to be downloaded. Running the same
command again renders only what is missing; a larger --count appends rows.

Examples:
realsr render --subspace noise --count 100
realsr render --subspace all --hr DIV2K/DIV2K_train_HR --count 20000 --dry-run
realsr render --subspace all --hr DIV2K/DIV2K_train_HR --split val
"""

import io
import math
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from gen.backends import BACKENDS, get_backend
from gen.dataset import DatasetJob, existing_list, plan_dataset
from gen.engines import ENGINES, get_engine
from gen.jobs import complete
from gen.processes import interrupts_wait, start_server
from gen.recipe import Recipe
from gen.replay import replayed
from gen.shards import HashingStream, write_rows
from gen.specs import ShardSpec
from shared.command import next_step, spelling
from shared.config import option, parse
from shared.degradation.definition import own_definition, space_of
from shared.degradation.partition import get_subspace, partition
from shared.degradation.presets import SPACES
from shared.degradation.space_file import find_space
from shared.errors import UsageError, require_at_least, run_command
from shared.photos.find import HRImageSet, Selection, find_hr_images
from shared.photos.licences import read_sources
from shared.photos.listed import shows_validation
from shared.photos.photo_cache import cache_bytes, fetch, photo_cache_folder
from shared.rebalance.clusters import FEW_PHOTOGRAPHS
from shared.shards.codecs import CODECS
from shared.shards.format import ADOPTED
from shared.storage.places import place, writable_place
from shared.text import BYTE_UNITS, TIME_UNITS, counted, quantity

DEFAULT_COUNT = {"train": 1000, "val": 100}
CALIBRATION_ROWS = 16
CORE_UNITS = {"core hours": 3600.0, "core seconds": 1.0}


@dataclass(frozen=True)
class RenderSettings:
    """What `gen.render` can be asked for."""

    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "basic": ("subspace", "hr", "val_hr", "split", "count", "out", "workers", "dry_run"),
        "data": ("patch", "scale"),
        "method": ("space", "partition", "seed"),
    }
    subspace: str = option(
        "all",
        "task to render, such as noise, or all; the tasks are mild, blur, noise and severe, or those of --partition",
    )
    hr: str = option(
        "photos",
        (
            "folder of HR images or tars, pattern, url, or photos, those of scikit-image. Decoded images are kept in "
            "the folder REALSR_CACHE, up to REALSR_CACHE_GB (16) gigabytes; an empty REALSR_CACHE keeps none"
        ),
    )
    val_hr: str | None = option(None, "HR images of validation (default: 1 scene in 20 of --hr)")
    licence: str | None = option(None, "licence of the HR images; without it rows and card say 'not given'")
    sources: str | None = option(
        None, "YAML or JSON list of {pattern, licence, attribution, url}: terms of HR images by glob pattern"
    )
    min_side: int | None = option(None, "least side of an HR image in pixels (default: the patch)")
    multiscale: bool = option(
        False, "also use reduced copies of HR images, as Real-ESRGAN does: 3/4, 1/2, 1/3, and shortest side 400"
    )
    out: str = option(
        "shards", "folder or url of the datasets, one for each task and split; a url is such as s3://bucket/shards"
    )
    split: Literal["train", "val"] = option("train", "whether training or validation rows are rendered")
    count: int | None = option(None, "rows of each dataset (default: 1000, or 100 with --split val)")
    rows: str | None = option(None, "A:B renders only rows A to B-1, in whole shards, as a part for realsr merge")
    patch: int = option(256, "side of the HR crop in pixels")
    scale: int = option(4, "HR side / LR side")
    seed: int = option(0, "seed of all draws")
    space: str = option(
        "paper", f"degradation space by name, or a YAML file; {', '.join(SPACES)}; realsr space prints one"
    )
    partition: str | None = option(
        None,
        "cut of the space into tasks (default: that of the space, such as 2x2); BxN: B levels of blur and N of noise; "
        "full: no cut; or along one axis, such as jpeg:10",
    )
    usm: bool = option(False, "make LR from the sharpened HR crop, as Real-ESRGAN does; not with --split val")
    codec: str = option("png", f"how HR crops are stored: {', '.join(CODECS)} (docs/benchmarks.md)")
    backend: str = option("cpu", f"what executes the plans: {', '.join(BACKENDS)} (gpu: torch, where it sees one)")
    rows_per_shard: int = option(500, "rows in one tar")
    engine: str = option("local", f"where shards are rendered: {', '.join(ENGINES)}")
    workers: int = option(
        lambda: _num_cores(), "processes, one thread each (default: all cores); tasks of ray, array elements of slurm"
    )
    dry_run: bool = option(False, "say what would be done and stop")


def main(argv: list[str]) -> int:
    """The command; see `RenderSettings`. Returns the exit code."""
    argv, replay = replayed(argv)
    settings = parse(RenderSettings, argv, spelling("render"), __doc__ or "")
    _check(settings)
    _rows(settings)
    recipes = _recipes(settings, replay)  # before hours of reading images: it refuses what cannot be meant
    if get_engine(settings.engine).here and settings.workers > 1 and not settings.dry_run:
        start_server()  # it loads what the workers need while this process looks at the images
    photos = _hr_images(settings, recipes)
    if replay and photos.digest() != replay["photographs"]:
        raise UsageError(
            f"the HR images of {settings.hr} are not those of --config: give their folder to --hr, and --licence, "
            "--sources, --min-side, --multiscale and --val-hr as they were then"
        )
    recipes = [replace(recipe, photographs=photos.digest()) for recipe in recipes]
    jobs = _plan(settings, recipes, photos)
    _announce(settings, photos, jobs)
    if settings.dry_run:
        print("next: the same command without --dry-run")
        return 0
    complete(
        lambda: _plan(settings, recipes, photos), place(settings.out), "gen.render", settings.engine, settings.workers
    )
    shown = jobs[0].folder if len(jobs) == 1 else settings.out
    print(next_step("preview", shown, "--out", "sheet.html"))
    return 0


def _hr_images(settings: RenderSettings, recipes: list[Recipe]) -> HRImageSet:
    """The HR images to render from: those that a dataset lists already, or else those of the folder."""
    sources = read_sources(settings.sources, settings.licence)
    selection = Selection(settings.patch, settings.min_side, settings.multiscale, sources)
    folder = (settings.val_hr if settings.split == "val" else None) or settings.hr
    existing = existing_list(place(settings.out), recipes, folder, selection)
    if existing and not (settings.split == "train" and shows_validation(existing, settings.val_hr)):
        return existing
    return find_hr_images(
        settings.hr,
        settings.split,
        settings.patch,
        settings.val_hr,
        min_side=settings.min_side,
        multiscale=settings.multiscale,
        sources=sources,
    )


def _check(settings: RenderSettings) -> None:
    require_at_least(1, settings, "count", "workers", "scale")
    get_engine(settings.engine)
    get_backend(settings.backend).require()
    writable_place(settings.out, "out")
    if settings.space == ADOPTED:
        raise UsageError(f"space is {ADOPTED!r}: such pairs were made elsewhere; {spelling('adopt')} takes them again")
    if settings.usm and settings.split == "val":
        raise UsageError("--usm with --split val: validation sets are never sharpened; drop one of the two")


def _recipes(settings: RenderSettings, replay: Mapping[str, Any]) -> list[Recipe]:
    """The recipe of each dataset, still without the photographs. replay: config.yaml of a dataset, or nothing."""
    space = space_of(replay) if settings.space == replay.get("space") else find_space(settings.space)
    cut, name = settings.partition, settings.subspace
    boxes = partition(space, cut) if name == "all" else [get_subspace(space, cut, name)]
    return [
        Recipe(
            space=space.name,
            definition=own_definition(space),
            partition=settings.partition or space.default_partition,
            subspace=box.name,
            split=settings.split,
            photographs="",
            patch=settings.patch,
            scale=settings.scale,
            seed=settings.seed,
            rows_per_shard=settings.rows_per_shard,
            usm=settings.usm,
            backend=settings.backend,
            codec=settings.codec,
        )
        for box in boxes
    ]


def _plan(settings: RenderSettings, recipes: list[Recipe], photos: HRImageSet) -> list[DatasetJob]:
    rows = _rows(settings)
    return [plan_dataset(place(settings.out), recipe, photos, len(rows), rows.start) for recipe in recipes]


def _rows(settings: RenderSettings) -> range:
    """The rows to render. Raises `UsageError` for a part that does not begin with a shard."""
    if settings.rows is None:
        return range(settings.count or DEFAULT_COUNT[settings.split])
    if settings.count is not None:
        raise UsageError("--rows with --count: A:B says all; drop --count")
    found, per_shard = re.fullmatch(r"(\d{1,12}):(\d{1,12})", settings.rows), settings.rows_per_shard
    rows = range(int(found[1]), int(found[2])) if found else range(0)
    if not rows or rows.start % per_shard:
        raise UsageError(
            f"rows is {settings.rows!r}: it must be A:B, A below B and a multiple of the {per_shard} rows of a shard"
        )
    return rows


def _announce(settings: RenderSettings, photos: HRImageSet, jobs: list[DatasetJob]) -> None:
    """Say what will be done before it is done."""
    for note in photos.notes:
        print(note)
    print(f"{counted(len(photos.photographs), 'photograph')} for {settings.split}{photos.skipped_text}")
    if settings.split == "val" and len(photos.photographs) < FEW_PHOTOGRAPHS:
        print(
            f"note: gaps measured on fewer than {FEW_PHOTOGRAPHS} photographs have large errors; "
            "--val-hr DIR takes more"
        )
    for job in jobs:
        print(job.summary("render"))
    if missing := [spec for job in jobs for spec in job.missing]:
        if folder := photo_cache_folder():
            print(f"decoded photographs are kept in {folder}, up to {quantity(cache_bytes(), BYTE_UNITS)}")
        rows = sum(spec.rows for spec in missing)
        seconds, size = _calibrate(missing[0])
        workers = min(settings.workers, len(missing))
        at_once = min(workers, _num_cores()) if get_engine(settings.engine).here else workers
        turns = math.ceil(len(missing) / at_once)
        wall = min(turns * settings.rows_per_shard, rows) * seconds
        print(
            f"to render: {counted(rows, 'row')} in {counted(len(missing), 'shard')}, about "
            f"{quantity(rows * size, BYTE_UNITS)}, {quantity(rows * seconds, CORE_UNITS)}; "
            f"{quantity(wall, TIME_UNITS)} with --engine {settings.engine} on {counted(workers, 'worker')}"
        )


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _calibrate(spec: ShardSpec) -> tuple[float, float]:
    """Seconds and bytes of one row of a full shard, from a few rendered ones.

    They are rendered twice: the first time compiles loops and fills tables. Decoding is timed by itself and scaled from
    their photographs to those of the shard.
    """
    rows = max(get_backend(spec.recipe.backend).rows, CALIBRATION_ROWS)
    sample = replace(spec, rows=min(spec.rows, rows))
    photographs = {crop.photograph for crop in sample.crops()}
    start = time.perf_counter()
    num_decoded_again = sum(not is_kept for _, is_kept in map(fetch, photographs))
    decoding = (time.perf_counter() - start) / len(photographs)
    for _ in range(2):
        start = time.perf_counter()
        with interrupts_wait():  # the compiler would swallow them
            stream = HashingStream(io.BytesIO())
            write_rows(stream, sample)
    seconds = time.perf_counter() - start - decoding * num_decoded_again
    of_shard = {crop.photograph for crop in spec.crops()}
    return max(seconds, 0.0) / sample.rows + decoding * len(of_shard) / spec.rows, stream.size / sample.rows


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean up and say how to go on
    sys.exit(run_command(main))
