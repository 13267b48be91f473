"""What is wrong in one shard: file, index, members, and each row with its plan. Knows no command and prints nothing."""

import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen.backends import degrade
from gen.recipe import Recipe
from shared.degradation.plan import Plan
from shared.degradation.validation import violations
from shared.errors import RunError
from shared.shards.codecs import codec_of
from shared.shards.format import (
    MAX_INDEX_LINE_BYTES,
    Member,
    Row,
    check_bytes,
    decode_pair,
    extensions,
    group_rows,
    read_index,
    row_key,
    write_index,
)
from shared.shards.manifest import ShardEntry
from shared.shards.reader import tar_members
from shared.storage.places import Place, info, read_bounded
from shared.storage.remote import Remote

CHUNK = 1 << 20
ROUNDING_LEVELS, ROUNDING_SHARE = 1, 1e-3
"""Another processor or library version may change this share of the values by this many levels."""
HEADER_BYTES = 4096
"""Bytes of an image that a quick check reads: more than the header of any codec has."""


@dataclass(frozen=True)
class Expected:
    """What the rows of a dataset are compared with.

    recipe: None when the manifest's cannot be read. photographs: by id. quick: structure alone, no tar is hashed and no
    image decoded.
    """

    subspace: str
    split: str
    recipe: Recipe | None
    photographs: dict[str, dict[str, int | str]]
    quick: bool = False

    @property
    def extensions(self) -> tuple[str, str, str]:
        """Extensions of a row's members."""
        return extensions(self.recipe.codec if self.recipe else "png")


@dataclass(frozen=True)
class Listed:
    """A shard that the manifest lists. number: in its name. first_row: in the dataset. rerender: places of rows."""

    entry: ShardEntry
    number: int
    first_row: int
    rerender: tuple[int, ...] = ()

    @property
    def index_name(self) -> str:
        """Name of its index."""
        return f"{self.entry.url.removesuffix('.tar')}.idx"

    @property
    def max_index_bytes(self) -> int:
        """What an index of its rows may have at most."""
        return (self.entry.nsamples + 1) * MAX_INDEX_LINE_BYTES


class Rendered(NamedTuple):
    """A row that was rendered again. levels: largest difference of its LR. share: part of the values that differ."""

    number: int
    name: str
    levels: int
    share: float


@dataclass
class Findings:
    """good: numbers of the rows that passed every check. problems: one line each, beginning with the file."""

    good: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    rendered: list[Rendered] = field(default_factory=list)
    index_sha256: str = "missing"


def check_shard(folder: Place, listed: Listed, expected: Expected) -> Findings:
    """Check a shard. One behind a url is fetched first; a quick check reads its size and its index alone."""
    if not isinstance(folder, Remote):
        return _check_files(folder, listed, expected)
    if expected.quick and not listed.rerender:
        return _check_from_afar(folder, listed, expected)
    with tempfile.TemporaryDirectory() as name:
        limits = {listed.entry.url: listed.entry.filesize, listed.index_name: listed.max_index_bytes}
        for file, limit in limits.items():
            try:
                (folder / file).download(Path(name, file), limit)
            except FileNotFoundError:
                Path(name, file).unlink(missing_ok=True)
            except OSError as error:
                return Findings(problems=[f"{file}: {_reason(error)}"])
        return _check_files(Path(name), listed, expected)


