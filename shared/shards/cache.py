"""Shards from a url, kept on a disk of the node: fetched once for all its processes, verified, oldest dropped first.

A run reads every row of a shard within its window, so a shard is fetched whole: with one request, and one hash that
covers every byte. It is stored under its SHA-256, so equal shards of any dataset are one file, and a changed shard is
another file. Its index is written from the verified tar, so that nothing unverified is used.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ..errors import RunError
from ..storage.atomic import TEMPORARY_PREFIX, lock, sync_folder, temporary_beside, write_bytes, write_text
from ..storage.places import Place
from ..storage.remote import Remote
from ..storage.retry import RetryPolicy, is_disk_full
from ..user_folders import cache_folder
from .format import Pair, Places, Row, write_index
from .manifest import ShardEntry
from .reader import LostRowError, ShardFile, tar_members

T = TypeVar("T")
ABANDONED_SECONDS = 3600.0
"""A temporary that has not grown for that time belongs to a process that was killed."""
LOCKS = 3
"""Hex digits of a shard's hash that choose its lock file."""
FORGIVEN_SECONDS = 60.0
"""A shard that could not be fetched from a url is not fetched from it again for that time, by any process of a node."""


def default_folder() -> Path:
    """Where shards are kept unless a run says otherwise."""
    return cache_folder("shards")


