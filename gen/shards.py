"""One shard: from a frozen specification to a tar, its index and a done record. Knows no engine and no command."""

import hashlib
import io
import json
import platform
import tarfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gen.photos import Crop, Photograph, draw_crops
from gen.recipe import Recipe
from shared.atomic import atomic_write, write_bytes
from shared.degradation.cpu import render, sharpen
from shared.degradation.plan import Plan, sample_plan
from shared.errors import RunError
from shared.format import TAR_BLOCK, Member, Pair, Row, canonical_json, encode_pair, row_key, shard_name, write_index
from shared.images import decode
from shared.manifest import ShardEntry

DONE_FOLDER = ".done"
VERSIONED = ("numpy", "opencv-python", "turbojpeg", "scipy", "isal")
"""Libraries whose version can change a pixel or a byte."""


@dataclass(frozen=True)
class ShardSpec:
    """Everything that one shard needs: `rows` rows of shard `index` of a recipe, into `folder`."""

    folder: str
    recipe: Recipe
    photographs: tuple[Photograph, ...]
    index: int
    rows: int

    @property
    def name(self) -> str:
        """Name without ending. A short last shard bears its row count: growth never overwrites a listed tar."""
        name = shard_name(self.recipe.subspace, self.recipe.scale, _digest(self.recipe), self.index)
        return name if self.rows == self.recipe.rows_per_shard else f"{name}-n{self.rows:05d}"

    @property
    def row_numbers(self) -> range:
        """Numbers of the shard's rows within the dataset."""
        first = self.index * self.recipe.rows_per_shard
        return range(first, first + self.rows)

    @property
    def tar(self) -> Path:
        """Where the shard's tar belongs."""
        return Path(self.folder, f"{self.name}.tar")

    @property
    def done_record(self) -> Path:
        """Where the record of the finished shard belongs; it is written after the tar and its index."""
        return Path(self.folder, DONE_FOLDER, f"{self.name}.json")

    @property
    def failed_record(self) -> Path:
        """Where the reason of a failure is stored until the shard is finished."""
        return Path(self.folder, DONE_FOLDER, f"{self.name}.failed.json")


@dataclass(frozen=True)
class DoneShard:
    """A finished shard, what it was rendered with and the seconds it took; tars and manifests hold no timings."""

    entry: ShardEntry
    seconds: float
    versions: dict[str, str]


@dataclass(frozen=True)
class FailedShard:
    """Why a shard is not finished, and how many times it has been tried."""

    reason: str
    attempts: int


@dataclass(frozen=True)
class Outcome:
    """What became of one shard: `done`, or the `reason` why it failed, or what it `waits_for`, handed on to others."""

    spec: ShardSpec
    done: DoneShard | None = None
    reason: str = ""
    waits_for: str = ""


_digest = lru_cache(maxsize=64)(Recipe.digest)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """What decides how a pixel is rounded here: library versions and the kind of machine."""
    return {name: version(name) for name in VERSIONED} | {"machine": platform.machine()}


def finished(spec: ShardSpec) -> DoneShard | None:
    """The done record of a shard whose tar and index are there in full size, else None."""
    tar = spec.tar
    try:
        values = json.loads(spec.done_record.read_bytes())
        done = DoneShard(**{**values, "entry": ShardEntry(**values["entry"])})
        whole = tar.stat().st_size == done.entry.filesize and tar.with_suffix(".idx").is_file()
        return done if whole and done.versions.keys() == versions().keys() else None
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None


def render_shard(spec: ShardSpec, on_row: Callable[[], None] = lambda: None) -> DoneShard:
    """Render a shard unless it is finished. Idempotent, and equal specifications give equal bytes.

    Order of commitment: tar, index, done record, each renamed into place when it is whole and on the disk.
    Raises `RunError` when an HR file has changed since it was listed or the disk does not keep what was written.
    """
    if done := finished(spec):
        return done
    start, members = time.perf_counter(), []
    with atomic_write(spec.tar) as file:
        stream = _HashingStream(file)
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, pair in zip(spec.row_numbers, render_rows(spec), strict=True):
                key = row_key(spec.recipe.subspace, spec.index, number - spec.row_numbers.start)
                for extension, data in encode_pair(*pair).items():
                    members.append(Member(extension, tar.offset + TAR_BLOCK, len(data), f"{key}.{extension}"))
                    tar.addfile(_tar_header(members[-1]), io.BytesIO(data))
                on_row()
        entry = ShardEntry(spec.tar.name, spec.rows, stream.size, stream.md5.hexdigest(), stream.sha256.hexdigest())
        _read_back(file, entry)
    write_bytes(spec.tar.with_suffix(".idx"), write_index(members))
    done = DoneShard(entry, round(time.perf_counter() - start, 3), versions())
    write_bytes(spec.done_record, canonical_json(asdict(done)))
    return done