def _reason(error: OSError | ValueError) -> str:
    """What is wrong with a file that could not be read, or not be what it should."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def _check_files(folder: Path, listed: Listed, expected: Expected) -> Findings:
    findings, entry = Findings(), listed.entry
    tar, index = folder / entry.url, folder / listed.index_name
    if index.is_file() and index.stat().st_size <= listed.max_index_bytes:
        findings.index_sha256 = hashlib.sha256(index.read_bytes()).hexdigest()
    try:
        findings.problems += [f"{entry.url}: {text}" for text in _file_faults(tar, entry, expected.quick)]
        members, fault = _tar_members(tar)
    except OSError as error:
        findings.problems.append(f"{entry.url}: {_reason(error)}, and {entry.nsamples} rows with it")
        return findings
    if fault:
        findings.problems.append(f"{entry.url}: {fault}")
    if fault := _index_fault(index, members, listed.max_index_bytes):
        findings.problems.append(f"{index.name}: {fault}")
    with tar.open("rb") as file:
        _check_rows(findings, file.fileno(), members, listed, expected)
    return findings


def _check_from_afar(folder: Remote, listed: Listed, expected: Expected) -> Findings:
    """Size and index of a shard; its rows are taken to be what the index says."""
    findings, entry = Findings(), listed.entry
    try:
        if (size := info(folder / entry.url).size) != entry.filesize:
            findings.problems.append(f"{entry.url}: filesize is {size}, the manifest says {entry.filesize}")
    except FileNotFoundError as error:
        findings.problems.append(f"{entry.url}: {_reason(error)}, and {entry.nsamples} rows with it")
        return findings
    try:
        data = read_bounded(folder / listed.index_name, listed.max_index_bytes)
        findings.index_sha256 = hashlib.sha256(data).hexdigest()
        for place, row in enumerate(group_rows(read_index(data))):
            if row[0].key != row_key(expected.subspace, listed.number, place) or place >= entry.nsamples:
                raise ValueError(f"holds {row[0].key!r}, which is none of its rows")
            if row[-1].offset + row[-1].size <= entry.filesize:
                findings.good.append(listed.first_row + place)
        if (present := len(findings.good)) < entry.nsamples:
            raise ValueError(f"places {present} of {entry.nsamples} rows within the tar")
    except (OSError, ValueError) as error:
        findings.problems.append(f"{listed.index_name}: {_reason(error)}")
    return findings


def _file_faults(tar: Path, entry: ShardEntry, quick: bool) -> Iterator[str]:
    found: dict[str, int | str] = {"filesize": tar.stat().st_size}
    if not quick:
        sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with tar.open("rb") as file:
            while chunk := file.read(CHUNK):
                sha256.update(chunk)
                md5.update(chunk)
        found |= {"sha256": sha256.hexdigest(), "md5sum": md5.hexdigest()}
    for name, value in found.items():
        if value != getattr(entry, name):
            yield f"{name} is {value}, the manifest says {getattr(entry, name)}"


def _tar_members(tar: Path) -> tuple[list[Member], str]:
    """The members up to the first fault, and that fault."""
    members: list[Member] = []
    try:
        for member in tar_members(tar):
            members.append(member)
    except ValueError as error:
        return members, f"{error}, after {len(members)} members"
    return members, ""


def _index_fault(path: Path, members: list[Member], limit: int) -> str:
    """How the index differs from the tar; an empty text when it does not."""
    try:
        data = read_bounded(path, limit)
        for told, real in itertools.zip_longest(read_index(data), members):
            if told != real:
                return f"says {_place(told)}, the tar has {_place(real)}"
        return "" if data == write_index(members) else "has the right entries on the wrong lines"
    except (OSError, ValueError) as error:
        return _reason(error)


def _place(member: Member | None) -> str:
    return f"{member.name} of {member.size} bytes at {member.offset}" if member else "no more members"


def _check_rows(findings: Findings, tar: int, members: list[Member], listed: Listed, expected: Expected) -> None:
    """tar: its descriptor."""
    count, url = listed.entry.nsamples, listed.entry.url
    places: dict[str, list[int]] = {}
    for place, member in enumerate(members):
        places.setdefault(member.key, []).append(place)
    last, present = -1, min(count, len(members))
    for position in range(present):
        key, number = row_key(expected.subspace, listed.number, position), listed.first_row + position
        found = places.pop(key, [])
        row, name = [members[place] for place in found], f"{url}: row {number} ({key})"
        fault = _members_fault(row, found, last, expected) or _row_fault(tar, row, number, expected)
        if not fault:
            findings.good.append(number)
            if position in listed.rerender and expected.recipe and expected.recipe.has_plans:
                findings.rendered.append(Rendered(number, name, *_rendered_again(tar, row, expected.recipe)))
        else:
            findings.problems.append(f"{name}: {fault}")
        last = found[0] if found else last
    if present < count:
        missing = f"rows {listed.first_row + present} to {listed.first_row + count - 1} are missing"
        findings.problems.append(f"{url}: {missing}")
    for key in places:
        findings.problems.append(f"{url}: holds members of {key!r}, which is none of its rows")


def _members_fault(row: Sequence[Member], places: list[int], last: int, expected: Expected) -> str:
    found, wanted = [member.extension for member in row], list(expected.extensions)
    if found != wanted:
        return f"its members are {', '.join(found) or 'missing'}; expected {', '.join(wanted)}"
    if places != list(range(places[0], places[0] + len(wanted))) or places[0] <= last:
        return "its members are not side by side in the order of rows"
    return ""


def _row_fault(tar: int, row: Sequence[Member], number: int, expected: Expected) -> str:
    """The first fault within a row; an empty text when there is none."""
    try:
        meta = _read_quickly(tar, row) if expected.quick else _decode(tar, row)[2]
    except ValueError as error:
        return str(error)
    except RunError as error:
        return str(error).partition("is damaged: ")[2]
    recipe = expected.recipe
    values = {"row": number, "subspace": expected.subspace, "split": expected.split}
    if recipe:
        values |= {name: getattr(recipe, name) for name in ("space", "seed", "patch", "scale")}
    for name, value in values.items():
        if getattr(meta, name) != value:
            return f"json key {name!r} is {getattr(meta, name)!r}, expected {value!r}"
    return _crop_fault(meta, expected) or (_plan_fault(meta, recipe) if recipe else "")


def _decode(tar: int, row: Sequence[Member]) -> tuple[np.ndarray, np.ndarray, Row]:
    """Raises ValueError for an image of another codec than its name says, `RunError` for other damage."""
    hr, meta, lr = (os.pread(tar, member.size, member.offset) for member in row)
    pair = decode_pair(hr, meta, lr, row[0].key)
    for member, data in ((row[0], hr), (row[2], lr)):
        _check_codec(member, data)
    return pair


def _read_quickly(tar: int, row: Sequence[Member]) -> Row:
    """The json of a row, compared with the headers of its images. Raises ValueError when they differ."""
    hr, meta, lr = row
    found = Row.from_json(os.pread(tar, meta.size, meta.offset))
    for member, side in ((hr, found.patch), (lr, found.patch // found.scale)):
        data = os.pread(tar, min(member.size, HEADER_BYTES), member.offset)
        check_bytes(data, side, member.name.rpartition(".")[0])
        _check_codec(member, data)
    return found


def _check_codec(member: Member, data: bytes) -> None:
    if (found := codec_of(data, member.name).extension) != member.extension.partition(".")[2]:
        raise ValueError(f"{member.name} is a .{found} by its content")


def _rendered_again(tar: int, row: Sequence[Member], recipe: Recipe) -> tuple[int, float]:
    """Largest difference in levels between LR and its plan applied to HR, and the share of values that differ."""
    hr, lr, meta = _decode(tar, row)
    (again,) = degrade(recipe.backend, [hr], [Plan.from_json(meta.plan)], recipe.scale, recipe.usm)
    return difference(again, lr)


def difference(again: np.ndarray, stored: np.ndarray) -> tuple[int, float]:
    """Largest difference of two images, in levels, and the share of values that differ."""
    apart = np.abs(again.astype(np.int16) - stored)
    return int(apart.max()), float((apart > 0).mean())


def _crop_fault(meta: Row, expected: Expected) -> str:
    photograph = expected.photographs.get(meta.hr_id)
    if not photograph or photograph["sha256"] != meta.hr_sha256:
        return f"its photograph {meta.hr_id!r} is not the one in the manifest"
    for at, side in ((meta.crop_y, "height"), (meta.crop_x, "width")):
        if not 0 <= at <= int(photograph[side]) - meta.patch:
            return f"its crop at ({meta.crop_y}, {meta.crop_x}) lies outside the photograph"
    return ""


def _plan_fault(meta: Row, recipe: Recipe) -> str:
    if not recipe.has_plans:
        return "it has a plan, and its recipe says that it was made elsewhere" if meta.plan else ""
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
