"""Files that are whole or absent: written beside their place, made durable, then renamed into it."""

import errno
import fcntl
import io
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from ..errors import RunError
from .places import Place, lock_folder
from .remote import Remote

TEMPORARY_PREFIX = ".tmp-"
"""Leftovers of a killed writer have this prefix. Dataset readers ignore them, because they are hidden."""
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
"""What network and FUSE file systems answer that have no locks, or cannot make a folder durable."""


def temporary_beside(path: Path) -> Path:
    """Name of a temporary for `path`. It names machine, process and thread, so that two writers never share one."""
    writer = f"{platform.node()}-{os.getpid()}-{threading.get_ident()}"
    return path.with_name(f"{TEMPORARY_PREFIX}{writer}-{path.name}")


@contextmanager
def atomic_write(path: Path) -> Iterator[io.BufferedRandom]:
    """Open a temporary beside `path`; on success fsync and rename it into place, on any error remove it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Place, data: bytes) -> None:
    """Write a small file atomically, and not at all when it already holds `data`."""
    if path.is_file() and path.read_bytes() == data:
        return
    if isinstance(path, Remote):
        path.write(data)
        return
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: Place, text: str) -> None:
    """`write_bytes` for text, UTF-8."""
    write_bytes(path, text.encode())


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder durable, where its file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder. Call it only while no other writer is at work there."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


def lock(file: int, folder: Path, operation: int, threads: bool = False) -> bool:
    """Lock an open file of a folder, given by its descriptor. Returns False where the file system has no locks.

    threads: keep away the threads of this process too (`fcntl.flock` instead of `fcntl.lockf`). Raises BlockingIOError
    when another process holds the lock, `RunError` for any other trouble.
    """
    try:
        (fcntl.flock if threads else fcntl.lockf)(file, operation)
        return True
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            raise BlockingIOError(*error.args) from error
        if error.errno in NO_LOCKS:
            note_missing_locks(folder)
            return False
        raise RunError(f"{folder} cannot be locked: {error.strerror}") from error


@lru_cache(maxsize=256)
def note_missing_locks(folder: Path) -> None:
    """Say once for each folder that nothing keeps other writers away."""
    print(f"note: {folder} lies on a file system without locks: let only one command write to it", file=sys.stderr)


@contextmanager
def locked(dataset: Place, purpose: str, *subfolders: str) -> Iterator[None]:
    """Hold a folder's lock file for one writer, and remove what killed writers left in it and its `subfolders`.

    Raises `RunError` when another process holds the lock, or when the lock file cannot be written. On a file system
    without locks a note says so once, nothing is removed, and the work goes on. Object stores have no locks either:
    then only writers on this machine are kept away.

    The lock is the kernel's and ends with the process, however it ends; its children, such as loader workers that
    outlive it for a moment, do not hold it.
    """
    folder = lock_folder(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            is_held = lock(file.fileno(), folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(
                f"{dataset} is being written by another process ({purpose}): wait for it or stop it"
            ) from error
        places = [folder, *(folder / name for name in subfolders)] if is_held else []
        for place in places:
            remove_temporaries(place)
        try:
            yield
        finally:
            for place in places:
                remove_temporaries(place)  # of workers that did not live to do so
