"""Datasets behind a url: the methods of `pathlib.Path` for all that fsspec opens (s3, gs, http, memory, ...).

An object appears whole or not at all, like a file that is renamed into place. Stores have neither locks nor renames.
All errors of a store's library become OSError.
"""

import errno
import ipaddress
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from ..command import spelling
from ..errors import UsageError
from ..text import without_password
from ..user_folders import private_folder

T = TypeVar("T")
HUB = "hf"
"""Hugging Face's hub: it is read in place, and written to by `gen.publish` alone, since each file would be a commit."""
READ_ONLY = ("http", "https")
"""Protocols that can be read by name, but neither written nor listed."""
SILENT_SECONDS = 60.0
"""After so many seconds without a byte a web server is given up; botocore's own limit is the same."""
MAX_FILE_BYTES = 256 << 20
"""Limit for files of a server or a store whose size nothing else bounds."""
READERS = 16
"""Files of a store that are read at a time."""
PIECE_BYTES = 1 << 16


class Found(NamedTuple):
    """A file in a listing. size: bytes. time: of its last change, seconds. etag: what a store calls this content."""

    size: int
    time: float
    etag: str = ""


@dataclass(frozen=True)
class Remote:
    """A file or a folder behind a url, with those verbs of `Path` that datasets need."""

    url: str

    def __post_init__(self) -> None:
        """Raises `UsageError` for a protocol that fsspec does not know or whose package is not installed."""
        _file_system(self.protocol, self.url)

    def __str__(self) -> str:
        """The url for people: without the password in it."""
        return without_password(self.url)

    def __repr__(self) -> str:
        return f"Remote({str(self)!r})"

    def __truediv__(self, name: str) -> "Remote":
        return Remote(f"{self.url}/{name}")

    def __lt__(self, other: "Remote") -> bool:
        return self.url < other.url

    @property
    def protocol(self) -> str:
        """Such as s3."""
        return self.url.partition("://")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.url).name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.url).stem

    @property
    def parent(self) -> "Remote":
        """The folder that holds it."""
        return Remote(self.url.rpartition("/")[0])

    def with_suffix(self, suffix: str) -> "Remote":
        """The same name with another ending."""
        return self.parent / f"{self.stem}{suffix}"

    def info(self) -> Found:
        """Raises FileNotFoundError when it is no file."""
        return self._call(lambda fs, path: _found(_file_only(fs.info(path))))

    def is_file(self) -> bool:
        """Whether it is a file, not a folder."""
        try:
            return bool(self.info())
        except FileNotFoundError:
            return False

    exists = is_file

    def is_dir(self) -> bool:
        """Whether there is anything below it; of a protocol that cannot list, always."""
        return self.protocol in READ_ONLY or self._call(lambda fs, path: bool(fs.isdir(path)))

    def folders(self) -> "list[Remote]":
        """The folders directly below it; none where listing is impossible."""
        if self.protocol in READ_ONLY:
            return []
        entries = self._call(lambda fs, path: fs.ls(path, detail=True))
        return sorted(
            self / PurePosixPath(entry["name"].rstrip("/")).name for entry in entries if entry["type"] == "directory"
        )

    def files_below(self) -> "list[tuple[Remote, str]]":
        """The files below it, or those that match it as a glob pattern, in order, with their paths below the folder."""

        def find(fs: Any, path: str) -> list[tuple[str, str]]:
            pattern = re.search(r"[*?\[]", path)
            names = sorted(fs.glob(path) if pattern else fs.find(path))
            root = path[: pattern.start()] if pattern else path
            if pattern or names == [path]:
                root = root.rpartition("/")[0]
            return [(fs.unstrip_protocol(name), name[len(root) :].strip("/")) for name in names]

        return [(Remote(url), name) for url, name in self._call(find)]

    def open(self, mode: str) -> Any:
        """The file, to read it from its beginning to its end."""
        return self._call(lambda fs, path: fs.open(path, mode))

    def read_bytes(self, limit: int = MAX_FILE_BYTES) -> bytes:
        """All of a file. Raises OSError as soon as more than `limit` bytes are sent."""
        if self.protocol in READ_ONLY:
            return self._call(lambda fs, path: _get(fs, path, 0, limit, whole=True))
        with tempfile.TemporaryDirectory() as folder:  # no store's library counts what it takes into memory
            self.download(local := Path(folder, "file"), limit)
            return local.read_bytes()

    def read_text(self) -> str:
        """All of a file of at most `MAX_FILE_BYTES` bytes, UTF-8."""
        return self.read_bytes().decode()

    def read_range(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` - 1. Of a web server that knows no ranges the bytes before are dropped."""
        if self.protocol in READ_ONLY:
            return self._call(lambda fs, path: _get(fs, path, start, end))
        options = {"cache_type": "none"} if self.protocol == HUB else {}  # it would fetch blocks of megabytes
        data = self._call(lambda fs, path: fs.cat_file(path, start=start, end=end, **options))
        return data if len(data) <= end - start else data[start:end]

    def write(self, data: bytes) -> None:
        """Put an object in place, whole."""
        self._call(lambda fs, path: fs.pipe_file(path, data))

    def upload(self, file: Path) -> Found:
        """Put a local file in place, whole; what the store has then. Raises OSError unless the size is right."""
        self._call(lambda fs, path: fs.put_file(os.fspath(file), path))
        if (found := self.info()).size != (size := file.stat().st_size):
            raise OSError(f"{self} has {found.size} bytes after an upload of {size}")
        return found

    def download(self, file: Path, limit: int | None = None) -> None:
        """Fetch it into a local file. Raises OSError as soon as more than `limit` bytes are sent (default: any)."""
        self._call(lambda fs, path: fs.get_file(path, os.fspath(file), callback=_counter(limit)))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove it."""
        if not missing_ok or self.exists():
            self._call(lambda fs, path: fs.rm_file(path))

    def _call(self, action: Callable[[Any, str], T]) -> T:
        """Do something with the file system and the path in its words."""
        fs = _file_system(self.protocol, self.url)
        try:
            return action(fs, fs._strip_protocol(self.url))
        except FileNotFoundError as error:
            raise FileNotFoundError(2, "no such file or bucket", str(self)) from error
        except Exception as error:  # botocore's, aiohttp's and many others' are no OSError
            raise OSError(f"{self}: {without_password(str(error)) or type(error).__name__}") from error


Place = Path | Remote
"""Where a dataset, or a file of one, is."""


def place(text: str) -> Place:
    """A folder, or what is behind a url. Raises `UsageError` for a url that cannot be opened here."""
    return Remote(text.rstrip("/")) if re.match(r"[a-z][a-z0-9+.-]*://", text) else Path(text)


def address(found: Place) -> str:
    """What `place` makes it from again: the path, or the whole url. Not for people, who see no password."""
    return found.url if isinstance(found, Remote) else str(found)


def writable_place(text: str, key: str) -> Place:
    """The same, to be written to: `key` names the setting in the `UsageError` for a protocol that cannot be."""
    found = place(text)
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
            return dict(_remote_listing(folder))
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


def _remote_listing(folder: Remote) -> Iterator[tuple[str, Found]]:
    for entry in folder._call(lambda fs, path: fs.ls(path, detail=True)):
        if entry["type"] == "file":
            yield PurePosixPath(entry["name"]).name, _found(entry)


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


@dataclass(frozen=True)
class RetryPolicy:
    """How often a failing request is repeated, and how many seconds pass before each further attempt."""

    delays_seconds: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, action: Callable[[], T]) -> T:
        """Result of the action. Raises its last OSError, or at once one that waiting cannot mend, such as 404."""
        for delay in self.delays_seconds:
            try:
                return action()
            except OSError as error:
                if _is_final(error):
                    raise
                self.sleep(delay)
        return action()


def _is_final(error: OSError) -> bool:
    forbidden = isinstance(error.__cause__, PermissionError) or getattr(error.__cause__, "status", None) in (401, 403)
    return isinstance(error, FileNotFoundError) or forbidden or is_disk_full(error)


def is_disk_full(error: OSError) -> bool:
    """Whether there was no room for what was fetched."""
    causes = [each for each in (error, error.__cause__) if isinstance(each, OSError)]
    return any(each.errno in (errno.ENOSPC, errno.EDQUOT) for each in causes)


def _counter(limit: int | None) -> Any:
    """What fsspec tells how many bytes have come."""
    from fsspec import Callback

    class Counter(Callback):
        def set_size(self, size: int | None) -> None:
            self._compare(size or 0)

        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            self._compare(self.value)

        def _compare(self, bytes: int) -> None:
            if limit is not None and bytes > limit:
                raise ValueError(f"more bytes are sent than the {limit} that it may have")

    return Counter()


def _file_system(protocol: str, url: str) -> Any:
    """fsspec keeps one for each protocol and process; listings are never remembered, since others write too."""
    import fsspec

    options: dict[str, Any] = {}
    if protocol in READ_ONLY:
        options["client_kwargs"] = {"timeout": _timeouts(), "trace_configs": [_redirects()]}
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        hint = "the extras realsr-rebalance[s3] and [hf] hold the packages"
        raise UsageError(f"{without_password(url)} cannot be opened here: {error} ({hint})") from error


@lru_cache(maxsize=1)
def _timeouts() -> Any:
    """Limits for silence; a slow server has as long as it needs."""
    from aiohttp import ClientTimeout

    return ClientTimeout(total=None, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)


@lru_cache(maxsize=1)
def _redirects() -> Any:
    """Ends a request that a server sends on to another host whose address is local, where strangers have no business.

    Otherwise a server could read what only this machine reaches.
    """
    from aiohttp import TraceConfig
    from yarl import URL

    async def check(session: Any, context: Any, redirect: Any) -> None:
        target = redirect.url.join(URL(redirect.response.headers.get("Location", "")))
        if target.host == redirect.url.host:
            return
        for *_, found in socket.getaddrinfo(target.host, None):
            if not ipaddress.ip_address(str(found[0]).partition("%")[0]).is_global:
                raise PermissionError(f"redirects to {target.host}, a local address: give that url if you trust it")

    config = TraceConfig()
    config.on_request_redirect.append(check)
    return config


def _get(fs: Any, url: str, start: int, end: int, whole: bool = False) -> bytes:
    """The bytes of a file behind http from `start` to `end` - 1; of one that must be `whole`, never the beginning.

    No more than that is held in memory, and nothing is read beyond it, whatever the server sends.
    """
    from fsspec.asyn import sync

    async def get() -> bytes:
        session, headers = await fs.set_session(), {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        async with session.get(fs.encode_url(url), headers=headers) as response:
            fs._raise_not_found_for_status(response, url)
            first, data = 0 if response.status == 200 else start, bytearray()
            async for piece in response.content.iter_chunked(PIECE_BYTES):
                data += piece[max(0, start - first) :]
                first += len(piece)
                if len(data) > end - start:
                    if whole:
                        raise ValueError(f"more bytes are sent than the {end} that it may have")
                    break
            return bytes(data[: end - start])

    return sync(fs.loop, get)


def _file_only(entry: dict[str, Any]) -> dict[str, Any]:
    if entry["type"] != "file":
        raise FileNotFoundError(entry["name"])
    return entry


def _found(entry: dict[str, Any]) -> Found:
    """What a store tells of an object; the names of time and etag differ between them."""
    changed = entry.get("LastModified") or entry.get("mtime") or entry.get("created")
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed or 0)
    etag = str(entry.get("ETag") or entry.get("etag") or "").strip('"')
    if not isinstance(entry.get("size"), int):
        raise OSError(f"{entry['name']}: its size is not told")
    return Found(entry["size"], seconds, etag)
