"""Check datasets and test sets: hashes, structure, every row and its plan; on request, render some rows again.

PATH is a dataset folder, a folder of datasets, a test set, or the url of a dataset or of a folder of datasets (over
http, of one dataset). Every tar is hashed and every image is decoded. --quick checks only sizes, indexes, plans and
image headers, and of a url only sizes and indexes. The exit code is 0 if all is well, 1 if something is off, 2 for
wrong usage.

Examples:
realsr verify shards
realsr verify shards/noise --rerender 16
realsr verify s3://bucket/shards --quick
"""

import bisect
import hashlib
import os
import re
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tqdm import tqdm

from gen.backends import versions
from gen.dataset import recipe_faults
from gen.processes import in_processes
from gen.recipe import Recipe
from gen.shardcheck import ROUNDING_LEVELS, ROUNDING_SHARE, Expected, Findings, Listed, Rendered, check_shard
from shared.command import next_step, spelling
from shared.config import argument, option, parse
from shared.errors import RunError, UsageError, require_at_least, run_command
from shared.shards.manifest import MANIFEST, MAX_MANIFEST_BYTES, Manifest, load_manifest
from shared.shards.testset import TESTSET, load_testset
from shared.storage.atomic import TEMPORARY_PREFIX
from shared.storage.places import Place, folders_below, listing, place, read_files
from shared.storage.remote import READ_ONLY, Remote
from shared.text import counted, printable

PARALLEL_BYTES, CHUNK_SHARDS = 200_000_000, 4
"""Datasets from this size on are checked in several processes, each taking so many shards at a time."""
NO_MANIFEST = f"{MANIFEST} is not a manifest"
SHOWN = 20
"""Problems printed for one dataset; the others are counted."""


@dataclass(frozen=True)
class VerifySettings:
    """What `gen.verify` can be asked for."""

    path: str = argument("dataset, folder of datasets, test set, or url")
    quick: bool = option(False, "check the structure alone: hash no tar and decode no image; of a url, read no tar")
    rerender: int = option(
        0, "number of rows of each dataset to render again from their stored plan and HR crop, evenly spread"
    )
    workers: int = option(lambda: len(os.sched_getaffinity(0)), "processes (default: all cores)")


@dataclass
class Report:
    """What was found in one dataset. good: numbers of usable rows. problems: what is off. notes: to know."""

    folder: Place
    title: str = ""
    rows: int = 0
    good: "array[int]" = field(default_factory=lambda: array("q"))
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    noun: str = "row"

    def __str__(self) -> str:
        problems = self.problems[:SHOWN]
        if hidden := len(self.problems) - len(problems):
            problems.append(f"... and {hidden} more")
        lines = [f"{self.folder}: {self.title or 'not readable'}"]
        lines += [f"  error: {text}" for text in problems] + [f"  note: {text}" for text in self.notes]
        usable = f"{len(self.good)} of {self.rows} {self.noun}s are usable{self._which()}"
        lines.append(f"  {usable if self.rows else f'no {self.noun} is usable'}")
        if any(NO_MANIFEST in text or ".tar" in text or ".idx" in text for text in self.problems):
            lines.append("  to mend: delete the files named above, then run the render command again")
            lines.append("  or, where it was not rendered: copy them again from where it came")
        return "\n".join(map(printable, lines))

    def _which(self) -> str:
        """The usable rows, unless that is all of them or none."""
        if not self.problems or len(self.good) in (0, self.rows):
            return ""
        starts = [n for n, row in enumerate(self.good) if n == 0 or row != self.good[n - 1] + 1]
        ends = [*(start - 1 for start in starts[1:]), len(self.good) - 1]
        spans = [f"{self.good[a]}-{self.good[b]}" for a, b in zip(starts[:SHOWN], ends, strict=False)]
        return f": {', '.join(spans)}{', ...' if len(starts) > SHOWN else ''}"


def main(argv: list[str]) -> int:
    """The command; see `VerifySettings`. Returns the exit code."""
    settings = parse(VerifySettings, argv, spelling("verify"), __doc__ or "")
    require_at_least(0, settings, "rerender")
    require_at_least(1, settings, "workers")
    folders = find_datasets(place(settings.path))
    reports = []
    with tqdm(total=sum(map(_num_rows, folders)), unit="row") as bar:
        for folder in folders:
            if _is_testset(folder):
                reports.append(check_testset(Path(str(folder)), settings.rerender, settings.quick))
            else:
                reports.append(check_dataset(folder, settings.rerender, settings.quick, settings.workers, bar.update))
            bar.write(str(reports[-1]), file=sys.stdout)
    bad = [report for report in reports if report.problems]
    if bad:
        number = sum(len(report.problems) for report in bad)
        raise RunError(f"{number} problems in {len(bad)} of {len(reports)} datasets, listed above")
    if not all(map(_is_testset, folders)):
        print(next_step("export", settings.path, "--out", "pairs"))
    return 0