def attempt(spec: ShardSpec, on_row: Callable[[], None]) -> Outcome:
    """`render_shard` with the reason of a failure as a value, and stored: one bad shard does not stop the others."""
    try:
        done = render_shard(spec, on_row)
    except (RunError, OSError, MemoryError) as error:
        return failure(spec, str(error) or type(error).__name__)
    if spec.failed_record.exists():
        spec.failed_record.unlink(missing_ok=True)
    return Outcome(spec, done)


def failure(spec: ShardSpec, reason: str) -> Outcome:
    """The outcome of a shard that failed. Its reason is stored in `.done/`, unless the disk takes no more."""
    before = failed(spec)
    record = FailedShard(reason, before.attempts + 1 if before else 1)
    with suppress(OSError):
        write_bytes(spec.failed_record, canonical_json(asdict(record)))
    return Outcome(spec, reason=reason)


def failed(spec: ShardSpec) -> FailedShard | None:
    """The stored reason of a shard that failed and has not been finished since, else None."""
    try:
        return FailedShard(**json.loads(spec.failed_record.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def render_rows(spec: ShardSpec) -> Iterator[Pair]:
    """The shard's pairs in order. Each photograph is decoded once and kept only as its crops."""
    recipe, box = spec.recipe, spec.recipe.box()
    crops = list(
        draw_crops(
            spec.photographs,
            spec.row_numbers,
            seed=recipe.seed,
            subspace=recipe.subspace,
            split=recipe.split,
            patch=recipe.patch,
        )
    )
    for number, crop, hr in zip(spec.row_numbers, crops, _cut(crops, recipe.patch), strict=True):
        plan = sample_plan(
            box,
            seed=recipe.seed,
            split=recipe.split,
            row=number,
            height=recipe.patch,
            width=recipe.patch,
            scale=recipe.scale,
        )
        lr = degrade(hr, plan, recipe.scale, recipe.usm)
        yield Pair(hr, lr, _row(recipe, number, crop, plan))


def degrade(hr: np.ndarray, plan: Plan, scale: int, usm: bool) -> np.ndarray:
    """LR of a stored HR crop, uint8 RGB; with `usm`, from the sharpened crop as Real-ESRGAN does."""
    return render(sharpen(hr) if usm else hr, plan, scale)


def _row(recipe: Recipe, number: int, crop: Crop, plan: Plan) -> Row:
    return Row(
        subspace=recipe.subspace,
        split=recipe.split,
        seed=recipe.seed,
        row=number,
        hr_id=crop.photograph.id,
        hr_sha256=crop.photograph.sha256,
        crop_y=crop.y,
        crop_x=crop.x,
        patch=recipe.patch,
        scale=recipe.scale,
        plan=plan.to_json(),
        space=recipe.space,
        licence=crop.photograph.licence,
    )


def _cut(crops: list[Crop], patch: int) -> Iterator[np.ndarray]:
    """HR crops in order, uint8 [patch, patch, 3]."""
    wanted: dict[Photograph, list[int]] = defaultdict(list)
    for position, crop in enumerate(crops):
        wanted[crop.photograph].append(position)
    pictures: dict[int, np.ndarray] = {}
    for photograph, positions in wanted.items():
        image = _read_photograph(photograph)
        for position in positions:
            y, x = crops[position].y, crops[position].x
            pictures[position] = image[y : y + patch, x : x + patch].copy()
    for position in range(len(crops)):
        yield pictures.pop(position)


def _read_photograph(photograph: Photograph) -> np.ndarray:
    try:
        data = Path(photograph.path).read_bytes()
    except OSError as error:
        raise RunError(f"HR file {photograph.path} was listed but cannot be read now: {error}") from error
    if hashlib.sha256(data).hexdigest() != photograph.sha256:
        raise RunError(f"HR file {photograph.path} has changed since it was listed: run the same command again")
    try:
        return photograph.fit(decode(data, photograph.path))
    except ValueError as error:
        raise RunError(f"HR file {error}, although it could be when it was listed: is memory short?") from error


def _tar_header(member: Member) -> tarfile.TarInfo:
    """A header without time, user or host."""
    header = tarfile.TarInfo(member.name)
    header.size, header.mode, header.mtime = member.size, 0o444, 0
    return header


class _HashingStream(io.RawIOBase):
    """Counts and hashes what is written through it."""

    def __init__(self, file: io.BufferedRandom) -> None:
        self.file, self.size = file, 0
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        self.md5.update(data)
        self.size += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        return self.size


def _read_back(file: io.BufferedRandom, entry: ShardEntry) -> None:
    file.flush()
    file.seek(0)
    if hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
        raise RunError(f"{entry.url} reads back differently from what was written: check the disk")
