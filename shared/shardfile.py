"""Random access to the rows of a shard: one `pread` a row through the index, or one request behind a url."""

import bisect
import os

import numpy as np

from shared.errors import RunError
from shared.format import Member, Pair, Row, decode_pair, decode_picture, group_rows, read_index
from shared.manifest import Manifest, load_manifest
from shared.remote import Place, Remote, info


class LostRowError(RunError):
    """A row cannot be read: its shard is missing, cut short or damaged. Others of its dataset may be sound."""


class ShardFile:
    """One open tar with its index; `shard[i]` is row i, decoded. Safe to read from several threads."""

    def __init__(self, tar: Place, num_rows: int) -> None:
        """Raises `LostRowError` when a file is missing, or the index fits not the tar or not the number of rows."""
        self.path = tar
        try:
            self._rows: list[tuple[Member, Member, Member]] = group_rows(
                read_index(tar.with_suffix(".idx").read_bytes())
            )
            size = info(tar).size
            if not isinstance(tar, Remote):
                self._file = os.open(tar, os.O_RDONLY)
        except FileNotFoundError as error:
            raise LostRowError(
                f"shard file {error.filename} is missing: render again or run python -m gen.verify"
            ) from error
        except ValueError as error:
            raise LostRowError(f"index of {tar} is damaged: {error}") from error
        last = self._rows[-1][-1] if self._rows else None
        if len(self._rows) != num_rows or (last and last.offset + last.size > size):
            raise LostRowError(
                f"{tar} is cut short or not the one in the manifest ({num_rows} rows): run python -m gen.verify"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Raises `LostRowError` that names the shard and the row when its bytes are damaged."""
        members = self._rows[row]
        start, end = members[0].offset, members[-1].offset + members[-1].size
        data = memoryview(self._pread(end - start, start))
        hr, meta, lr = (data[m.offset - start : m.offset - start + m.size] for m in members)
        try:
            return decode_pair(hr, bytes(meta), lr, members[0].key)
        except RunError as error:
            raise LostRowError(f"{self.path}: {error}") from error

    def hr(self, row: int) -> np.ndarray:
        """HR image of a row alone, uint8 [patch, patch, 3], RGB. Raises `LostRowError` as indexing does."""
        member, _, _ = self._rows[row]
        meta = self.meta(row)
        try:
            data = self._pread(member.size, member.offset)
            return decode_picture(data, meta.patch, f"{member.key}.hr", meta.hr_crc32)
        except ValueError as error:
            raise LostRowError(f"{self.path}: row {member.key} is damaged: {error}") from error

    def meta(self, row: int) -> Row:
        """What a row says of itself, without its pictures. Raises `LostRowError` as indexing does."""
        _, member, _ = self._rows[row]
        try:
            return Row.from_json(self._pread(member.size, member.offset))
        except ValueError as error:
            raise LostRowError(f"{self.path}: row {member.key} is damaged: {error}") from error

    def _pread(self, size: int, offset: int) -> bytes:
        if isinstance(self.path, Remote):
            return self.path.read_range(offset, offset + size)
        return os.pread(self._file, size, offset)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


class Dataset:
    """A dataset folder as a sequence of rows; shards are opened when first used."""

    def __init__(self, folder: Place) -> None:
        """Raises `RunError` when the folder holds no readable manifest."""
        self.folder = folder
        self.manifest: Manifest = load_manifest(folder)
        self._open: dict[int, ShardFile] = {}
        self._starts = [0]
        for entry in self.manifest.shardlist:
            self._starts.append(self._starts[-1] + entry.nsamples)

    def __len__(self) -> int:
        return self.manifest.rows

    def __getitem__(self, row: int) -> Pair:
        """Row by its number in the dataset. Raises IndexError past the end, `LostRowError` for a damaged row."""
        shard, place = self._find(row)
        return shard[place]

    def hr(self, row: int) -> np.ndarray:
        """HR image of a row alone, uint8 [patch, patch, 3], RGB. Raises as indexing does."""
        shard, place = self._find(row)
        return shard.hr(place)

    def meta(self, row: int) -> Row:
        """What a row says of itself, without its pictures. Raises as indexing does."""
        shard, place = self._find(row)
        return shard.meta(place)

    def _find(self, row: int) -> tuple[ShardFile, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} in {self.folder}")
        shard = bisect.bisect_right(self._starts, row) - 1
        return self.shard(shard), row - self._starts[shard]

    def shard(self, index: int) -> ShardFile:
        """The open shard of that number."""
        if index not in self._open:
            entry = self.manifest.shardlist[index]
            self._open[index] = ShardFile(self.folder / entry.url, entry.nsamples)
        return self._open[index]
