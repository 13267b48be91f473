"""Files that are whole or absent: written beside their place, made durable, then renamed into it."""

import fcntl
import io
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RunError
from .remote import Place, Remote, lock_folder

TEMPORARY_PREFIX = ".tmp-"
"""Leftovers of a killed writer carry this prefix; being hidden, no dataset reader takes them for data."""


def temporary_beside(path: Path) -> Path:
    """Name of a temporary for `path`. It holds the machine and the process, so that two writers never share one."""
    return path.with_name(f"{TEMPORARY_PREFIX}{platform.node()}-{os.getpid()}-{path.name}")


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
    """Make the renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_temporaries(folder: Path) -> None:
    """Remove what killed writers left in a folder. Call it only while no other writer is at work there."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        leftover.unlink(missing_ok=True)


@contextmanager
def locked(dataset: Place, purpose: str, *subfolders: str) -> Iterator[None]:
    """Hold a folder's lock file for one writer, and sweep away what killed writers left in it and its `subfolders`.

    Raises `RunError` when another process holds the lock. Behind a url there are no locks: then it keeps away the other
    writers on this machine alone.

    The lock is the kernel's and ends with the process, however it ends; its children, such as loader workers that
    outlive it for a moment, do not hold it.
    """
    folder = lock_folder(dataset)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunError(
                f"{dataset} is being written by another process ({purpose}): wait for it or stop it"
            ) from error
        places = [folder, *(folder / name for name in subfolders)]
        for place in places:
            remove_temporaries(place)
        try:
            yield
        finally:
            for place in places:
                remove_temporaries(place)  # of workers that did not live to do so
