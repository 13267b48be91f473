"""Where a dataset, or a file of one, is: a path or something behind a url, and what can be done with either."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ..command import spelling
from ..errors import UsageError
from ..text import without_password
from ..user_folders import private_folder
from .remote import HUB, MAX_FILE_BYTES, READ_ONLY, Found, Remote

READERS = 16
"""Files of a store that are read at a time."""
Place = Path | Remote
"""Where a dataset, or a file of one, is."""


def place(text: str) -> Place:
    """A folder, or what is behind a url. Raises `UsageError` for a url that cannot be opened here."""
    return Remote(text.rstrip("/")) if re.match(r"[a-z][a-z0-9+.-]*://", text) else Path(text)


def address(found: Place) -> str:
    """What `place` makes it from again: the path, or the whole url. Not for people, who see no password."""
    return found.url if isinstance(found, Remote) else str(found)


def writable_place(text: str, key: str) -> Place:
    """The same, to be written to: `key` names the setting in the `UsageError` for a place that cannot be."""
    found = place(text)
    if isinstance(found, Path):
        nearest = next(path for path in (found.absolute(), *found.absolute().parents) if path.exists())
        if not os.access(nearest, os.W_OK):
            raise UsageError(f"{key} is {text!r}: {nearest} cannot be written to; give another folder")
    if isinstance(found, Remote) and found.protocol in READ_ONLY:
        raise UsageError(
            f"{key} is {str(found)!r}: {found.protocol} is read-only; give a folder or a url such as s3://bucket/x"
        )
    if isinstance(found, Remote) and found.protocol == HUB:
        raise UsageError(f"{key} is {str(found)!r}: give a folder, and upload it as a whole with {spelling('publish')}")
    return found


def staging_folder(remote: Remote) -> Path:
    """A local folder for what is on its way to that url, and for the lock that keeps a second writer here away.

    Raises `RunError` as `private_folder` does.
    """
    return private_folder() / sha256(without_password(remote.url).encode()).hexdigest()[:16]


def lock_folder(folder: Place) -> Path:
    """Where the lock of a dataset folder is: in it, or for one behind a url on this machine."""
    return staging_folder(folder) if isinstance(folder, Remote) else folder


def info(file: Place) -> Found:
    """Size and time of one file. Raises FileNotFoundError when it is not there."""
    if isinstance(file, Remote):
        return file.info()
    stat = file.stat()
    return Found(stat.st_size, stat.st_mtime)


def folders_below(folder: Place) -> list[Place]:
    """The folders directly below one, without hidden ones, in order."""
    if isinstance(folder, Remote):
        below: list[Place] = list(folder.folders())
    else:
        below = sorted(path for path in folder.iterdir() if path.is_dir())
    return [path for path in below if not path.name.startswith(".")]


def listing(folder: Place) -> dict[str, Found]:
    """The files directly in a folder, by name: one look instead of one a file; none when there is no such folder."""
    try:
        if isinstance(folder, Remote):
            return folder.listing()
        with os.scandir(folder) as entries:
            return dict(_local_listing(entries))
    except (FileNotFoundError, NotADirectoryError):
        return {}


def _local_listing(entries: Iterable[os.DirEntry[str]]) -> Iterator[tuple[str, Found]]:
    """Without those that another process renames or removes at this very moment."""
    for entry in entries:
        with suppress(FileNotFoundError):
            if entry.is_file():
                stat = entry.stat()
                yield entry.name, Found(stat.st_size, stat.st_mtime)


def read_files(files: Sequence[Place], limit: int = MAX_FILE_BYTES) -> list[bytes | None]:
    """All of each file, many at once from a store; None for one that is not there.

    Raises OSError for other trouble, also when a server or a store sends more than `limit` bytes of one.
    """
    if not any(isinstance(file, Remote) for file in files):
        return [_read(file, limit) for file in files]
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(lambda file: _read(file, limit), files))


def _read(file: Place, limit: int) -> bytes | None:
    try:
        return file.read_bytes(limit) if isinstance(file, Remote) else file.read_bytes()
    except FileNotFoundError:
        return None


def read_bounded(file: Place, limit: int) -> bytes:
    """All of a file that somebody else may have written. Raises ValueError when it has more than `limit` bytes.

    Raises OSError when a server or a store sends more.
    """
    if isinstance(file, Remote):
        return file.read_bytes(limit)
    if (size := file.stat().st_size) > limit:
        raise ValueError(f"{size} bytes are more than {limit}")
    return file.read_bytes()
