"""One shard: from a frozen specification to a tar, its index and a done record. Knows no engine and no command."""

import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

from isal import isal_zlib

from gen.backends import BACKENDS, degrade, versions
from gen.crops import cut
from gen.pairs import cut_pairs
from gen.specs import DoneShard, Outcome, ShardSpec, failure, finished
from shared.degradation.plan import Plan, draw_plan
from shared.errors import RunError
from shared.photos.crops import Crop
from shared.records import canonical_json
from shared.shards.codecs import CODECS
from shared.shards.format import TAR_BLOCK, Member, Row, row_key, row_members, write_index
from shared.shards.manifest import ShardEntry
from shared.storage.atomic import atomic_write, temporary_beside, write_bytes
from shared.storage.places import Place, staging_folder
from shared.storage.remote import Remote

T = TypeVar("T")
READ_BYTES = 1 << 18
"""Bytes that are read back at once: what a core's cache holds."""
PLANS_AT_ONCE = 100


def render_shard(spec: ShardSpec, on_row: Callable[[], object] = lambda: None) -> DoneShard:
    """Render a shard unless it is finished. Idempotent, and equal specifications give equal bytes.

    Order of commitment: tar, index, done record, each renamed into place when it is whole and on the disk.
    Raises `RunError` when an HR file has changed since it was listed or the disk does not keep what was written.
    """
    if done := finished(spec):
        return done
    start, tar = time.perf_counter(), spec.tar
    with _place_to_write(tar) as path:
        entry, index = _write_tar(path, spec, on_row)
        etag = ""
        if isinstance(tar, Remote):
            if done := finished(spec):  # somebody else was quicker, on a machine that our lock does not reach
                return done
            etag = _upload(path, tar, entry)
    write_bytes(tar.with_suffix(".idx"), index)
    seconds = round(time.perf_counter() - start, 3)
    done = DoneShard(entry, seconds, versions(spec.recipe.backend), hashlib.sha256(index).hexdigest(), etag)
    write_bytes(spec.done_record, canonical_json(asdict(done)))
    return done