def find_datasets(path: Place) -> list[Place]:
    """The dataset folders at or directly below `path`: those with a manifest or a tar. Raises `UsageError` for none.

    What cannot be listed is one dataset.
    """
    if isinstance(path, Remote) and path.protocol in READ_ONLY:
        return [path]
    if not path.is_dir():
        raise UsageError(f"path is {str(path)!r}: no such folder")
    if _looks_like_dataset(path):
        return [path]
    folders = [folder for folder in folders_below(path) if _looks_like_dataset(folder)]
    if not folders:
        raise UsageError(f"{path} holds no dataset: give a folder with a {MANIFEST}, or a folder of such folders")
    return folders


def _looks_like_dataset(folder: Place) -> bool:
    if (folder / MANIFEST).is_file() or _is_testset(folder):
        return True
    return any(name.endswith(".tar") for name in _visible(folder))


def _is_testset(folder: Place) -> bool:
    return isinstance(folder, Path) and (folder / TESTSET).is_file()


def _visible(folder: Place) -> list[str]:
    """Names of the files that are not hidden; none where listing is impossible."""
    if isinstance(folder, Remote) and folder.protocol in READ_ONLY:
        return []
    return sorted(name for name in listing(folder) if not name.startswith("."))


def _num_rows(folder: Place) -> int:
    try:
        return load_manifest(folder).rows
    except (RunError, OSError):
        return 0


def check_testset(folder: Path, rerender: int = 0, quick: bool = False) -> Report:
    """Everything that can be said about one test set; never raises for what is wrong in it."""
    from gen.testsetcheck import testset_faults

    report = Report(folder, noun="image")
    try:
        record = load_testset(folder)
        report.rows = len(record.images)
        report.title = f"{len(record.images)} images in {len(record.tasks)} tasks, test set {record.name}"
        faults = list(testset_faults(folder, record, rerender, quick))
        report.problems += [text for _, text in faults]
        report.good.extend(sorted({*range(report.rows)} - {number for number, _ in faults}))
        if rerender:
            report.notes.append(f"rendered {min(rerender, report.rows)} images again")
    except (RunError, OSError) as error:
        report.problems.append(str(error))
    return report


