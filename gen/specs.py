"""One shard as data: its frozen specification, its names, and what is on record of it. Renders nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from gen.backends import versions
from gen.recipe import Recipe
from shared.photos.crops import Crop, HRImages, draw_crops, grid_crops
from shared.photos.find import HRImage
from shared.records import canonical_json
from shared.shards.format import Row, shard_name
from shared.shards.manifest import ShardEntry
from shared.storage.atomic import write_bytes
from shared.storage.places import Place, info, listing, place, read_files
from shared.storage.remote import Found

DONE_FOLDER = ".done"


@dataclass(frozen=True)
class ShardSpec:
    """Everything that one shard needs: `rows` rows of shard `index` of a recipe, into `folder`.

    photographs: the HR images of the dataset, shared by all of its shards in this process. drawn: the crops of the
    shard in a process that it was sent to; a list of a million HR images does not travel with each shard.
    """

    folder: str
    recipe: Recipe
    photographs: Sequence[HRImage]
    index: int
    rows: int
    drawn: tuple[Crop, ...] = ()

    def alone(self) -> "ShardSpec":
        """The same shard with its own crops instead of the list of HR images that they are drawn from."""
        return replace(self, photographs=(), drawn=tuple(self.crops()))

    def __reduce__(self) -> tuple[type["ShardSpec"], tuple]:
        return ShardSpec, tuple(vars(self.alone()).values())  # to another process

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

    def crops(self) -> Iterator[Crop]:
        """Where each row is cut from, in order; nothing for a specification that only names its shard."""
        recipe = self.recipe
        if not self.photographs:
            return iter(self.drawn[: self.rows])
        if recipe.crops == "grid":
            return grid_crops(HRImages(self.photographs), self.row_numbers, recipe.patch)
        return draw_crops(
            self.photographs,
            self.row_numbers,
            seed=recipe.seed,
            subspace=recipe.subspace,
            split=recipe.split,
            patch=recipe.patch,
            step=1 if recipe.has_plans else recipe.scale,
        )

    def row(self, number: int, crop: Crop, plan: str) -> Row:
        """The json of a row but for the checksums; plan: as JSON, or empty."""
        recipe = self.recipe
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
            plan=plan,
            space=recipe.space,
            licence=crop.photograph.licence,
        )

    @property
    def tar(self) -> Place:
        """Where the shard's tar belongs."""
        return place(self.folder) / f"{self.name}.tar"

    @property
    def done_record(self) -> Place:
        """Where the record of the finished shard belongs; it is written after the tar and its index."""
        return place(self.folder) / DONE_FOLDER / f"{self.name}.json"

    @property
    def failed_record(self) -> Place:
        """Where the reason of a failure is stored until the shard is finished."""
        return place(self.folder) / DONE_FOLDER / f"{self.name}.failed.json"


@dataclass(frozen=True)
class DoneShard:
    """A finished shard, what it was rendered with and the seconds it took; tars and manifests hold no timings.

    index_sha256: of the index. etag: what an object store called the tar when it was uploaded, and nothing on a disk.
    """

    entry: ShardEntry
    seconds: float
    versions: dict[str, str]
    index_sha256: str
    etag: str = ""


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


def finished(spec: ShardSpec) -> DoneShard | None:
    """The done record of a shard whose tar and index are there in full size, else None."""
    try:
        record = spec.done_record.read_bytes()
        found = {tar_or_index.name: info(tar_or_index) for tar_or_index in (spec.tar, spec.tar.with_suffix(".idx"))}
    except FileNotFoundError:
        return None
    return read_done(spec, record, found)


def finished_shards(folder: Place, specs: Sequence[ShardSpec]) -> dict[str, DoneShard]:
    """`finished` of many shards of one folder, by name, without those that are not: few looks at the folder."""
    recorded = listing(folder / DONE_FOLDER)
    candidates = [spec for spec in specs if f"{spec.name}.json" in recorded]
    found = listing(folder) if candidates else {}
    candidates = [spec for spec in candidates if f"{spec.name}.tar" in found and f"{spec.name}.idx" in found]
    records = read_files([spec.done_record for spec in candidates])
    read = {spec.name: read_done(spec, record, found) for spec, record in zip(candidates, records, strict=True)}
    return {name: done for name, done in read.items() if done}


def read_done(spec: ShardSpec, record: bytes | None, found: Mapping[str, Found]) -> DoneShard | None:
    """The done record of a shard, if it is one and the tar that was found is the one it tells of, else None."""
    try:
        values = json.loads(record or b"")
        done = DoneShard(**{**values, "entry": ShardEntry(**values["entry"])})
        tar = found[f"{spec.name}.tar"]
        whole = tar.size == done.entry.filesize and (not (tar.etag and done.etag) or tar.etag == done.etag)
        return done if whole and done.versions.keys() == versions(spec.recipe.backend).keys() else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


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