@contextmanager
def _place_to_write(tar: Place) -> Iterator[Path]:
    """Where to write a tar: its own place, or a local one until it is uploaded."""
    if not isinstance(tar, Remote):
        yield tar
        return
    path = temporary_beside(staging_folder(tar.parent) / tar.name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _upload(path: Path, tar: Remote, entry: ShardEntry) -> str:
    """Upload a tar and check that the store holds it; its etag. Raises `RunError` or OSError when it does not.

    A plain etag is the MD5 of the content. Those of uploads in parts and of encrypted objects are not: then the object
    is read back.
    """
    etag = tar.upload(path).etag
    if etag != entry.md5sum:
        tar.download(path, entry.filesize)
        with path.open("rb") as file:
            _require_equal(hashlib.file_digest(file, "sha256").hexdigest(), entry.sha256, entry)
    return etag


def _write_tar(path: Path, spec: ShardSpec, on_row: Callable[[], object]) -> tuple[ShardEntry, bytes]:
    """Render a shard into a local tar; its entry in the manifest and its index."""
    with atomic_write(path) as file:
        stream = HashingStream(file)
        members = write_rows(stream, spec, on_row)
        stream.write(bytes(2 * TAR_BLOCK))
        stream.write(bytes(-stream.size % tarfile.RECORDSIZE))
        entry = ShardEntry(spec.tar.name, spec.rows, stream.size, stream.md5.hexdigest(), stream.sha256.hexdigest())
        _require_equal(_read_back(file), stream.crc32, entry)
    return entry, write_index(members)


class HashingStream:
    """Counts and hashes what is written through it; the CRC-32 is to be compared with what the disk gives back."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.size, self.crc32 = file, 0, 0
        self.sha256, self.md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.sha256.update(data)
        self.md5.update(data)
        self.crc32 = isal_zlib.crc32(data, self.crc32)
        self.size += len(data)


def write_rows(stream: HashingStream, spec: ShardSpec, on_row: Callable[[], object] = lambda: None) -> list[Member]:
    """Render the rows of a shard into a tar that is not ended yet."""
    members: list[Member] = []
    rows = render_rows(spec) if spec.recipe.has_plans else cut_pairs(spec)
    for number, row in zip(spec.row_numbers, rows, strict=True):
        key = row_key(spec.recipe.subspace, spec.index, number - spec.row_numbers.start)
        blocks, offset = [], stream.size
        for extension, data in row.items():
            member = Member(extension, offset + TAR_BLOCK, len(data), f"{key}.{extension}")
            blocks += [_tar_header(member), data, bytes(-len(data) % TAR_BLOCK)]
            offset = member.offset + len(data) + len(blocks[-1])
            members.append(member)
        stream.write(b"".join(blocks))
        on_row()
    return members


def attempt(spec: ShardSpec, on_row: Callable[[], object]) -> Outcome:
    """`render_shard` with the reason of a failure as a value, and stored: one bad shard does not stop the others."""
    try:
        done = render_shard(spec, on_row)
    except (RunError, OSError, MemoryError) as error:
        return failure(spec, str(error) or type(error).__name__)
    if spec.failed_record.exists():
        spec.failed_record.unlink(missing_ok=True)
    return Outcome(spec, done)


def render_rows(spec: ShardSpec) -> Iterator[dict[str, bytes]]:
    """The members of the shard's rows in order. Each HR image is decoded once, and only its crops are kept."""
    recipe, codec = spec.recipe, CODECS[spec.recipe.codec]
    crops = list(spec.crops())
    drawn = zip(_planned(spec, crops), cut(crops, recipe.patch), strict=True)
    for together in _batched(drawn, BACKENDS[recipe.backend].rows):
        planned, pictures = zip(*together, strict=True)
        encoded = [codec.encode(hr) for hr in pictures]
        stored = pictures if codec.lossless else [codec.decode(data, "HR crop") for data in encoded]
        low = degrade(recipe.backend, stored, [plan for plan, _ in planned], recipe.scale, recipe.usm)
        for (_, row), data, lr in zip(planned, encoded, low, strict=True):
            yield row_members(recipe.codec, data, lr, row)


def _planned(spec: ShardSpec, crops: Sequence[Crop]) -> Iterator[tuple[Plan, Row]]:
    """The plan of each row, and its json but for the checksums.

    Many plans are drawn at a time. Between images, which evict the core's cache, drawing one takes three times as long.
    """
    recipe, box = spec.recipe, spec.recipe.box()
    size = {"height": recipe.patch, "width": recipe.patch, "scale": recipe.scale}
    for together in _batched(zip(spec.row_numbers, crops, strict=True), PLANS_AT_ONCE):
        plans = [draw_plan(box, seed=recipe.seed, split=recipe.split, row=number, **size) for number, _ in together]
        yield from [(plan, spec.row(*drawn, plan.to_json())) for drawn, plan in zip(together, plans, strict=True)]


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Runs of `size` items; the last may be shorter."""
    iterator = iter(items)
    while run := tuple(islice(iterator, size)):
        yield run


def _tar_header(member: Member) -> bytes:
    """A USTAR header without time, user or host; its one sum is over bytes, the field of the sum taken as spaces."""
    blank, blank_sum = _blank_tar_header()
    name, size = member.name.encode(), b"%011o" % member.size
    header = bytearray(blank)
    header[: len(name)], header[124:135] = name, size
    header[148:156] = b"%06o\0 " % (blank_sum + sum(name) + sum(size))
    return bytes(header)


@lru_cache(maxsize=1)
def _blank_tar_header() -> tuple[bytes, int]:
    """What all headers have in common, and its sum; tarfile would take longer than the hashes."""
    blank = tarfile.TarInfo()
    blank.mode, blank.mtime = 0o444, 0
    header = bytearray(blank.tobuf(tarfile.USTAR_FORMAT))
    header[124:135], header[148:156] = bytes(11), b" " * 8
    return bytes(header), sum(header)


def _read_back(file: io.BufferedRandom) -> int:
    """CRC-32 of what the disk gives back of a whole file, once that is durable."""
    file.flush()
    os.fsync(file.fileno())
    file.seek(0)
    crc32, buffer = 0, memoryview(bytearray(READ_BYTES))
    while size := file.raw.readinto(buffer):
        crc32 = isal_zlib.crc32(buffer[:size], crc32)
    return crc32


def _require_equal(found: int | str, told: int | str, entry: ShardEntry) -> None:
    if found != told:
        raise RunError(f"{entry.url} reads back differently from what was written: check the disk or the store")
