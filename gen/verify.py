"""Check datasets: manifest, hashes, structure, every row and its plan; on request, render some rows again.

PATH is one dataset folder, or a folder of datasets. Exit code 0: all is well, 1: something is off, 2: bad usage.
"""

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gen.recipe import Recipe
from gen.shardcheck import Expected, GoodRow, check_shard
from gen.shards import ShardSpec, degrade, versions
from shared.atomic import TEMPORARY_PREFIX
from shared.config import argument, option, parse
from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError, run_command
from shared.format import num_shards
from shared.manifest import MANIFEST, Manifest, dataset_name, load_manifest

ROUNDING_LEVELS, ROUNDING_SHARE = 1, 1e-3
"""What another processor or library version may change: this many levels, in this share of the values."""
SHOWN = 20
"""Problems printed for one dataset; the others are counted."""


@dataclass(frozen=True)
class Settings:
    """What `gen.verify` can be asked for."""

    path: str = argument("dataset folder (one with a manifest.json), or a folder of datasets")
    rerender: int = option(0, "rows of each dataset, evenly spread, to render again from their stored plan and HR")


@dataclass
class Report:
    """What was found in one dataset. problems: what is off. notes: what is worth knowing."""

    folder: Path
    title: str = ""
    rows: int = 0
    good: list[GoodRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        problems = self.problems[:SHOWN]
        if hidden := len(self.problems) - len(problems):
            problems.append(f"... and {hidden} more")
        lines = [f"{self.folder}: {self.title or 'not readable'}"]
        lines += [f"  error: {text}" for text in problems] + [f"  note: {text}" for text in self.notes]
        lines.append(f"  {len(self.good)} of {self.rows} rows are usable" if self.rows else "  no row is usable")
        if any(".tar" in text or ".idx" in text for text in self.problems):
            lines.append("  to mend: delete the shards named above, then run the render command again")
        return "\n".join("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line) for line in lines)


def main(argv: list[str]) -> int:
    """The command; see `Settings`. Returns the exit code."""
    settings = parse(Settings, argv, "python -m gen.verify", __doc__ or "")
    if settings.rerender < 0:
        raise UsageError(f"rerender is {settings.rerender}: it must be a number of rows, 0 or more")
    folders = find_datasets(Path(settings.path))
    reports = []
    with tqdm(total=sum(map(_num_rows, folders)), unit="row") as bar:
        for folder in folders:
            reports.append(check_dataset(folder, settings.rerender, lambda: bar.update() and None))
            bar.write(str(reports[-1]), file=sys.stdout)
    bad = [report for report in reports if report.problems]
    if bad:
        number = sum(len(report.problems) for report in bad)
        raise RunError(f"{number} problems in {len(bad)} of {len(reports)} datasets, listed above")
    return 0


def find_datasets(path: Path) -> list[Path]:
    """The dataset folders at or directly below `path`: those with a manifest or a tar. Raises `UsageError` for none."""
    if not path.is_dir():
        raise UsageError(f"path is {str(path)!r}: no such folder")
    if _looks_like_dataset(path):
        return [path]
    folders = sorted(folder for folder in path.iterdir() if folder.is_dir() and _looks_like_dataset(folder))
    if not folders:
        raise UsageError(f"{path} holds no dataset: give a folder with a {MANIFEST}, or a folder of such folders")
    return folders


def _looks_like_dataset(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or any(_visible(folder, ".tar"))


def _visible(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{suffix}") if not path.name.startswith("."))


def _num_rows(folder: Path) -> int:
    try:
        return load_manifest(folder).rows
    except (RunError, OSError):
        return 0


def check_dataset(folder: Path, rerender: int = 0, on_row: Callable[[], None] = lambda: None) -> Report:
    """Everything that can be said about one dataset folder; never raises for what is wrong in it."""
    report = Report(folder)
    try:
        manifest = load_manifest(folder)
        report.rows = manifest.rows
        report.title = f"{manifest.rows} rows in {len(manifest.shardlist)} shards, recipe {manifest.digest}"
        recipe = _check_manifest(manifest, report)
        expected = Expected(manifest, recipe, _photographs(manifest, report))
        first_row = manifest.first_row
        for index, entry in enumerate(manifest.shardlist):
            found = check_shard(folder, index, first_row, expected, on_row)
            report.good += found.good
            report.problems += found.problems
            first_row += entry.nsamples
        _check_sums(report, manifest)
        _note_strangers(report, manifest)
        if recipe and rerender:
            _rerender(report, manifest, recipe, rerender)
    except (RunError, OSError) as error:
        report.problems.append(str(error))
    return report


def _check_manifest(manifest: Manifest, report: Report) -> Recipe | None:
    """The recipe, when the manifest holds one that can be read."""
    try:
        recipe = Recipe.from_dict(manifest.recipe)
    except ValueError as error:
        report.problems.append(f"{MANIFEST}: {error}; plans cannot be judged")
        return None
    per_shard = recipe.rows_per_shard
    expected = {
        "digest": recipe.digest(),
        "subspace": recipe.subspace,
        "split": recipe.split,
        "name": dataset_name(recipe.subspace, recipe.split),
        "number of shards": num_shards(manifest.rows, per_shard),
        "first_row": max(0, manifest.first_row - manifest.first_row % per_shard),
    }
    found = {name: getattr(manifest, name, len(manifest.shardlist)) for name in expected}
    for name in expected:
        if found[name] != expected[name]:
            report.problems.append(f"{MANIFEST}: {name} is {found[name]}, its recipe says {expected[name]}")
    for index, entry in enumerate(manifest.shardlist):
        rows = min(per_shard, manifest.rows - index * per_shard)
        number = manifest.first_row // per_shard + index
        tar = ShardSpec(str(report.folder), recipe, (), number, rows).tar.name
        if (entry.url, entry.nsamples) != (tar, rows):
            problem = f"shard {index} is {entry.url} with {entry.nsamples} rows, expected {tar} with {rows}"
            report.problems.append(f"{MANIFEST}: {problem}")
    return recipe


def _photographs(manifest: Manifest, report: Report) -> dict[str, dict[str, int | str]]:
    """The manifest's photographs by id, without those that are not well-formed."""
    kinds = {"id": str, "sha256": str, "height": int, "width": int, "licence": str}
    found = {}
    for photo in manifest.photographs:
        if not isinstance(photo, dict) or {name: type(value) for name, value in photo.items()} != kinds:
            report.problems.append(f"{MANIFEST}: photograph {str(photo)[:200]} is not {', '.join(kinds)}")
        else:
            found[photo["id"]] = photo
    return found


def _check_sums(report: Report, manifest: Manifest) -> None:
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
    real = {entry.url: entry.sha256 for entry in manifest.shardlist}
    others = [Path(entry.url).with_suffix(".idx").name for entry in manifest.shardlist]
    for path in (folder / name for name in [*others, "README.md", "config.yaml", MANIFEST]):
        real[path.name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    for name in sorted(real.keys() | told.keys()):
        if name not in real or name not in told:
            text = "lists" if name in told else "does not list"
            report.problems.append(f"SHA256SUMS: {text} {name}; run the render command again")
        elif told[name] != real[name]:
            report.problems.append(f"SHA256SUMS: {name} has another hash, or is missing")


def _note_strangers(report: Report, manifest: Manifest) -> None:
    listed = {Path(entry.url).stem for entry in manifest.shardlist}
    for path in _visible(report.folder, ".tar") + _visible(report.folder, ".idx"):
        if path.stem not in listed:
            report.notes.append(f"{path.name} is not in the manifest: readers ignore it, and so can you")
    if leftovers := len(list(report.folder.rglob(f"{TEMPORARY_PREFIX}*"))):
        report.notes.append(f"{leftovers} temporary files of a killed render; the next render removes them")


def _rerender(report: Report, manifest: Manifest, recipe: Recipe, wanted: int) -> None:
    """Render evenly spread good rows again from what is stored, and compare pixels."""
    count = min(wanted, len(report.good))
    rounded = []
    for row in (report.good[(2 * i + 1) * len(report.good) // (2 * count)] for i in range(count)):
        hr, lr, meta = row.read()
        again = degrade(hr, Plan.from_json(meta.plan), recipe.scale, recipe.usm)
        difference = np.abs(again.astype(np.int16) - lr)
        share, text = float((difference > 0).mean()), f"by up to {difference.max()} levels"
        if difference.max() > ROUNDING_LEVELS or share > ROUNDING_SHARE:
            place = f"{row.tar.name}: row {meta.row} ({row.key})"
            report.problems.append(f"{place}: rendered again, LR differs {text} in {share:.2%} of its values")
        elif share:
            rounded.append(meta.row)
    note = f"rendered {count} rows again: {count - len(rounded)} equal"
    if rounded:
        note += f", rows {', '.join(map(str, rounded))} differ by 1 level in at most {ROUNDING_SHARE:.1%} of values"
    here = versions()
    others = [
        f"{name} {here[name]} here, {old} then" for name, old in manifest.versions.items() if here.get(name) != old
    ]
    report.notes.append(f"{note} ({'; '.join(others) or 'same library versions and kind of machine'})")


if __name__ == "__main__":
    sys.exit(run_command(main))
