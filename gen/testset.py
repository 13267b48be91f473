"""Build a whole-image test set: one LR image per HR image and task, with its plan.

div2k4level: the paper's four tasks; div2k-random: the full Real-ESRGAN space. Any HR folder will do; the paper's is
DIV2K's validation set. An image gets the same LR images in every set with the same seed. Running the same command
again renders only what is missing.

Examples:
realsr testset --hr DIV2K/DIV2K_valid_HR
realsr testset --name div2k-random --hr DIV2K/DIV2K_valid_HR --out testsets/div2k-random
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.backends import versions
from gen.processes import in_processes
from gen.recipe import definition_as_data, definition_as_text
from shared.command import next_step, spelling
from shared.config import option, parse
from shared.degradation.definition import own_definition, space_of
from shared.degradation.partition import Subspace, partition
from shared.degradation.plan import PLAN_VERSION, draw_plan
from shared.degradation.presets import SPACES
from shared.degradation.space_file import find_space
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.images import encode_png, png_size
from shared.photos.find import HRImage, HRImageSet, find_hr_images, is_skimage
from shared.photos.licences import read_sources
from shared.photos.photo_cache import read
from shared.progress import progress_bar
from shared.records import canonical_json, from_plain
from shared.shards.testset import TESTSET_FORMAT, TestImage, TestSetRecord, hr_path, lr_path, plan_path
from shared.storage.atomic import locked, write_bytes
from shared.text import BYTE_UNITS, TIME_UNITS, counted, quantity

NAMES = {"div2k4level": ("paper", "2x2"), "div2k-random": ("realesrgan", "full")}
"""Space and partition of each set."""
RECIPE = "recipe.json"
CALIBRATION_SIDE = 512


@dataclass(frozen=True)
class TestsetSettings:
    """What `gen.testset` can be asked for."""

    name: str = option("div2k4level", f"which set: {', '.join(NAMES)}")
    hr: str = option("photos", "folder of HR images or tars, pattern or url; 'photos' = scikit-image's validation pair")
    out: str | None = option(None, "folder of the set (default: testsets/NAME)")
    scale: int = option(4, "HR side / LR side")
    seed: int = option(0, "seed of all draws")
    space: str | None = option(None, f"another degradation space: {', '.join(SPACES)}, or a YAML file")
    partition: str | None = option(None, "another cut of the space into tasks: 2x2, BxN or full")
    licence: str | None = option(None, "licence of the HR images; without it the set says 'not given'")
    sources: str | None = option(
        None, "YAML or JSON list of {pattern, licence, attribution, url}, as for realsr render"
    )
    workers: int = option(lambda: len(os.sched_getaffinity(0)), "processes, about 1 GB each (default: all cores)")
    dry_run: bool = option(False, "say what would be done and stop")


@dataclass(frozen=True)
class TestsetRecipe:
    """Everything that decides a set's images. photographs: hash of the list of HR images with their hashes."""

    name: str
    space: str
    partition: str
    scale: int
    seed: int
    photographs: str
    plan_version: int = PLAN_VERSION
    format: str = TESTSET_FORMAT
    definition: str = ""

    def tasks(self) -> tuple[Subspace, ...]:
        """The boxes that plans are drawn from."""
        return partition(space_of(self.to_dict()), self.partition)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "TestsetRecipe":
        """The recipe in a file. Raises ValueError for a field that is unknown, missing or of another type."""
        return from_plain(TestsetRecipe, definition_as_text(values), "recipe field", complete=True)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as files hold it, as that of shards."""
        return definition_as_data(asdict(self))


@dataclass(frozen=True)
class Work:
    """One HR image to render in all tasks, into `folder` under `name`."""

    folder: str
    recipe: TestsetRecipe
    photograph: HRImage
    name: str

    @property
    def finished(self) -> bool:
        """Whether all its files are there; plans are written last."""
        folder = Path(self.folder)
        return hr_path(folder, self.name).is_file() and all(
            path(folder, task.name, self.name).is_file()
            for task in self.recipe.tasks()
            for path in (lr_path, plan_path)
        )


def main(argv: list[str]) -> int:
    """The command; see `TestsetSettings`. Returns the exit code."""
    settings = parse(TestsetSettings, argv, spelling("testset"), __doc__ or "")
    if settings.name not in NAMES:
        raise UsageError(f"name is {settings.name!r}: choose one of {', '.join(NAMES)}")
    require_at_least(1, settings, "scale", "workers")
    name, cut = NAMES[settings.name]
    space = find_space(settings.space or name)
    cut = settings.partition or (space.default_partition if settings.space else cut)
    partition(space, cut)
    photos = find_hr_images(
        settings.hr,
        "val",
        space.least_patch(settings.scale),
        None if is_skimage(settings.hr) else settings.hr,
        sources=read_sources(settings.sources, settings.licence),
    )
    recipe = TestsetRecipe(
        settings.name,
        space.name,
        cut,
        settings.scale,
        settings.seed,
        photos.digest(),
        definition=own_definition(space),
    )
    folder = Path(settings.out or f"testsets/{settings.name}")
    works = [Work(str(folder), recipe, photo, name) for name, photo in _names(photos.photographs).items()]
    _refuse_mixture(folder, recipe)
    missing = [work for work in works if not work.finished]
    _announce(photos, works, missing, settings)
    if settings.dry_run:
        print("next: the same command without --dry-run")
        return 0
    subfolders = ["HR", *(f"{kind}/{task.name}" for kind in ("LR", "plans") for task in recipe.tasks())]
    with locked(folder, "gen.testset", *subfolders):
        _refuse_mixture(folder, recipe)
        write_bytes(folder / RECIPE, canonical_json(recipe.to_dict()))
        _render(missing, settings.workers)
        record = _record(folder, recipe, photos, works)
        record.save(folder)
    tasks = counted(len(record.tasks), "task")
    print(f"{folder}: {counted(len(works), 'image')} in {tasks} ({', '.join(record.tasks)})")
    print(next_step("evaluate", "--checkpoint", "bicubic", "--testset", folder, "--out", "evaluations/bicubic"))
    return 0


def _names(photographs: Sequence[HRImage]) -> dict[str, HRImage]:
    """The HR images by the names of their files in the set. Raises `UsageError` when two would have the same."""
    named: dict[str, HRImage] = {}
    for photo in photographs:
        name = os.path.splitext(photo.id)[0].replace("/", "-").lstrip(".")  # noqa: PTH122 - an id, not a path here
        if name in named:
            raise UsageError(f"{named[name].id!r} and {photo.id!r} would both be called {name!r}: rename one of them")
        named[name] = photo
    return named


def _refuse_mixture(folder: Path, recipe: TestsetRecipe) -> None:
    """Raises `UsageError` that names what differs when the folder holds a set of another recipe."""
    path = folder / RECIPE
    if not path.is_file():
        return
    try:
        existing = asdict(TestsetRecipe.from_dict(json.loads(path.read_bytes())))
    except (ValueError, TypeError, AttributeError) as error:
        raise RunError(f"{path} was made by another version of this program: {error}") from error
    new = {name: value for name, value in asdict(recipe).items() if name != "definition"}
    if changed := [f"{name}: {existing[name]} -> {value}" for name, value in new.items() if existing[name] != value]:
        raise UsageError(f"{folder} holds another test set ({'; '.join(changed)}): choose another --out, or delete it")


def _announce(photos: HRImageSet, works: Sequence[Work], missing: Sequence[Work], settings: TestsetSettings) -> None:
    """Say what will be done before it is done."""
    for note in photos.notes:
        print(note)
    tasks = ", ".join(task.name for task in works[0].recipe.tasks())
    found = f"{counted(len(works), 'HR image')}{photos.skipped_text}"
    print(f"{found}, tasks {tasks}; {len(missing)} of {len(works)} to render")
    if missing:
        seconds, size = _calibrate(missing[0])
        pixels = sum(work.photograph.height * work.photograph.width for work in missing)
        wall = quantity(pixels * seconds / min(settings.workers, len(missing)), TIME_UNITS)
        print(f"about {quantity(pixels * size, BYTE_UNITS)} and {wall} on {settings.workers} workers")


def _calibrate(work: Work) -> tuple[float, float]:
    """Seconds and bytes for each HR pixel in all tasks, from a corner of one image."""
    corner = _read(work.photograph, work.recipe.scale)[:CALIBRATION_SIDE, :CALIBRATION_SIDE]
    start, size = time.perf_counter(), len(encode_png(corner))
    for task in work.recipe.tasks():
        size += len(encode_png(_degrade(corner, work, task)[0]))
    pixels = corner.shape[0] * corner.shape[1]
    return (time.perf_counter() - start) / pixels, size / pixels


def _render(missing: Sequence[Work], workers: int) -> None:
    """Render in processes of one thread each. Raises `RunError` when images failed, after all were tried."""
    failures = []
    with progress_bar(len(missing), "image", disable=not missing) as bar:
        for reason in in_processes(attempt, missing, workers):
            if reason:
                failures.append(reason)
                bar.write(f"failed: {reason}", file=sys.stderr)
            bar.update()
    if failures:
        raise RunError(
            f"{len(failures)} of {counted(len(missing), 'image')} failed; the same command tries only those again"
        )


def attempt(work: Work) -> str:
    """Render one HR image in all tasks; the reason if that fails, else an empty text."""
    try:
        hr, folder = _read(work.photograph, work.recipe.scale), Path(work.folder)
        write_bytes(hr_path(folder, work.name), encode_png(hr))
        for task in work.recipe.tasks():
            lr, plan = _degrade(hr, work, task)
            write_bytes(lr_path(folder, task.name, work.name), encode_png(lr))
            write_bytes(plan_path(folder, task.name, work.name), plan.encode() + b"\n")
    except (OSError, ValueError, RunError, MemoryError) as error:
        return f"{work.photograph.id}: {error}"
    return ""


def _read(photograph: HRImage, scale: int) -> np.ndarray:
    """The HR image, cropped at the right and the bottom to a multiple of the scale."""
    height, width = (side // scale * scale for side in (photograph.height, photograph.width))
    return read(photograph)[:height, :width]


def _degrade(hr: np.ndarray, work: Work, task: Subspace) -> tuple[np.ndarray, str]:
    """The LR image of a task and the JSON of its plan, keyed by the hash of the file: the same in every set."""
    from shared.degradation.cpu import render  # here, so that the command answers before OpenCV is loaded

    row, (height, width, _) = int(work.photograph.sha256[:12], 16), hr.shape
    recipe = work.recipe
    plan = draw_plan(task, seed=recipe.seed, split="test", row=row, height=height, width=width, scale=recipe.scale)
    return render(hr, plan, recipe.scale), plan.to_json()


def _record(folder: Path, recipe: TestsetRecipe, photos: HRImageSet, works: Sequence[Work]) -> TestSetRecord:
    tasks = [task.name for task in recipe.tasks()]
    images = []
    for work in works:
        data = hr_path(folder, work.name).read_bytes()
        height, width = png_size(data)
        lr = {task: _sha256(lr_path(folder, task, work.name).read_bytes()) for task in tasks}
        photo = work.photograph
        images.append(TestImage(work.name, photo.sha256, height, width, photo.licence, _sha256(data), lr))
    made_with, skipped, named = versions("cpu"), photos.skipped, photos.attributions()
    return TestSetRecord(recipe.name, recipe.scale, tasks, recipe.to_dict(), images, made_with, skipped, named)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(run_command(main))
