"""Datasets on disk or in a bucket: which shards are there, which are missing, and the commit of rendered shards."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml

from gen.card import dataset_card
from gen.recipe import Recipe
from gen.specs import DONE_FOLDER, DoneShard, ShardSpec, finished_shards
from shared.errors import RunError, UsageError
from shared.photos.crops import HRImages
from shared.photos.find import HRImage, HRImageSet, Selection, is_skimage
from shared.photos.listed import find_listed
from shared.records import canonical_json
from shared.shards.format import num_shards
from shared.shards.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, dataset_name, load_manifest
from shared.storage.atomic import write_bytes, write_text
from shared.storage.places import Place, address, listing, read_bounded, read_files
from shared.storage.remote import Remote
from shared.text import counted

PLAN = "plan.json"
"""File in `.done/` with the `DatasetPlan` of the last render command; `gen.status` reads it."""


@dataclass(frozen=True)
class DatasetPlan:
    """The recipe and the rows that a folder shall hold. The plan is stored before the first shard."""

    recipe: Recipe
    rows: int
    first_row: int = 0

    def specs(self, folder: Place, photographs: Sequence[HRImage] = ()) -> tuple[ShardSpec, ...]:
        """All shards in order. Without HR images they can be named and looked up, but not rendered."""
        given, count = HRImages(photographs), num_shards(self.rows, self.recipe.rows_per_shard)
        return tuple(self.shard(folder, number, given) for number in range(count))

    def shard(self, folder: Place, number: int, photographs: Sequence[HRImage] = ()) -> ShardSpec:
        """The shard with that number, counted from 0 in this folder, whatever its number in a larger dataset is."""
        per_shard = self.recipe.rows_per_shard
        rows, index = min(per_shard, self.rows - number * per_shard), self.first_row // per_shard + number
        return ShardSpec(address(folder), self.recipe, photographs, index, rows)

    def save(self, folder: Place) -> None:
        """Store the plan; its time is then that of the latest render command."""
        path = folder / DONE_FOLDER / PLAN
        data = canonical_json({**asdict(self), "recipe": self.recipe.to_dict()})
        if isinstance(path, Remote):
            path.write(data)
        else:
            write_bytes(path, data)
            path.touch()

    @staticmethod
    def load(folder: Place) -> "DatasetPlan | None":
        """The stored plan, or else what the manifest lists; None in a folder that has neither.

        Raises `RunError` for one of another version of this program.
        """
        path = folder / DONE_FOLDER / PLAN
        if path.is_file():
            try:
                values = json.loads(path.read_bytes())
                return DatasetPlan(
                    Recipe.from_dict(values["recipe"]), int(values["rows"]), int(values.get("first_row", 0))
                )
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise RunError(f"{path} was made by another version of this program: {error}") from error
        if (folder / MANIFEST).is_file():
            manifest = load_manifest(folder)
            return DatasetPlan(recipe_of(manifest, folder), manifest.rows, manifest.first_row)
        return None


@dataclass(frozen=True)
class DatasetJob:
    """A dataset to finish: what its folder shall hold, and the HR images to make that from."""

    folder: Place
    plan: DatasetPlan
    photos: HRImageSet
    generation: int

    @cached_property
    def specs(self) -> tuple[ShardSpec, ...]:
        """All of its shards, finished or not."""
        return self.plan.specs(self.folder, self.photos.photographs)

    @cached_property
    def missing(self) -> list[ShardSpec]:
        """The shards that were not finished when this was read first."""
        done = finished_or_listed(self.folder, self.specs)
        return [spec for spec in self.specs if spec.name not in done]

    def summary(self, verb: str) -> str:
        """One line: the folder, its rows, its recipe and how many shards are still to `verb`."""
        todo = len(self.missing)
        state = f"{todo} of {counted(len(self.specs), 'shard')} to {verb}" if todo else "complete"
        return f"{self.folder}: {counted(self.plan.rows, 'row')}, recipe {self.plan.recipe.digest()}, {state}"


def plan_dataset(out: Place, recipe: Recipe, photos: HRImageSet, count: int, first_row: int = 0) -> DatasetJob:
    """Plan a dataset of `count` rows, or of as many as it holds already.

    first_row: the first row of a part that is to be merged with others; a multiple of the rows per shard.
    Raises `UsageError` when the folder holds a dataset of another recipe, naming what differs, or another part.
    """
    folder = out / dataset_name(recipe.subspace, recipe.split)
    rows, generation = count, 1
    if (folder / MANIFEST).exists():
        existing = load_manifest(folder)
        if existing.digest != recipe.digest():
            changed = "; ".join(recipe_of(existing, folder).differences(recipe))
            raise UsageError(
                f"{folder} holds a dataset of another recipe ({changed}): choose another --out, or delete that folder"
            )
        if existing.first_row != first_row:
            raise UsageError(
                f"{folder} holds rows from {existing.first_row} on, not from {first_row}: choose another --out"
            )
        rows = max(count, existing.rows)
        generation = existing.generation + (rows > existing.rows)
    return DatasetJob(folder, DatasetPlan(recipe, rows, first_row), photos, generation)


def existing_list(out: Place, recipes: Sequence[Recipe], folder: str, selection: Selection) -> HRImageSet | None:
    """The HR images that a dataset below `out` lists, if it has one of these recipes and they are all in `folder`."""
    for recipe in recipes:
        dataset = out / dataset_name(recipe.subspace, recipe.split)
        if is_skimage(folder) or not (dataset / MANIFEST).exists():
            continue
        manifest = load_manifest(dataset)
        listed = recipe_of(manifest, dataset)
        if listed == replace(recipe, photographs=listed.photographs):
            with suppress(KeyError, TypeError):  # entries of another form
                return find_listed(folder, manifest.photographs, manifest.skipped, selection, listed.photographs)
    return None


def recipe_of(manifest: Manifest, folder: Place) -> Recipe:
    """The recipe of a dataset. Raises `RunError` when another version of this program made it."""
    try:
        return Recipe.from_dict(manifest.recipe)
    except ValueError as error:
        raise RunError(f"{folder / MANIFEST} was made by another version of this program: {error}") from error


def recipe_faults(manifest: Manifest, recipe: Recipe) -> Iterator[str]:
    """Where a manifest disagrees with its own recipe."""
    first_row, per_shard = manifest.first_row, recipe.rows_per_shard
    expected = {
        "digest": recipe.digest(),
        "subspace": recipe.subspace,
        "split": recipe.split,
        "name": dataset_name(recipe.subspace, recipe.split),
        "number of shards": num_shards(manifest.rows, per_shard),
        "first_row": max(0, first_row - first_row % per_shard),
    }
    for name, value in expected.items():
        if (found := getattr(manifest, name, len(manifest.shardlist))) != value:
            yield f"{name} is {found}, its recipe says {value}"
    plan = DatasetPlan(recipe, manifest.rows, first_row)
    for number, entry in enumerate(manifest.shardlist):
        spec = plan.shard(Path(), number)
        tar = f"{spec.name}.tar"
        if (entry.url, entry.nsamples) != (tar, spec.rows):
            yield f"shard {number} is {entry.url} with {entry.nsamples} rows, expected {tar} with {spec.rows}"


def finished_or_listed(folder: Place, specs: Sequence[ShardSpec]) -> dict[str, DoneShard]:
    """The finished shards by name, with those without a record that the manifest lists and that have their full size.

    Datasets are copied without `.done`. A shard that has a record but is not what the record says is not finished.
    """
    done = finished_shards(folder, specs)
    left = [spec for spec in specs if spec.name not in done]
    if not left or not (folder / MANIFEST).is_file():
        return done
    manifest, found, recorded = load_manifest(folder), listing(folder), listing(folder / DONE_FOLDER)
    entries = {entry.url: entry for entry in manifest.shardlist}
    sums = _read_checksums(folder)
    for spec in left:
        entry, tar, index = entries.get(f"{spec.name}.tar"), f"{spec.name}.tar", f"{spec.name}.idx"
        is_whole = entry and tar in found and found[tar].size == entry.filesize and index in found
        if entry and is_whole and recorded.keys().isdisjoint((f"{spec.name}.json", f"{spec.name}.failed.json")):
            digest = sums.get(index) or hashlib.sha256((folder / index).read_bytes()).hexdigest()
            done[spec.name] = DoneShard(entry, 0.0, manifest.versions, digest)
    return done


def _read_checksums(folder: Place) -> dict[str, str]:
    """The SHA-256 of each file as `SHA256SUMS` has it; empty when that is not there or damaged."""
    (data,) = read_files([folder / "SHA256SUMS"])
    lines = re.findall(r"^([0-9a-f]{64})  (\S+)$", (data or b"").decode(errors="replace"), re.MULTILINE)
    return {name: digest for digest, name in lines}


def commit(job: DatasetJob) -> Manifest:
    """Write the manifest over the finished shards, and the files around it. Idempotent.

    Raises `RunError` when a shard is not finished.
    """
    _refuse_to_shrink(job)
    found = finished_or_listed(job.folder, job.specs)
    if len(found) < len(job.specs):
        raise RunError(f"{job.folder}: {len(job.specs) - len(found)} of {len(job.specs)} shards are not finished")
    done = [found[spec.name] for spec in job.specs]
    plan, recipe, photographs = job.plan, job.plan.recipe, job.photos.photographs
    manifest = Manifest(
        name=dataset_name(recipe.subspace, recipe.split),
        subspace=recipe.subspace,
        split=recipe.split,
        digest=recipe.digest(),
        recipe=recipe.to_dict(),
        rows=plan.rows,
        generation=job.generation,
        licence=", ".join(sorted({photo.licence for photo in photographs})),
        versions=_versions(done),
        photographs=[
            {"id": p.id, "sha256": p.sha256, "height": p.height, "width": p.width, "licence": p.licence}
            for p in photographs
        ],
        skipped=job.photos.skipped,
        shardlist=[shard.entry for shard in done],
        attributions=job.photos.attributions(),
        captions=job.photos.captions(),
        first_row=plan.first_row,
    )
    config = {**manifest.recipe, "count": plan.rows, **({"first_row": plan.first_row} if plan.first_row else {})}
    write_text(job.folder / "config.yaml", yaml.safe_dump(config, sort_keys=False))
    write_text(job.folder / "README.md", dataset_card(manifest))
    manifest.save(job.folder)
    _remove_unlisted(job.folder, manifest)
    _write_checksums(job.folder, done)
    return manifest


def _versions(shards: Sequence[DoneShard]) -> dict[str, str]:
    """Library versions that the shards were rendered with; several of one library where they differ."""
    names = [name for name in shards[-1].versions if all(name in shard.versions for shard in shards)]
    return {
        name: ", ".join(sorted({v for shard in shards for v in shard.versions[name].split(", ")})) for name in names
    }


def _refuse_to_shrink(job: DatasetJob) -> None:
    """Raises `RunError` when another writer has committed more rows meanwhile; a lock prevents that in a folder."""
    if isinstance(job.folder, Remote) and (job.folder / MANIFEST).exists():
        rows, planned = load_manifest(job.folder).rows, job.plan.rows
        if rows > planned:
            raise RunError(f"{job.folder}: another render has committed {rows} rows meanwhile, more than {planned}")


def _remove_unlisted(folder: Place, manifest: Manifest) -> None:
    """Remove shards that the manifest does not list: a short one that was replaced, or those of an abandoned recipe.

    Records of failures are removed too, because every shard of the dataset is finished now.
    """
    listed = {Path(entry.url).stem for entry in manifest.shardlist}
    pattern = re.compile(re.escape(manifest.subspace) + r"-x\d+-[0-9a-f]{6}-\d{6}(-n\d{5})?")
    for path in [place / name for place in (folder, folder / DONE_FOLDER) for name in listing(place)]:
        ours = path.name.endswith((".tar", ".idx", ".json"))
        if ours and path.stem not in listed and pattern.fullmatch(path.stem.removesuffix(".failed")):
            path.unlink()


def _write_checksums(folder: Place, done: Sequence[DoneShard]) -> None:
    """Write `SHA256SUMS`, which `sha256sum --check` reads."""
    hashes = {shard.entry.url: shard.entry.sha256 for shard in done}
    hashes |= {f"{Path(shard.entry.url).stem}.idx": shard.index_sha256 for shard in done}
    for name in ("README.md", "config.yaml", MANIFEST):
        hashes[name] = hashlib.sha256(read_bounded(folder / name, MAX_MANIFEST_BYTES)).hexdigest()
    write_bytes(folder / "SHA256SUMS", "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)).encode())