@dataclass(frozen=True)
class ShardCache:
    """A folder of whole shards, of `budget_bytes` at most; plain data, so that every process of a node may use it.

    Several users may share the folder when all of them may write to it. retry: how often a failing store is asked.
    """

    folder: Path
    budget_bytes: int
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def open(self, tar: Place, entry: ShardEntry) -> ShardFile:
        """Open a shard, one behind a url through the cache. Raises `LostRowError` when it cannot be had."""
        if not isinstance(tar, Remote):
            return ShardFile(tar, entry.nsamples)
        path = self.fetch(tar, entry)
        try:
            return KeptShard(path, tar, entry, self)
        except LostRowError:  # the disk has lost or damaged it since
            with suppress(PermissionError):  # another user's, in a folder where each removes only their own
                path.unlink(missing_ok=True)
            return KeptShard(self.fetch(tar, entry), tar, entry, self)

    def fetch(self, tar: Remote, entry: ShardEntry) -> Path:
        """The local file of a shard, verified; its index lies beside it.

        Raises `LostRowError` when the store has not what the manifest says.
        """
        if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
            raise LostRowError(f"{tar}: its manifest gives no sha256, so it cannot be verified: render it again")
        if entry.filesize > self.budget_bytes:
            raise RunError(
                f"{tar} has {entry.filesize} bytes, more than the {self.budget_bytes} of the cache: raise --cache-gb"
            )
        path = self._path(entry)
        if self.touch(entry):
            return path
        with self._locked(entry.sha256[:LOCKS]):
            if self.touch(entry):
                return path
            refusal = self.folder / f"{entry.sha256}-{hashlib.sha256(tar.url.encode()).hexdigest()[:8]}.lost"
            # Of this url alone: another may have the shard. A time to come is that of a clock which was wrong.
            if refusal.is_file() and 0 <= time.time() - refusal.stat().st_mtime < FORGIVEN_SECONDS:
                raise LostRowError(refusal.read_text())
            refusal.unlink(missing_ok=True)
            try:
                self._download(tar, entry, path)
            except LostRowError as error:
                write_text(refusal, str(error))
                raise
        return path

    def touch(self, entry: ShardEntry) -> bool:
        """Whether a shard is kept; it is then the last to be dropped."""
        try:
            os.utime(self._path(entry))
        except FileNotFoundError:
            return False
        except PermissionError:  # it belongs to another user of the folder, so it is dropped earlier
            return self._path(entry).is_file()
        return True

    def _path(self, entry: ShardEntry) -> Path:
        return self.folder / f"{entry.sha256}.tar"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold one of the folder's locks, against threads and processes alike, however they end.

        Without locks in the file system a shard may be fetched twice; it is renamed into place whole all the same.
        """
        file = self._lock_file(name)
        try:
            lock(file, self.folder, fcntl.LOCK_EX, threads=True)
            try:
                yield
            finally:
                lock(file, self.folder, fcntl.LOCK_UN, threads=True)  # a worker forked meanwhile has the file open too
        finally:
            os.close(file)

    def _lock_file(self, name: str) -> int:
        """The open lock file. Raises `RunError` where this user may not use the folder."""
        path = self.folder / f".lock-{name}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except PermissionError:  # another user's file, which can be locked all the same
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise RunError(
                f"the cache of shards cannot be used: {error.strerror}: {error.filename}; "
                "give a folder to --cache that you may write to"
            ) from error

    # ---- fetching

    def _download(self, tar: Remote, entry: ShardEntry, path: Path) -> None:
        temporary = temporary_beside(path).with_suffix(f".{entry.filesize}")
        try:
            with self._locked("room"):
                self._make_room(entry.filesize, path)
                temporary.touch()  # its name claims the room
            self.retry(lambda: self._verified(tar, entry, temporary))
            write_bytes(path.with_suffix(".idx"), write_index(tar_members(temporary)))
            with self._locked("room"):  # who counts what is kept must find it under one of its names
                temporary.replace(path)
                self._make_room(0, path)  # shards that were fetched at once may have claimed more than there is
            sync_folder(self.folder)
        except FileNotFoundError as error:
            raise LostRowError(f"{tar} is not there, though its manifest lists it: render again") from error
        except OSError as error:
            if is_disk_full(error):
                raise RunError(f"no room for shards in {self.folder}: free some space or lower --cache-gb") from error
            attempts = len(self.retry.delays_seconds) + 1
            raise LostRowError(f"{tar} could not be had in up to {attempts} attempts: {error}") from error
        except ValueError as error:
            raise LostRowError(f"{tar} is not a shard of this format: {error}") from error
        finally:
            temporary.unlink(missing_ok=True)

    def _verified(self, tar: Remote, entry: ShardEntry, file: Path) -> None:
        """Fetch a shard into a file. Raises OSError when it is not what the manifest says: the way may be to blame."""
        tar.download(file, entry.filesize)
        if (size := file.stat().st_size) != entry.filesize:
            raise OSError(f"{tar} has {size} bytes, its manifest says {entry.filesize}")
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
            os.fsync(content.fileno())
        if found != entry.sha256:
            raise OSError(f"{tar} has sha256 {found}, its manifest says {entry.sha256}")

    def _make_room(self, size: int, new: Path) -> None:
        """Drop what was longest unused until a `new` shard fits, which stays. Call it while holding the lock "room".

        size: its bytes while it is not there yet, which must fit beside all that is being fetched; then 0.
        """
        kept, taken = [], size
        for entry in os.scandir(self.folder):
            with suppress(FileNotFoundError, PermissionError):
                status = entry.stat()
                if entry.name.startswith(TEMPORARY_PREFIX):
                    if abs(time.time() - status.st_mtime) > ABANDONED_SECONDS:
                        Path(entry.path).unlink()
                    elif size:
                        taken += _claim(entry.name)
                elif entry.name.endswith(".tar"):
                    kept.append((status.st_mtime, status.st_size, entry.path))
        taken += sum(size for _, size, _ in kept)
        for _, bytes, name in sorted(kept):
            if taken <= self.budget_bytes:
                break
            if name == str(new):
                continue
            with suppress(PermissionError):  # another user's, in a folder where each removes only their own
                for path in (Path(name), Path(name).with_suffix(".idx")):
                    path.unlink(missing_ok=True)
                taken -= bytes


class KeptShard(ShardFile):
    """A shard in the cache. When a row is damaged, and it is the disk that did it, the shard is fetched again once."""

    def __init__(self, path: Path, tar: Remote, entry: ShardEntry, cache: ShardCache) -> None:
        super().__init__(path, entry.nsamples, tar)
        self._tar, self._entry, self._cache, self._is_checked = tar, entry, cache, False

    def _renewed(self, action: Callable[[], T]) -> T:
        """What the action gives, if need be from the shard that was fetched again."""
        try:
            return action()
        except LostRowError:
            if self._is_checked or not self._is_fetched_again():
                raise
            return action()

    def _is_fetched_again(self) -> bool:
        """Replace a file that is no longer what was kept. Returns whether it was damaged and this user may do so."""
        self._is_checked, path = True, Path(str(self.path))
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == self._entry.sha256:
                return False  # the dataset itself is damaged
        try:
            path.unlink(missing_ok=True)
        except PermissionError:  # another user's
            return False
        renewed = os.open(self._cache.fetch(self._tar, self._entry), os.O_RDONLY)
        os.dup2(renewed, self._file, inheritable=False)
        os.close(renewed)
        return True

    def read(self, row: int, out: Places | tuple[None, None] = (None, None)) -> Pair:
        """Raises as `ShardFile.read` does."""
        return self._renewed(lambda: super(KeptShard, self).read(row, out))

    def hr(self, row: int) -> np.ndarray:
        """Raises as `ShardFile.hr` does."""
        return self._renewed(lambda: super(KeptShard, self).hr(row))

    def meta(self, row: int) -> Row:
        """Raises as `ShardFile.meta` does."""
        return self._renewed(lambda: super(KeptShard, self).meta(row))


def _claim(temporary: str) -> int:
    """The bytes that a temporary will have, by its name."""
    size = temporary.rpartition(".")[2]
    return int(size) if size.isdigit() else 0


class ShardRequest(NamedTuple):
    """A shard that an interval needs from step `first` to step `last`."""

    tar: Remote
    entry: ShardEntry
    first: int
    last: int


class Prefetch:
    """Fetches the shards of an interval in the order of their first use, as far ahead as the cache has room.

    Shards in use are touched before each download, so that they are not dropped. Errors are ignored here: the reader
    of a shard meets them again and handles them.
    """

    def __init__(self, cache: ShardCache, wanted: Sequence[ShardRequest], step: int, threads: int = 4) -> None:
        """wanted: in order of `first`. step: where the interval is taken up."""
        self._cache, self._wanted = cache, list(wanted)
        self._begun: list[ShardRequest] = []
        self._step, self._stopped = step, False
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(threads, len(wanted)))]
        for thread in self._threads:
            thread.start()

    def advance(self, step: int) -> None:
        """Say which step is trained."""
        with self._changed:
            self._step = step
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait until all is fetched that has room, or after `stop` what was begun."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (wanted := self._take()) is not None:
            for other in self._in_use():
                self._cache.touch(other.entry)
            with suppress(RunError, OSError):
                self._cache.fetch(wanted.tar, wanted.entry)

    def _take(self) -> ShardRequest | None:
        """The next shard, as soon as there is room for it beside those in use; None when nothing is left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._wanted or self._has_room(self._wanted[0]))
            if self._stopped or not self._wanted:
                return None
            self._begun.append(self._wanted.pop(0))
            return self._begun[-1]

    def _has_room(self, wanted: ShardRequest) -> bool:
        held = sum(other.entry.filesize for other in self._in_use())
        return held + wanted.entry.filesize <= self._cache.budget_bytes

    def _in_use(self) -> list[ShardRequest]:
        with self._changed:
            return [wanted for wanted in self._begun if wanted.last >= self._step]
