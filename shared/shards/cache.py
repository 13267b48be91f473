"""Shards from a url, kept on a disk of the node: fetched once for all its processes, verified, oldest dropped first.

A run visits every row of a shard while its window lasts, so a shard is fetched whole: one request, and one hash that
vouches for every byte. It is kept under its sha256, so equal shards of any dataset are one file, and a changed one is
another. Its index is made anew from the verified tar: there is nothing else to be believed.
"""

import fcntl
import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ..errors import RunError
from ..storage.atomic import TEMPORARY_PREFIX, sync_folder, temporary_beside, write_bytes, write_text
from ..storage.remote import Place, Remote, RetryPolicy, is_disk_full
from .format import write_index
from .manifest import ShardEntry
from .reader import LostRowError, ShardFile, tar_members

ABANDONED_SECONDS = 3600.0
"""A temporary that has not grown for so long belongs to a process that was killed."""
LOCKS = 3
"""Hex digits of a shard's hash that choose its lock file."""
FORGIVEN_SECONDS = 60.0
"""A shard that could not be had is not asked for again so long, by any process of the node."""


def default_folder() -> Path:
    """Where shards are kept unless a run says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base, "realsr-rebalance", "shards").expanduser()


@dataclass(frozen=True)
class ShardCache:
    """A folder of whole shards, at most `budget_bytes` of them; plain data, so every process of a node may use it.

    retry: how often a store is asked that fails.
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
            return ShardFile(path, entry.nsamples, tar)
        except LostRowError:  # what a disk has lost or damaged since is fetched once more
            path.unlink(missing_ok=True)
            return ShardFile(self.fetch(tar, entry), entry.nsamples, tar)

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
            refusal = path.with_suffix(".lost")
            if refusal.is_file() and refusal.stat().st_mtime > time.time() - FORGIVEN_SECONDS:
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
            return True
        except FileNotFoundError:
            return False

    def _path(self, entry: ShardEntry) -> Path:
        return self.folder / f"{entry.sha256}.tar"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold one of the folder's locks, against threads and processes alike, however they end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f".lock-{name}").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a worker forked meanwhile has the file open too

    # ---- fetching

    def _download(self, tar: Remote, entry: ShardEntry, path: Path) -> None:
        temporary = temporary_beside(path).with_suffix(f".{entry.filesize}")
        try:
            self._make_room(entry.filesize, temporary)
            self.retry(lambda: self._verified(tar, entry, temporary))
            write_bytes(path.with_suffix(".idx"), write_index(tar_members(temporary)))
            with self._locked("room"):  # who counts what is kept must find it under one of its names
                temporary.replace(path)
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

    def _make_room(self, size: int, temporary: Path) -> None:
        """Drop what was longest unused until `size` more bytes fit, and claim them by the name of a temporary."""
        with self._locked("room"):
            kept, taken = [], size
            for entry in os.scandir(self.folder):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    if entry.name.startswith(TEMPORARY_PREFIX):
                        if status.st_mtime < time.time() - ABANDONED_SECONDS:
                            Path(entry.path).unlink()
                        else:
                            taken += _claim(entry.name)
                    elif entry.name.endswith(".tar"):
                        kept.append((status.st_mtime, status.st_size, entry.path))
            taken += sum(size for _, size, _ in kept)
            for _, bytes, name in sorted(kept):
                if taken <= self.budget_bytes:
                    break
                for path in (Path(name), Path(name).with_suffix(".idx")):
                    path.unlink(missing_ok=True)
                taken -= bytes
            temporary.touch()


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

    Those in use are touched before each download, so that none of them makes room. What cannot be had is left to
    whoever reads it, who knows what that means.
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
