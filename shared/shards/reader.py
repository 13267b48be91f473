"""Random access to the rows of a shard: one `pread` a row through the index, or one request behind a url."""

import bisect
import operator
import os
import resource
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..command import spelling
from ..errors import RunError
from ..storage.places import Place, info, place, read_bounded
from ..storage.remote import Remote
from .format import (
    MAX_INDEX_LINE_BYTES,
    MAX_JSON_BYTES,
    MAX_MEMBER_BYTES,
    Member,
    Pair,
    Places,
    Row,
    check_bytes,
    decode_member,
    decode_pair,
    group_rows,
    read_index,
)
from .manifest import Manifest, ShardEntry, load_manifest


class LostRowError(RunError):
    """A row cannot be read: its shard is missing, cut short or damaged. Others of its dataset may be sound."""


class Stored(NamedTuple):
    """One row that is not decoded. key: its members' names up to the first dot. hr, lr: bytes of the images."""

    key: str
    hr: bytes
    lr: bytes
    row: Row


def tar_members(tar: Path) -> Iterator[Member]:
    """The members of a tar in order. Nothing is unpacked.

    Raises ValueError at the first that is no plain file of a row's size, and where the tar is damaged or cut.
    """
    try:
        with tarfile.open(tar, "r:") as archive:
            for header in archive:
                extension = header.name.partition(".")[2]
                most = MAX_JSON_BYTES if extension == "json" else MAX_MEMBER_BYTES
                if header.type != tarfile.REGTYPE or not 0 <= header.size <= most:
                    raise ValueError(f"member {header.name[:80]!r} is no plain file of at most {most} bytes")
                yield Member(extension, header.offset_data, header.size, header.name)
    except (tarfile.TarError, ArithmeticError, EOFError) as error:
        raise ValueError(f"no whole tar: {error}") from error


