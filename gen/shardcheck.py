"""What is wrong in one shard: file, index, members, and each row with its plan. Knows no command and prints nothing."""

import hashlib
import itertools
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gen.recipe import Recipe
from shared.degradation.plan import Plan
from shared.degradation.violations import violations
from shared.errors import RunError
from shared.format import EXTENSIONS, MAX_MEMBER_BYTES, Member, Pair, Row, decode_pair, read_index, row_key, write_index
from shared.manifest import Manifest, ShardEntry

CHUNK = 1 << 20


@dataclass(frozen=True)
class Expected:
    """What the rows are held against. recipe: None when the manifest's cannot be read. photographs: by id."""

    manifest: Manifest
    recipe: Recipe | None
    photographs: dict[str, dict[str, int | str]]


@dataclass(frozen=True)
class GoodRow:
    """A row that passed every check, and where it lies."""

    tar: Path
    members: tuple[Member, ...]

    @property
    def key(self) -> str:
        """Key of the row."""
        return self.members[0].key

    def read(self) -> Pair:
        """The decoded row. Raises `RunError` when it is damaged."""
        with self.tar.open("rb") as file:
            hr, meta, lr = (os.pread(file.fileno(), member.size, member.offset) for member in self.members)
        return decode_pair(hr, meta, lr, self.key)


@dataclass
class Findings:
    """good: rows that passed every check. problems: one line each, beginning with the file."""

    good: list[GoodRow] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def check_shard(folder: Path, index: int, first_row: int, expected: Expected, on_row: Callable[[], None]) -> Findings:
    """Check shard `index`, whose first row has number `first_row` in the dataset."""
    findings, entry = Findings(), expected.manifest.shardlist[index]
    try:
        findings.problems += [f"{entry.url}: {text}" for text in _file_faults(folder / entry.url, entry)]
        members, fault = _tar_members(folder / entry.url)
    except FileNotFoundError:
        findings.problems.append(f"{entry.url}: is missing, and {entry.nsamples} rows with it")
        return findings
    except OSError as error:
        findings.problems.append(f"{entry.url}: cannot be read: {error.strerror}")
        return findings
    if fault:
        findings.problems.append(f"{entry.url}: {fault}")
    path = folder / Path(entry.url).with_suffix(".idx")
    if fault := _index_fault(path, members):
        findings.problems.append(f"{path.name}: {fault}")
    recipe = expected.recipe
    number = expected.manifest.first_row // recipe.rows_per_shard + index if recipe else index
    _check_rows(findings, folder / entry.url, members, [number, first_row, entry.nsamples], expected, on_row)
    return findings


def _file_faults(tar: Path, entry: ShardEntry) -> Iterator[str]:
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with tar.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    found = {"filesize": size, "sha256": sha256.hexdigest(), "md5sum": md5.hexdigest()}
    for name, value in found.items():
        if value != getattr(entry, name):
            yield f"{name} is {value}, the manifest says {getattr(entry, name)}"


def _tar_members(tar: Path) -> tuple[list[Member], str]:
    """The members up to the first fault, and that fault. Nothing is ever unpacked."""
    members: list[Member] = []
    try:
        with tarfile.open(tar, "r:") as archive:
            for header in archive:
                if header.type != tarfile.REGTYPE or not 0 <= header.size <= MAX_MEMBER_BYTES:
                    return members, f"member {header.name!r} is no plain file of at most {MAX_MEMBER_BYTES} bytes"
                extension = header.name.partition(".")[2]
                members.append(Member(extension, header.offset_data, header.size, header.name))
    except (tarfile.TarError, ValueError, ArithmeticError, EOFError) as error:
        return members, f"is no whole tar: {error} after {len(members)} members"
    return members, ""


def _index_fault(path: Path, members: list[Member]) -> str:
    """How the index differs from the tar, or nothing."""
    try:
        data = path.read_bytes()
        for told, real in itertools.zip_longest(read_index(data), members):
            if told != real:
                return f"says {_place(told)}, the tar has {_place(real)}"
        return "" if data == write_index(members) else "has the right entries on the wrong lines"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)


