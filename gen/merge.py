"""Join parts of one recipe, rendered apart with `realsr render --rows A:B`, into one dataset.

OUT and the PARTs are dataset folders (those with a manifest.json); a PART may be a url. Shards are hashed on the way
and hard-linked where the disk is the same; the result is, byte for byte, what one render of all rows would have made.

Examples:
realsr merge shards/noise part1/noise part2/noise
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gen.card import write_folder_card
from gen.dataset import DatasetJob, DatasetPlan, commit, recipe_faults, recipe_of
from gen.specs import DONE_FOLDER, DoneShard, ShardSpec, finished
from shared.command import next_step, spelling
from shared.config import argument, parse
from shared.errors import RunError, UsageError, run_command
from shared.photos.find import HRImage, HRImageSet
from shared.progress import progress_bar
from shared.records import canonical_json
from shared.shards.format import group_rows, read_index, write_index
from shared.shards.manifest import MANIFEST, Manifest, ShardEntry, load_manifest
from shared.shards.reader import tar_members
from shared.storage.atomic import locked, sync_folder, temporary_beside, write_bytes
from shared.storage.places import Place, folders_below, place
from shared.storage.remote import Remote
from shared.text import counted


@dataclass(frozen=True)
class MergeSettings:
    """What `gen.merge` can be asked for."""

    out: str = argument("dataset folder to make")
    part: list[str] = argument("dataset folders or urls, in any order")  # noqa: RUF009 -- a field, not a list


@dataclass(frozen=True)
class Part:
    """One dataset folder to be joined."""

    folder: Place
    manifest: Manifest
    plan: DatasetPlan

    @property
    def rows(self) -> range:
        """Numbers of its rows in the whole."""
        return range(self.plan.first_row, self.plan.first_row + self.plan.rows)


def main(argv: list[str]) -> int:
    """The command; see `MergeSettings`. Returns the exit code."""
    settings = parse(MergeSettings, argv, spelling("merge"), __doc__ or "")
    out = place(settings.out)
    if isinstance(out, Remote):
        raise UsageError(f"out is {settings.out!r}: parts are joined in a folder; copy it to the url afterwards")
    folders = [place(name) for name in settings.part]
    if not folders:
        raise UsageError(f"no part is given: {spelling('merge')} OUT PART [PART ...]")
    if out.resolve() in [folder.resolve() for folder in folders if isinstance(folder, Path)]:
        raise UsageError(f"{out} is both the result and a part: give a new folder for the result")
    parts = in_order([read_part(folder) for folder in folders])
    with locked(out, "gen.merge", DONE_FOLDER):
        manifest = merge(out, parts)
    write_folder_card(out.parent)
    print(f"{out}: {manifest.rows} rows in {counted(len(manifest.shardlist), 'shard')}, recipe {manifest.digest}")
    print(next_step("verify", out))
    return 0


def read_part(folder: Place) -> Part:
    """A part and its recipe. Raises `RunError` when its manifest does not agree with itself."""
    if not folder.is_dir():
        raise UsageError(f"part is {str(folder)!r}: no such folder")
    if not (folder / MANIFEST).exists():
        below = [str(each) for each in folders_below(folder) if (each / MANIFEST).exists()]
        if below:
            raise UsageError(f"part is {str(folder)!r}: name the dataset in it, {' or '.join(below)}")
    manifest = load_manifest(folder)
    recipe = recipe_of(manifest, folder)
    for fault in recipe_faults(manifest, recipe):
        raise RunError(
            f"{folder / MANIFEST} does not agree with its own recipe ({fault}): run {spelling('verify')} {folder}"
        )
    return Part(folder, manifest, DatasetPlan(recipe, manifest.rows, manifest.first_row))


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The parts by their rows. Raises `UsageError` unless they are of one recipe and their rows are 0, 1, 2, ..."""
    first = parts[0]
    for part in parts[1:]:
        if differing := _differences(first, part):
            raise UsageError(f"{first.folder} and {part.folder} are of two recipes ({'; '.join(differing)})")
    ordered, end = sorted(parts, key=lambda part: part.rows.start), 0
    for before, part in zip([None, *ordered], ordered, strict=False):
        if part.rows.start > end:
            raise UsageError(
                f"rows {end} to {part.rows.start - 1} are in no part: render them with --rows "
                f"{end - end % part.plan.recipe.rows_per_shard}:{part.rows.start}"
            )
        if before and part.rows.start < end:
            last = min(end, part.rows.stop) - 1
            raise UsageError(f"rows {part.rows.start} to {last} are in {before.folder} and in {part.folder}: drop one")
        end = part.rows.stop
    return ordered