class ShardFile:
    """One open tar with its index; `shard[i]` is row i, decoded. Safe to read from several threads."""

    def __init__(self, tar: Place, num_rows: int, called: Place | None = None) -> None:
        """called: its name in errors, if not the path.

        Raises `LostRowError` when a file is missing, or the index does not fit the tar or the number of rows.
        """
        self.path, self._name = tar, called or tar
        try:
            self._rows: list[tuple[Member, Member, Member]] = group_rows(
                read_index(read_bounded(tar.with_suffix(".idx"), (num_rows + 1) * MAX_INDEX_LINE_BYTES))
            )
            size = info(tar).size
            if not isinstance(tar, Remote):
                self._file = os.open(tar, os.O_RDONLY)
        except FileNotFoundError as error:
            raise LostRowError(
                f"shard file {error.filename} is missing: render again or run {spelling('verify')}"
            ) from error
        except ValueError as error:
            raise LostRowError(f"index of {self._name} is damaged: {error}") from error
        last = self._rows[-1][-1] if self._rows else None
        if len(self._rows) != num_rows or (last and last.offset + last.size > size):
            raise LostRowError(
                f"{self._name} is cut short or not the one in the manifest ({num_rows} rows): run {spelling('verify')}"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> list[str]:
        """The keys of the rows: the part of their members' names before the first dot."""
        return [members[0].key for members in self._rows]

    def __getitem__(self, row: int) -> Pair:
        """Raises `LostRowError` that names the shard and the row when its bytes are damaged."""
        return self.read(row)

    def read(self, row: int, out: Places | tuple[None, None] = (None, None)) -> Pair:
        """Row `row`, its images in given memory if there is some. Raises as indexing does."""
        members = self._rows[row]
        start, end = members[0].offset, members[-1].offset + members[-1].size
        data = memoryview(self._pread(end - start, start))
        hr, meta, lr = (data[m.offset - start : m.offset - start + m.size] for m in members)
        try:
            return decode_pair(hr, bytes(meta), lr, members[0].key, out)
        except RunError as error:
            raise LostRowError(f"{self._name}: {error}") from error

    def stored(self, row: int) -> Stored:
        """The images of a row as they are stored, sizes and checksums checked. Raises as indexing does."""
        members, meta = self._rows[row], self.meta(row)
        hr, lr = (self._pread(member.size, member.offset) for member in (members[0], members[2]))
        try:
            check_bytes(hr, meta.patch, f"{members[0].key}.hr", meta.hr_crc32)
            check_bytes(lr, meta.patch // meta.scale, f"{members[0].key}.lr", meta.lr_crc32)
        except ValueError as error:
            raise LostRowError(f"{self._name}: row {members[0].key} is damaged: {error}") from error
        return Stored(members[0].key, hr, lr, meta)

    def hr(self, row: int) -> np.ndarray:
        """HR image of a row alone, uint8 [patch, patch, 3], RGB. Raises `LostRowError` as indexing does."""
        member, _, _ = self._rows[row]
        meta = self.meta(row)
        try:
            data = self._pread(member.size, member.offset)
            return decode_member(data, meta.patch, f"{member.key}.hr", meta.hr_crc32)
        except ValueError as error:
            raise LostRowError(f"{self._name}: row {member.key} is damaged: {error}") from error

    def meta(self, row: int) -> Row:
        """The JSON of a row, without its images. Raises `LostRowError` as indexing does."""
        _, member, _ = self._rows[row]
        try:
            return Row.from_json(self._pread(member.size, member.offset))
        except ValueError as error:
            raise LostRowError(f"{self._name}: row {member.key} is damaged: {error}") from error

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            if isinstance(self.path, Remote):
                return self.path.read_range(offset, offset + size)
            return os.pread(self._file, size, offset)
        except OSError as error:
            raise LostRowError(f"{self._name}: {error}") from error

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


OpenShard = Callable[[Place, ShardEntry], ShardFile]
"""Opens a shard by its place and its entry in the manifest. Raises `LostRowError` when that cannot be."""
OPEN_SHARDS = min(64, max(2, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))
"""Shards of a dataset that are open at a time: bounded for the memory of their indexes, and by `ulimit -n`."""


def open_in_place(tar: Place, entry: ShardEntry) -> ShardFile:
    """Read a shard where it lies, a row at a time."""
    return ShardFile(tar, entry.nsamples)


class Dataset:
    """A dataset folder as a sequence of rows; shards are opened when first used, and closed when long unused."""

    def __init__(
        self,
        folder: Place,
        manifest: Manifest | None = None,
        open_shard: OpenShard = open_in_place,
        max_open: int = OPEN_SHARDS,
    ) -> None:
        """manifest: that of the folder, if it has been read already.

        Raises `RunError` when the folder holds no readable manifest.
        """
        self.folder, self._open_shard, self._max_open = folder, open_shard, max_open
        self._open: OrderedDict[int, ShardFile] = OrderedDict()
        self._use(manifest or load_manifest(folder))

    def _use(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._starts = [0]
        for entry in manifest.shardlist:
            self._starts.append(self._starts[-1] + entry.nsamples)

    def __len__(self) -> int:
        return self.manifest.rows

    def __getitem__(self, row: int) -> Pair:
        """Row by its number in the dataset; negative numbers count from the end.

        Raises IndexError past either end, `LostRowError` for a damaged row.
        """
        return self.read(row)

    def read(self, row: int, out: Places | tuple[None, None] = (None, None)) -> Pair:
        """The same, its images in given memory if there is some."""
        shard, place = self._find(row)
        pair = shard.read(place, out)
        self._require_size(pair.row.patch, pair.row.scale, row)
        return pair

    def hr(self, row: int) -> np.ndarray:
        """HR image of a row alone, uint8 [patch, patch, 3], RGB. Raises as indexing does."""
        shard, place = self._find(row)
        image = shard.hr(place)
        self._require_size(len(image), self.manifest.recipe.get("scale"), row)
        return image

    def meta(self, row: int) -> Row:
        """The JSON of a row, without its images. Raises as indexing does."""
        shard, place = self._find(row)
        return shard.meta(place)

    def _require_size(self, patch: int, scale: int | None, row: int) -> None:
        recipe = self.manifest.recipe
        expected = recipe.get("patch", patch), recipe.get("scale", scale)
        if (patch, scale) != expected:
            raise LostRowError(f"row {row} of {self.folder} has patch and scale {(patch, scale)}, not {expected}")

    def _find(self, row: int) -> tuple[ShardFile, int]:
        if not -len(self) <= operator.index(row) < len(self):
            raise IndexError(f"row {row} of {len(self)} in {self.folder}")
        row %= len(self)
        shard = bisect.bisect_right(self._starts, row) - 1
        return self.shard(shard), row - self._starts[shard]

    def shard(self, index: int) -> ShardFile:
        """The open shard of that number."""
        if index not in self._open:
            self._open[index] = self._opened(index)
            if len(self._open) > self._max_open:
                self._open.popitem(last=False)
        self._open.move_to_end(index)
        return self._open[index]

    def _opened(self, index: int) -> ShardFile:
        entry = self.manifest.shardlist[index]
        try:
            return self._open_shard(self.folder / entry.url, entry)
        except LostRowError:
            if not self._has_grown():
                raise
            entry = self.manifest.shardlist[index]
            return self._open_shard(self.folder / entry.url, entry)

    def _has_grown(self) -> bool:
        """Whether rows were added since: then the last shard, if it was short, lies under another name."""
        try:
            newer = load_manifest(self.folder)
        except (RunError, OSError):
            return False
        if not newer.extends(self.manifest):
            return False
        self._use(newer)
        return True


def open_rows(dataset: str | Place) -> Dataset:
    """The rows of a dataset, a sequence of `Pair`: `open_rows("shards/noise")[0].lr`.

    dataset: a folder or a url (s3, https, hf, ...); from a url a row is one request. A pair holds hr, uint8
    [patch, patch, 3], lr, uint8 [patch / scale, patch / scale, 3], both RGB, and row, what is recorded of the pair.
    Raises `RunError` when there is no dataset; `LostRowError` when a row is read that is missing or damaged.
    """
    return Dataset(place(dataset) if isinstance(dataset, str) else dataset)