def check_dataset(
    folder: Place,
    rerender: int = 0,
    quick: bool = False,
    workers: int = 1,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> Report:
    """Everything that can be said about one dataset folder; never raises for what is wrong in it."""
    report = Report(folder)
    try:
        manifest = load_manifest(folder)
        report.rows = manifest.rows
        report.title = f"{manifest.rows} rows in {counted(len(manifest.shardlist), 'shard')}, recipe {manifest.digest}"
        recipe = _check_manifest(manifest, report)
        photographs = _photographs(manifest, report)
        expected = Expected(manifest.subspace, manifest.split, recipe, photographs, quick)
        shards, rendered, indexes = _listed(manifest, recipe, rerender), [], {}
        for listed, found in zip(shards, _check_all(folder, shards, expected, workers), strict=True):
            report.good.extend(found.good)
            report.problems += found.problems
            rendered += found.rendered
            indexes[listed.index_name] = found.index_sha256
            on_rows(listed.entry.nsamples)
        _check_sums(report, manifest, indexes)
        _note_strangers(report, manifest)
        if quick:
            remote = isinstance(folder, Remote)
            unread = "tars were not read" if remote else "tars were not hashed, pictures not decoded"
            report.notes.append(f"structure alone was checked: {unread}")
        if recipe and rerender and recipe.has_plans:
            _judge_rendered(report, manifest, recipe, rendered)
        elif recipe and rerender:
            report.notes.append("pairs that were made elsewhere have no plans: nothing was rendered again")
    except (RunError, OSError) as error:
        report.problems.append(str(error))
    return report


def _listed(manifest: Manifest, recipe: Recipe | None, rerender: int) -> list[Listed]:
    """The manifest's shards, with the rows to render again spread evenly over all of them."""
    count, first_row, shards = min(rerender, manifest.rows), manifest.first_row, []
    picked = [(2 * i + 1) * manifest.rows // (2 * count) + first_row for i in range(count)]
    before = first_row // recipe.rows_per_shard if recipe else 0
    for number, entry in enumerate(manifest.shardlist, before):
        end = first_row + entry.nsamples
        low, high = bisect.bisect_left(picked, first_row), bisect.bisect_left(picked, end)
        shards.append(Listed(entry, number, first_row, tuple(row - first_row for row in picked[low:high])))
        first_row = end
    return shards


def _check_all(folder: Place, shards: Sequence[Listed], expected: Expected, workers: int) -> Iterator[Findings]:
    """Findings of each shard, in order; of a small dataset in this process, because others take a second to start."""
    if sum(listed.entry.filesize for listed in shards) < PARALLEL_BYTES:
        workers = 1
    return in_processes(partial(check_shard, folder, expected=expected), shards, workers, CHUNK_SHARDS)


def _check_manifest(manifest: Manifest, report: Report) -> Recipe | None:
    """The recipe, when the manifest holds one that can be read."""
    try:
        recipe = Recipe.from_dict(manifest.recipe)
    except ValueError as error:
        report.problems.append(f"{MANIFEST}: {error}; plans cannot be judged")
        return None
    report.problems += [f"{MANIFEST}: {fault}" for fault in recipe_faults(manifest, recipe)]
    return recipe


def _photographs(manifest: Manifest, report: Report) -> dict[str, dict[str, int | str]]:
    """The HR images that the manifest lists, by id, without those that are not well-formed."""
    kinds = {"id": str, "sha256": str, "height": int, "width": int, "licence": str}
    found = {}
    for photo in manifest.photographs:
        if not isinstance(photo, dict) or {name: type(value) for name, value in photo.items()} != kinds:
            report.problems.append(f"{MANIFEST}: photograph {str(photo)[:200]} is not {', '.join(kinds)}")
        else:
            found[photo["id"]] = photo
    return found


def _check_sums(report: Report, manifest: Manifest, indexes: dict[str, str]) -> None:
    """`SHA256SUMS` against the manifest's hashes of the tars and the files themselves."""
    folder, told = report.folder, {}
    try:
        for line in (folder / "SHA256SUMS").read_text().splitlines():
            found = re.fullmatch(r"([0-9a-f]{64}) [ *](\S+)", line)
            if not found:
                raise ValueError(f"line {line[:100]!r} is not 'sha256  name'")
            told[found[2]] = found[1]
    except FileNotFoundError:
        report.problems.append("SHA256SUMS: is missing; run the render command again")
        return
    except ValueError as error:
        report.problems.append(f"SHA256SUMS: {error}")
        return
    real = {entry.url: entry.sha256 for entry in manifest.shardlist} | indexes
    others = ("README.md", "config.yaml")
    contents = [*read_files([folder / name for name in others]), *read_files([folder / MANIFEST], MAX_MANIFEST_BYTES)]
    for name, data in zip((*others, MANIFEST), contents, strict=True):
        real[name] = hashlib.sha256(data).hexdigest() if data is not None else "missing"
    for name in sorted(real.keys() | told.keys()):
        if name not in real or name not in told:
            text = "lists" if name in told else "does not list"
            report.problems.append(f"SHA256SUMS: {text} {name}; run the render command again")
        elif told[name] != real[name]:
            report.problems.append(f"SHA256SUMS: {name} has another hash, or is missing")


def _note_strangers(report: Report, manifest: Manifest) -> None:
    listed = {Path(entry.url).stem for entry in manifest.shardlist}
    for name in _visible(report.folder):
        if name.endswith((".tar", ".idx")) and Path(name).stem not in listed:
            report.notes.append(f"{name} is not in the manifest: readers ignore it, and so can you")
    if isinstance(report.folder, Path) and (leftovers := len(list(report.folder.rglob(f"{TEMPORARY_PREFIX}*")))):
        report.notes.append(f"{leftovers} temporary files of a killed render; the next render removes them")


def _judge_rendered(report: Report, manifest: Manifest, recipe: Recipe, rendered: Sequence[Rendered]) -> None:
    """Report the rows that were rendered again from their plan and their stored HR."""
    rounded = []
    for row, name, levels, share in rendered:
        if levels > ROUNDING_LEVELS or share > ROUNDING_SHARE:
            text = f"LR differs by up to {levels} levels in {share:.2%} of its values"
            report.problems.append(f"{name}: rendered again, {text}")
        elif share:
            rounded.append(row)
    note = f"rendered {len(rendered)} rows again: {len(rendered) - len(rounded)} equal"
    if rounded:
        note += f", rows {', '.join(map(str, rounded))} differ by 1 level in at most {ROUNDING_SHARE:.1%} of values"
    here = versions(recipe.backend)
    others = [
        f"{name} {here[name]} here, {old} then" for name, old in manifest.versions.items() if here.get(name) != old
    ]
    report.notes.append(f"{note} ({'; '.join(others) or 'same library versions and kind of machine'})")


if __name__ == "__main__":
    sys.exit(run_command(main))