def _differences(one: Part, other: Part) -> list[str]:
    """What differs between two parts and must not."""
    named = one.plan.recipe.differences(other.plan.recipe)
    for name in ("photographs", "attributions", "captions"):
        if not named and getattr(one.manifest, name) != getattr(other.manifest, name):
            named.append(f"{name} in {MANIFEST}; render one of them again with the --sources of the other")
    return named


def merge(out: Path, parts: Sequence[Part]) -> Manifest:
    """Bring all shards into `out`, then write the manifest and what goes with it. Doing it again changes nothing.

    Raises `RunError` for a shard that is not what its manifest says, `UsageError` when `out` holds something else.
    """
    whole, generation = DatasetPlan(parts[0].plan.recipe, parts[-1].rows.stop), 1
    if (out / MANIFEST).exists():
        existing = read_part(out)
        if differing := existing.plan.recipe.differences(whole.recipe):
            raise UsageError(f"{out} holds a dataset of another recipe ({'; '.join(differing)}): choose another folder")
        if existing.plan.first_row or existing.plan.rows > whole.rows:
            raise UsageError(f"{out} holds more rows than the parts: choose another folder")
        generation = existing.manifest.generation + (whole.rows > existing.plan.rows)
    with progress_bar(sum(e.filesize for part in parts for e in part.manifest.shardlist), "B", unit_scale=True) as bar:
        for part in parts:
            for number, entry in enumerate(part.manifest.shardlist):
                _bring(part, entry, part.plan.shard(part.folder, number), part.plan.shard(out, number))
                bar.update(entry.filesize)
    return commit(DatasetJob(out, whole, _photographs(parts), generation))


def _bring(part: Part, entry: ShardEntry, source: ShardSpec, target: ShardSpec) -> None:
    """One shard: tar, index and done record, in the order of a render."""
    try:
        tar = Path(target.folder, source.tar.name)
        _link_or_copy(source.tar, tar, entry)
        index = _index(tar)
        write_bytes(tar.with_suffix(".idx"), index)
    except FileNotFoundError as error:
        raise RunError(f"{source.tar} is missing: render that part again") from error
    except ValueError as error:
        raise RunError(f"{source.tar}: {error}; delete it and render that part again") from error
    before = finished(source)
    seconds, versions = (before.seconds, before.versions) if before else (0.0, part.manifest.versions)
    done = DoneShard(entry, seconds, versions, hashlib.sha256(index).hexdigest())
    write_bytes(target.done_record, canonical_json(asdict(done)))


def _link_or_copy(source: Place, target: Path, entry: ShardEntry) -> None:
    """Hard-link a file, or copy it where that cannot be. Raises ValueError, leaving nothing, for another hash."""
    temporary = temporary_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _link_or_download(source, temporary, entry.filesize)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != entry.sha256:
            raise ValueError(f"not what its manifest says (sha256 {digest})")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # also after a rename, which does nothing when both are one file
    sync_folder(target.parent)


def _link_or_download(source: Place, target: Path, size: int) -> None:
    if isinstance(source, Remote):
        source.download(target, size)
        return
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(source, target)


def _index(tar: Path) -> bytes:
    """The index of a whole tar. Raises ValueError for names that no row has."""
    data = write_index(tar_members(tar))
    group_rows(read_index(data))
    return data


def _photographs(parts: Sequence[Part]) -> HRImageSet:
    """The HR images that the manifests list. Skipped images are counted as in the part that skipped most."""
    manifest, skipped = parts[0].manifest, dict[str, int]()
    for part in parts:
        for reason, count in part.manifest.skipped.items():
            skipped[reason] = max(count, skipped.get(reason, 0))
    try:
        named = {
            name: {"attribution": entry["attribution"], "url": entry["url"]}
            for entry in manifest.attributions
            for name in entry["photographs"]
        }
        photographs = tuple(
            HRImage(path="", weight=0, caption=manifest.captions.get(p["id"], ""), **p, **named.get(p["id"], {}))
            for p in manifest.photographs
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{parts[0].folder / MANIFEST}: its photographs are not of this format: {error}") from error
    return HRImageSet(photographs, dict(sorted(skipped.items())))


if __name__ == "__main__":
    sys.exit(run_command(main))