def _place(member: Member | None) -> str:
    return f"{member.name} of {member.size} bytes at {member.offset}" if member else "no more members"


def _check_rows(
    findings: Findings, tar: Path, members: list[Member], numbers: list[int], expected: Expected, on_row: Callable
) -> None:
    shard, first_row, count = numbers
    places: dict[str, list[int]] = {}
    for place, member in enumerate(members):
        places.setdefault(member.key, []).append(place)
    last, present = -1, min(count, len(members))
    for position in range(present):
        key = row_key(expected.manifest.subspace, shard, position)
        found = places.pop(key, [])
        row = GoodRow(tar, tuple(members[place] for place in found))
        fault = _members_fault(row, found, last) or _row_fault(row, first_row + position, expected)
        if fault:
            findings.problems.append(f"{tar.name}: row {first_row + position} ({key}): {fault}")
        else:
            findings.good.append(row)
        last = found[0] if found else last
        on_row()
    if present < count:
        findings.problems.append(f"{tar.name}: rows {first_row + present} to {first_row + count - 1} are missing")
    for key in places:
        findings.problems.append(f"{tar.name}: holds members of {key!r}, which is none of its rows")


def _members_fault(row: GoodRow, places: list[int], last: int) -> str:
    extensions = [member.extension for member in row.members]
    if extensions != list(EXTENSIONS):
        return f"its members are {', '.join(extensions) or 'missing'}; expected {', '.join(EXTENSIONS)}"
    if places != list(range(places[0], places[0] + len(EXTENSIONS))) or places[0] <= last:
        return "its members are not side by side in the order of rows"
    return ""


def _row_fault(row: GoodRow, number: int, expected: Expected) -> str:
    """The first thing that is wrong within a row, or nothing."""
    try:
        meta = row.read().row
    except RunError as error:
        return str(error).partition("is damaged: ")[2]
    manifest, recipe = expected.manifest, expected.recipe
    values = {"row": number, "subspace": manifest.subspace, "split": manifest.split}
    if recipe:
        values |= {name: getattr(recipe, name) for name in ("space", "seed", "patch", "scale")}
    for name, value in values.items():
        if getattr(meta, name) != value:
            return f"json key {name!r} is {getattr(meta, name)!r}, expected {value!r}"
    return _crop_fault(meta, expected) or (_plan_fault(meta, recipe) if recipe else "")


def _crop_fault(meta: Row, expected: Expected) -> str:
    photograph = expected.photographs.get(meta.hr_id)
    if not photograph or photograph["sha256"] != meta.hr_sha256:
        return f"its photograph {meta.hr_id!r} is not the one in the manifest"
    for at, side in ((meta.crop_y, "height"), (meta.crop_x, "width")):
        if not 0 <= at <= int(photograph[side]) - meta.patch:
            return f"its crop at ({meta.crop_y}, {meta.crop_x}) lies outside the photograph"
    return ""


def _plan_fault(meta: Row, recipe: Recipe) -> str:
    try:
        plan = Plan.from_json(meta.plan)
    except (ValueError, AttributeError, RecursionError) as error:
        return f"its plan cannot be read: {error}"
    wrong = violations(plan, recipe.box()) or [*_size_faults(plan, recipe)]
    return f"its plan lies outside subspace {recipe.subspace}: {', '.join(wrong)}" if wrong else ""


def _size_faults(plan: Plan, recipe: Recipe) -> Iterator[str]:
    """Names of the sizes that no factor within the ranges gives."""
    ranges = recipe.box().ranges
    for name, keep in (("resize1", recipe.patch), ("resize2", recipe.patch // recipe.scale)):
        resize, factor = getattr(plan, name), getattr(ranges, name).factor
        low, high = {"up": (1, factor.high), "down": (factor.low, 1), "keep": (1, 1)}[resize.direction]
        for side in ("height", "width"):
            if not max(1, int(low * keep)) <= getattr(resize, side) <= int(high * keep):
                yield f"{name}.{side}"
